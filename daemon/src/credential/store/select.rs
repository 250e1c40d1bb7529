//! Selects the store: the recorded one, or at the first start the keychain if it answers, else the vault.

use std::path::PathBuf;

use regauth_shared::paths::Folders;

use super::{Store, StoreError, StoreKind};
use crate::credential::store::keychain::{KeychainStore, service_name};
use crate::credential::store::memory::MemoryStore;
use crate::credential::store::vault::VaultStore;
use crate::credential::store::worker::{Deadlines, StoreThread};

/// An opened store.
#[derive(Debug)]
pub(crate) struct OpenStore {
    /// Its kind.
    pub kind: StoreKind,
    /// The thread that calls it.
    pub thread: StoreThread,
}

impl OpenStore {
    /// The store of this kind in these folders. Nothing is opened before the first call.
    pub(crate) fn new(folders: &Folders, kind: StoreKind) -> Self {
        let folders = folders.clone();
        Self {
            kind,
            thread: StoreThread::new(move || store(&folders, kind), Deadlines::default()),
        }
    }
}

/// Opens the recorded store, or the requested one if none is recorded, or else chooses one.
///
/// # Errors
/// [`OtherStore`] if the requested store is not the recorded one.
pub(crate) async fn open(
    folders: &Folders,
    recorded: Option<StoreKind>,
    requested: Option<StoreKind>,
) -> Result<OpenStore, OtherStore> {
    match (recorded, requested) {
        (Some(recorded), Some(requested)) if recorded != requested => Err(OtherStore(recorded.as_str())),
        (Some(kind), _) | (None, Some(kind)) => Ok(OpenStore::new(folders, kind)),
        (None, None) => Ok(choose(folders).await),
    }
}

async fn choose(folders: &Folders) -> OpenStore {
    let keychain = OpenStore::new(folders, StoreKind::Keychain);
    match keychain.thread.check().await {
        // A person can open a locked one.
        Ok(()) | Err(StoreError::Locked) => keychain,
        Err(error) => {
            tracing::info!(reason = %error, "found no keychain; secrets go to the vault, an encrypted file");
            OpenStore::new(folders, StoreKind::Vault)
        }
    }
}

/// Protection of the secrets, in one phrase. Does not use the store's thread, which may be waiting for a person.
pub(crate) fn protection(folders: &Folders, kind: StoreKind) -> String {
    store(folders, kind).protection()
}

/// Exposure of the secrets to other programs of the daemon's user. As [`protection`], it opens nothing.
pub(crate) fn exposure(folders: &Folders, kind: StoreKind) -> &'static str {
    store(folders, kind).exposure()
}

/// Makes a store without opening it.
fn store(folders: &Folders, kind: StoreKind) -> Box<dyn Store> {
    match kind {
        StoreKind::Keychain => Box::new(KeychainStore::new(service_name(folders))),
        StoreKind::Vault => {
            let credentials = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
            Box::new(VaultStore::new(folders, credentials.as_deref()))
        }
        StoreKind::Memory => Box::new(MemoryStore::new()),
    }
}

/// Another store is recorded than the requested one.
#[derive(Debug, thiserror::Error)]
#[error("the secrets are in the {0}, as config.toml records; start without --store, or change `store` there")]
pub struct OtherStore(&'static str);
