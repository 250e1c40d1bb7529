//! Requests that open and close access: writes for a registry, grants for clients.

use serde::{Deserialize, Serialize};

use crate::name::RegistryName;

/// Fields of `allow`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// Name of the registry.
    pub name: RegistryName,
    /// Seconds until writes close again.
    pub seconds: u64,
}

/// Fields of `grant`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// Registries that the grant covers. An empty list covers every registry, including those added later.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<RegistryName>,
    /// True if the grant covers writes as well as reads.
    #[serde(default)]
    pub write: bool,
    /// Seconds until the grant ends.
    pub seconds: u64,
    /// True for a signed grant, which every daemon with the same key accepts.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub signed: bool,
}

/// Fields of `revoke`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revoke {
    /// Id of the grant, as `grants` lists it.
    pub id: String,
}
