//! Errors of the vault's files. No variant has any of their content.

use std::io;
use std::path::PathBuf;

use crate::credential::store::StoreError;
use crate::credential::store::vault::key::UnsealError;

/// An error of the vault's files, with a fix if there is one.
#[derive(Debug, thiserror::Error)]
pub(super) enum VaultError {
    #[error("{path} cannot be read: {1}", path = .0.display())]
    Read(PathBuf, io::Error),
    #[error("{path} cannot be written: {1}", path = .0.display())]
    Write(PathBuf, io::Error),
    #[error("the vault {} exists but its key {} does not; put the key back, or move the vault away to start with an empty one", .vault.display(), .key.display())]
    KeyMissing { vault: PathBuf, key: PathBuf },
    #[error("the key {} does not open the vault {}", .key.display(), .vault.display())]
    WrongKey { vault: PathBuf, key: PathBuf },
    #[error("the vault {path} is damaged: {1}", path = .0.display())]
    Damaged(PathBuf, String),
    #[error("others can read the vault's key {path}; if nobody has, run: chmod 600 {path}", path = .0.display())]
    KeyExposed(PathBuf),
    #[error("the vault's key {path} belongs to another user", path = .0.display())]
    KeyForeign(PathBuf),
    #[error("{path} does not hold one age identity", path = .0.display())]
    KeyInvalid(PathBuf),
    #[error("the vault's key {path} does not open: {1}", path = .0.display())]
    Sealed(PathBuf, UnsealError),
    #[error("the vault's key {path} comes from systemd, which protects it; it cannot have a passphrase", path = .0.display())]
    NotOurs(PathBuf),
    #[error("the vault cannot be encrypted: {0}")]
    Encrypt(String),
}

impl From<VaultError> for StoreError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::KeyMissing { .. }
            | VaultError::WrongKey { .. }
            | VaultError::Damaged(..)
            | VaultError::KeyInvalid(_)
            | VaultError::Sealed(..) => Self::Damaged(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}
