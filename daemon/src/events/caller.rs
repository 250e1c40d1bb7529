//! Client of a connection, as its events name it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use regauth_shared::{RegistryName, event};
use tokio::sync::SetOnce;

use crate::bearer::Bearer;

/// Other end of a client's connection: a user of this machine, or an address.
#[derive(Debug, Default)]
pub(crate) struct Caller {
    /// User, if the kernel names it.
    pub(crate) uid: Option<u32>,
    /// True for a process of the daemon's own user, by the kernel's word.
    pub(crate) is_own_user: bool,
    /// Address, if the kernel names no user.
    pub(crate) address: Option<IpAddr>,
    /// Program that holds the connection, once the search has ended; `None` if it found none.
    pub(crate) program: SetOnce<Option<Program>>,
    /// Digest of what the last event about this connection said of it; 0 before the first.
    pub(crate) reported: AtomicU64,
}

/// Process that holds a connection. Its arguments and environment are never read: they may hold secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Program {
    /// Number of the process.
    pub(crate) pid: u32,
    /// Path of its executable.
    pub(crate) path: String,
    /// Path of its parent's executable.
    pub(crate) parent: Option<String>,
    /// Its working folder.
    pub(crate) folder: Option<String>,
}

impl Caller {
    /// Records what an event says of this connection. True if that is new: for the first request, and for one with another
    /// registry, grant or workload, or with a program that was not known before.
    pub(super) fn take_news(&self, registry: Option<&RegistryName>, bearer: Option<&Bearer>) -> bool {
        let mut hasher = DefaultHasher::new();
        let (grant, workload) = (bearer.and_then(Bearer::grant_id), bearer.and_then(Bearer::workload));
        (registry, grant, workload, self.program.get().is_some()).hash(&mut hasher);
        let digest = hasher.finish().max(1);
        self.reported.swap(digest, Ordering::Relaxed) != digest
    }

    /// The client in an event, with the grant or token that it has shown.
    pub(super) fn view(&self, bearer: Option<&Bearer>) -> event::Client {
        let program = self.program.get().and_then(Option::as_ref);
        event::Client {
            uid: self.uid,
            address: self.address.map(|address| address.to_string()),
            grant: bearer.and_then(Bearer::grant_id).map(str::to_owned),
            workload: bearer.and_then(Bearer::workload).map(|identity| event::Workload {
                issuer: identity.issuer.clone(),
                subject: identity.subject.clone(),
                repository: identity.repository.clone(),
            }),
            pid: program.map(|program| program.pid),
            program: program.map(|program| program.path.clone()),
            parent: program.and_then(|program| program.parent.clone()),
            folder: program.and_then(|program| program.folder.clone()),
        }
    }
}
