//! `presence`: whether a person confirms what a program could ask for.

use std::str::FromStr;

/// Requests that need a person's confirmation. The later mode is the stricter one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PresenceMode {
    /// None.
    Never,
    /// Guarded ones, where polkit or macOS can ask. Elsewhere they go as they go without a person.
    #[default]
    Auto,
    /// Guarded ones, everywhere. Where nobody can be asked, they are refused.
    Always,
}

impl PresenceMode {
    /// Value in the file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Auto => "auto",
            Self::Always => "always",
        }
    }
}

impl FromStr for PresenceMode {
    type Err = InvalidPresence;

    fn from_str(text: &str) -> Result<Self, InvalidPresence> {
        [Self::Never, Self::Auto, Self::Always]
            .into_iter()
            .find(|mode| mode.as_str() == text)
            .ok_or(InvalidPresence)
    }
}

/// Error of parsing [`PresenceMode`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("presence is \"auto\", \"always\" or \"never\"")]
pub struct InvalidPresence;
