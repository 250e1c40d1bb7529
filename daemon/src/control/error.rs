//! Errors of the store and of files as the protocol's [`ErrorBody`]: kind, message, and a hint with the next command.

use std::io;
use std::path::Path;

use regauth_shared::{ErrorBody, ErrorKind};

use crate::credential::store::StoreError;

impl From<StoreError> for ErrorBody {
    fn from(error: StoreError) -> Self {
        let (kind, hint) = match error {
            StoreError::Locked => (ErrorKind::StoreLocked, "open it with `regauthctl unlock`, then repeat"),
            StoreError::WrongPassphrase => (
                ErrorKind::StoreLocked,
                "nothing was changed; try again with the right passphrase",
            ),
            StoreError::PassphraseNeeded => (
                ErrorKind::PresenceNeeded,
                "nothing was changed; repeat it at a terminal, which asks for the passphrase, or pipe it in with \
                 --passphrase-stdin",
            ),
            StoreError::Unavailable(_) => (
                ErrorKind::StoreUnavailable,
                "start the keychain service, or choose `store = \"vault\"` in config.toml",
            ),
            StoreError::NoAnswer => (
                ErrorKind::StoreUnavailable,
                "answer the keychain's window if one is open, then repeat",
            ),
            StoreError::Refused(_) => (ErrorKind::Refused, "`regauthctl status` says what protects the secrets"),
            StoreError::Unusable(_) => (
                ErrorKind::StoreUnavailable,
                "`regauthctl rotate` writes the registry's token again",
            ),
            StoreError::Damaged(_) => (
                ErrorKind::StoreUnavailable,
                "put the file back from a backup; or move the vault away, wait 5 s, and run `regauthctl rotate` for each \
                 registry",
            ),
            StoreError::Failed(_) => (
                ErrorKind::StoreUnavailable,
                "correct the cause; regauthd tries again every 5 s",
            ),
        };
        ErrorBody::new(kind, error.to_string()).hint(hint)
    }
}

/// `failed`: a file cannot be written. The hint does not say whether something was changed: see [`unchanged`].
pub(super) fn write_error(file: &Path, error: &io::Error) -> ErrorBody {
    ErrorBody::new(ErrorKind::Failed, format!("cannot write {}: {error}", file.display()))
        .hint("free disk space or fix the folder's permissions, then repeat")
}

/// Adds to the hint that nothing was changed. The caller has undone what it had begun.
pub(super) fn unchanged(error: ErrorBody) -> ErrorBody {
    let hint = match &error.hint {
        Some(hint) => format!("nothing was changed; {hint}"),
        None => "nothing was changed".to_owned(),
    };
    error.hint(hint)
}

/// `failed`: a file cannot be read.
pub(super) fn read_error(file: &Path, error: &io::Error) -> ErrorBody {
    ErrorBody::new(ErrorKind::Failed, format!("cannot read {}: {error}", file.display()))
        .hint("fix the file or its permissions, then repeat")
}
