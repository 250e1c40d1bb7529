//! Name of a registry, as typed by a person and used as key in the configuration and the store.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Registry name: 1 to 64 characters of `a-z 0-9 - _`, starting with a letter or a digit.
///
/// Every such name is a TOML bare key, a cargo registry name and a file name at once, so it never needs quoting. A clone
/// shares the text: each request's event names its registry.
///
/// ```
/// use regauth_shared::RegistryName;
///
/// let name: RegistryName = "corp-mirror".parse()?;
/// assert_eq!(name.as_str(), "corp-mirror");
/// assert!("../etc".parse::<RegistryName>().is_err());
/// # Ok::<(), regauth_shared::name::InvalidName>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryName(Arc<str>);

impl RegistryName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RegistryName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
        let all_allowed = text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
        if starts_well && all_allowed && text.len() <= MAX_LENGTH {
            Ok(Self(text.into()))
        } else {
            Err(InvalidName)
        }
    }
}

impl TryFrom<String> for RegistryName {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

impl From<RegistryName> for String {
    fn from(name: RegistryName) -> Self {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Error of a text that is not a registry name. It does not repeat the text, which may be a token in the wrong place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a registry name is 1 to 64 characters of a-z, 0-9, - and _, and starts with a letter or a digit")]
pub struct InvalidName;

const MAX_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_cargo_registry_names_and_refuses_names_that_need_quoting() {
        for good in ["corp", "a", "9to5", "my-corp_2", &"x".repeat(64)] {
            assert!(good.parse::<RegistryName>().is_ok(), "{good}");
        }
        for bad in ["", "-corp", "_x", "Corp", "a.b", "a b", "ä", "../x", &"x".repeat(65)] {
            assert_eq!(bad.parse::<RegistryName>(), Err(InvalidName), "{bad}");
        }
    }
}
