//! Requests about a registry's token: replace it, verify it, compare it.

use serde::{Deserialize, Serialize};

use super::yes;
use crate::name::RegistryName;
use crate::secret::{self, Secret};

/// Fields of `rotate`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotate {
    /// Name of the registry.
    pub name: RegistryName,
    /// New token. Absent for a registry whose token comes from a file or a program: the daemon asks that source again.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub token: Option<Secret>,
    /// True if the registry must accept the token before it replaces the old one. The default.
    #[serde(default = "yes")]
    pub verify: bool,
}

/// Fields of `verify`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verify {
    /// Name of one registry; absent for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<RegistryName>,
}

/// Fields of `holds`. `regauthctl import` asks it about each token found in a client's file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompareToken {
    /// Name of the registry.
    pub name: RegistryName,
    /// Token to compare with the registry's present one.
    #[serde(serialize_with = "secret::expose")]
    pub token: Secret,
}
