//! Requests about the store: unlock it, move its secrets.

use serde::{Deserialize, Serialize};

use crate::secret::{self, Secret};

/// Fields of `unlock`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Unlock {
    /// Passphrase of the vault. Absent for a keychain, which asks in its own window.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub passphrase: Option<Secret>,
    /// New passphrase for the vault. A locked vault is unlocked with `passphrase` first.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub set_passphrase: Option<Secret>,
}

/// Fields of `store-move`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreMove {
    /// Destination: `keychain` or `vault`.
    pub to: String,
    /// Passphrase of the vault, if the vault is the destination and has one.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub passphrase: Option<Secret>,
}
