//! Which store it is: the recorded one, or at first start the keychain if it answers, else the vault.

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
    /// Which one.
    pub kind: StoreKind,
    /// The thread that calls it.
    pub thread: StoreThread,
}

impl OpenStore {
    /// The store of this kind in these folders; touched when it is first called.
    pub(crate) fn new(folders: &Folders, kind: StoreKind) -> Self {
        let folders = folders.clone();
        Self {
            kind,
            thread: StoreThread::new(move || store(&folders, kind), Deadlines::default()),
        }
    }
}

/// Opens the store that is recorded, or else the one that is asked for; where there is neither, chooses one.
///
/// # Errors
/// When another store is recorded than is asked for.
pub(crate) async fn open(
    folders: &Folders,
    recorded: Option<StoreKind>,
    asked: Option<StoreKind>,
) -> Result<OpenStore, OtherStore> {
    match (recorded, asked) {
        (Some(recorded), Some(asked)) if recorded != asked => Err(OtherStore(recorded.as_str())),
        (Some(kind), _) | (None, Some(kind)) => Ok(OpenStore::new(folders, kind)),
        (None, None) => Ok(choose(folders).await),
    }
}

async fn choose(folders: &Folders) -> OpenStore {
    let keychain = OpenStore::new(folders, StoreKind::Keychain);
    match keychain.thread.check().await {
        // One that is locked is there, and a person can open it.
        Ok(()) | Err(StoreError::Locked) => keychain,
        Err(error) => {
            tracing::info!(reason = %error, "no keychain here: secrets are kept in the vault, an encrypted file");
            OpenStore::new(folders, StoreKind::Vault)
        }
    }
}

/// What protects the secrets, in one phrase. Known without the store's thread, which may be waiting for a person.
pub(crate) fn protection(folders: &Folders, kind: StoreKind) -> String {
    store(folders, kind).protection()
}

/// Touches nothing but names of files.
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

/// The store that was asked for is not the recorded one.
#[derive(Debug, thiserror::Error)]
#[error("the secrets are in the {0}, as config.toml records; start without --store, or change `store` there")]
pub struct OtherStore(&'static str);
