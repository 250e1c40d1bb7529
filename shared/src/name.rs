//! Name of a registry, as typed by a person and used as key in the configuration and the store.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Registry name: 1 to 64 ASCII letters, digits, `-`, `_` and `.`, starting with a letter or a digit, and no dot beside a
/// dot or at the end.
///
/// Cargo registries such as `Internal` keep their names. Every name is a file name and needs no quoting in a shell; one with
/// a dot needs quotes as a TOML key ([`RegistryName::toml_key`]). A clone shares the text: each request's event names its
/// registry.
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

    /// The name as a key of a TOML document: in quotes if it has a dot.
    pub fn toml_key(&self) -> Cow<'_, str> {
        match self.0.contains('.') {
            true => Cow::Owned(format!("\"{self}\"")),
            false => Cow::Borrowed(&self.0),
        }
    }

    /// True for names that cargo's variables and file systems without case cannot tell apart.
    pub fn differs_only_in_case(&self, other: &Self) -> bool {
        self != other && self.0.eq_ignore_ascii_case(&other.0)
    }
}

impl FromStr for RegistryName {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let starts_well = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        let all_allowed = text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
        let dots_separate = !text.contains("..") && !text.ends_with('.');
        if starts_well && dots_separate && all_allowed && text.len() <= MAX_LENGTH {
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
#[error("a registry name is 1 to 64 letters, digits, `-`, `_` and `.`, and starts with a letter or a digit")]
pub struct InvalidName;

const MAX_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_cargo_registry_names_and_refuses_names_that_a_shell_would_change() {
        for good in ["corp", "a", "9to5", "my-corp_2", "Internal", "my.corp", &"x".repeat(64)] {
            assert!(good.parse::<RegistryName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-corp",
            "_x",
            ".x",
            "x.",
            "a..b",
            "a b",
            "ä",
            "../x",
            "a/b",
            &"x".repeat(65),
        ] {
            assert_eq!(bad.parse::<RegistryName>(), Err(InvalidName), "{bad}");
        }
    }

    #[test]
    fn a_name_with_a_dot_is_quoted_as_a_key() {
        let name = |text: &str| text.parse::<RegistryName>().unwrap();
        assert_eq!(name("my.corp").toml_key(), "\"my.corp\"");
        assert_eq!(name("Internal").toml_key(), "Internal");
        assert!(name("Internal").differs_only_in_case(&name("internal")));
        assert!(!name("corp").differs_only_in_case(&name("corp")));
    }
}
