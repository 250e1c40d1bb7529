//! Requests about the store: unlock it, move its secrets.

use serde::{Deserialize, Serialize};

use crate::secret::{self, Secret};

/// Fields of `unlock`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Unlock {
    /// Present passphrase of the vault. Absent for a keychain, which asks in its own window.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub passphrase: Option<Secret>,
    /// New passphrase for the vault. A vault that has one needs the present one in `passphrase`, also if it is open.
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
    /// Passphrase of the vault, if it has one: to open the destination, or to take the secrets out of it.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub passphrase: Option<Secret>,
}
