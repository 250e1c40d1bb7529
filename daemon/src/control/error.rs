//! Failures as answers: what went wrong, and what to do next.

use std::path::Path;

use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::control::state::RegistryRoutes;
use crate::credential::store::StoreError;

impl From<StoreError> for ErrorBody {
    fn from(error: StoreError) -> Self {
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
            StoreError::Unusable(_) => (
                ErrorKind::StoreUnavailable,
                "`regauthctl rotate` writes a registry's token anew",
            ),
            StoreError::Failed(_) => (
                ErrorKind::StoreUnavailable,
                "`regauthctl status` says which store it is",
            ),
        };
        ErrorBody::new(kind, error.to_string()).hint(hint)
    }
}

/// A file that cannot be written.
pub(super) fn write_error(file: &Path, error: &std::io::Error) -> ErrorBody {
    ErrorBody::new(ErrorKind::Failed, format!("cannot write {}: {error}", file.display()))
        .hint("nothing was changed; make room or mend the folder's permissions, then repeat")
}

/// A file that cannot be read.
pub(super) fn read_error(file: &Path, error: &std::io::Error) -> ErrorBody {
    ErrorBody::new(ErrorKind::Failed, format!("cannot read {}: {error}", file.display()))
        .hint("mend the file or its permissions, then repeat")
}

/// A name that no registry has; with those that there are.
pub(super) fn not_found(registries: &RegistryRoutes, name: &RegistryName) -> ErrorBody {
    let names: Vec<&str> = registries.keys().map(RegistryName::as_str).collect();
    let hint = if names.is_empty() {
        "none is configured; `regauthctl add-registry` adds one".to_owned()
    } else {
        format!("there are: {}", names.join(", "))
    };
    ErrorBody::new(ErrorKind::NotFound, format!("there is no registry `{name}`")).hint(hint)
}
