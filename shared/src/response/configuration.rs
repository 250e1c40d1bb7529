//! Answers about definitions of registries and changes to them.

use serde::{Deserialize, Serialize};

use crate::name::RegistryName;

/// Answer to `set-registry` and `replace-configuration`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigurationChanged {
    /// False if the request was only a check, or if there was nothing to change.
    pub applied: bool,
    /// Differences between the registries in service and the new configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ConfigurationChange>,
    /// Keys outside of the registries whose values change.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// Digest of the changes of a check, which the request that makes them may repeat as `reviewed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<String>,
    /// Notes for the person, such as keys that take effect at the next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// One difference: a key of a registry, or a whole registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ConfigurationChange {
    /// Name of the registry.
    pub registry: RegistryName,
    /// Key, as in `config.toml`; missing if the whole registry is added or removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Value until now, as TOML; missing for the default, or for a registry that is added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<String>,
    /// New value, as TOML; missing for the default, or for a registry that is removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Consequence, if the change widens where the token goes or what it may do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub widens: Option<String>,
}

/// Answer to `export`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Exported {
    /// Definitions, sorted by name.
    pub registries: Vec<Definition>,
}

/// Definition of a registry without what belongs to one person or machine: tokens, commands, paths and variables.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Definition {
    /// Name.
    pub name: RegistryName,
    /// Keys and values, as TOML.
    pub toml: String,
    /// Path of the PEM file with extra roots, if the registry has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Sentences about what was left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}
