//! Requests that read or change the definitions of registries.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::yes;
use crate::name::RegistryName;

/// Fields of `set-registry`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetRegistry {
    /// Name of the registry.
    pub name: RegistryName,
    /// New values by key, as in `config.toml`: texts, lists of texts, booleans, and a table for `source`. `null` removes
    /// the key.
    pub values: BTreeMap<String, Value>,
    /// True if someone else has written the values: a source may then be the store or an exchange, but no command, path
    /// or variable of this machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// True to report the changes without making them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
    /// True if the person has agreed to changes that widen where the token goes or what it may do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub widen: bool,
    /// True if the registry must accept its token under the new definition. The default.
    #[serde(default = "yes")]
    pub verify: bool,
    /// Digest of the changes that the person was shown, from the answer to a check. Other changes are an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<String>,
}

/// Fields of `replace-configuration`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplaceConfiguration {
    /// New text of the file.
    pub text: ConfigurationText,
    /// SHA-256, in hexadecimal, of the text that the person began to edit. Another text on disk is an error.
    pub base: String,
    /// True to report the changes without making them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
    /// True if the person has agreed to changes that widen where a token goes or what it may do.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub widen: bool,
    /// True if each changed registry must accept its token under its new definition. The default.
    #[serde(default = "yes")]
    pub verify: bool,
    /// Digest of the changes that the person was shown, from the answer to a check. Other changes are an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<String>,
}

/// Fields of `reload`.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reload {
    /// True to report the changes without making them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub check: bool,
    /// Digest of the changes that the person was shown, from the answer to a check. Other changes are an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reviewed: Option<String>,
}

/// Text of a configuration file. `Debug` shows its length only: a person may have put a secret in it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ConfigurationText(pub String);

impl fmt::Debug for ConfigurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ConfigurationText({} bytes)", self.0.len())
    }
}

/// Fields of `export`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Export {
    /// Registries to export; an empty list stands for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<RegistryName>,
}
