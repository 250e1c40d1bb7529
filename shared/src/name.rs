//! The name of a registry: what a person types, what keys the configuration and the store.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A registry's name: 1 to 64 of `a-z 0-9 - _`, starting with a letter or digit.
///
/// The set is what is at once a TOML bare key, a cargo registry name and a file name, so a name never needs quoting.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegistryName(String);

impl RegistryName {
    /// The name as text.
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
            Ok(Self(text.to_owned()))
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
        name.0
    }
}

impl fmt::Display for RegistryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text is not a registry name. What was typed is not repeated: it may have been a token in the wrong place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a registry name is 1 to 64 characters of a-z, 0-9, - and _, and starts with a letter or a digit")]
pub struct InvalidName;

const MAX_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_cargo_accepts_and_nothing_that_needs_quoting() {
        for good in ["corp", "a", "9to5", "my-corp_2", &"x".repeat(64)] {
            assert!(good.parse::<RegistryName>().is_ok(), "{good}");
        }
        for bad in ["", "-corp", "_x", "Corp", "a.b", "a b", "ä", "../x", &"x".repeat(65)] {
            assert_eq!(bad.parse::<RegistryName>(), Err(InvalidName), "{bad}");
        }
    }
}
