//! Failures as answers: what went wrong, and what to do next.

use regauth_shared::{ErrorBody, ErrorKind};

use crate::credential::StoreError;

/// A store's failure as an answer.
pub(crate) fn store_error(error: &StoreError) -> ErrorBody {
    let (kind, hint) = match error {
        StoreError::Locked => (ErrorKind::StoreLocked, "open it with `regauthctl unlock`, then repeat"),
        StoreError::WrongPassphrase => (ErrorKind::StoreLocked, "try again with the right passphrase"),
        StoreError::Unavailable(_) => (
            ErrorKind::StoreUnavailable,
            "start the keychain service, or choose `store = \"vault\"` in config.toml",
        ),
        StoreError::NoAnswer => (
            ErrorKind::StoreUnavailable,
            "answer the keychain's window if one is open, then repeat",
        ),
        StoreError::Refused(_) => (ErrorKind::Refused, "`regauthctl status` says what protects the secrets"),
        StoreError::Failed(_) => (
            ErrorKind::StoreUnavailable,
            "`regauthctl status` says which store it is",
        ),
    };
    ErrorBody::new(kind, error.to_string()).hint(hint)
}
