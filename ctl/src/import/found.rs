//! Found tokens, and their positions in files.

use std::ops::Range;
use std::path::PathBuf;

use regauth_shared::{RegistryName, Secret};

use super::auth_scheme::AuthScheme;

/// Found token, with the description of a registry for it.
#[derive(Debug)]
pub(crate) struct FoundToken {
    /// Proposed name of the registry.
    pub(crate) name: RegistryName,
    /// Kind of registry, as in flags.
    pub(crate) kind: &'static str,
    /// Index or scope that the token is for.
    pub(crate) target: TokenTarget,
    /// Authentication scheme that sends the token.
    pub(crate) scheme: AuthScheme,
    /// The token.
    pub(crate) secret: Secret,
    /// Masked form that may be shown.
    pub(crate) masked: String,
    /// Positions in files; several files may hold the same token.
    pub(crate) locations: Vec<TokenLocation>,
}

impl FoundToken {
    /// True if both are the same token for the same target.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.target == other.target && self.scheme == other.scheme && self.secret.is_same(&other.secret)
    }
}

/// Index or scope that a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TokenTarget {
    /// Cargo index, in cargo's syntax.
    Index(String),
    /// URL prefix, `https://host/path/`.
    Scope(String),
}

impl TokenTarget {
    /// Text as in the client's configuration.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Index(text) | Self::Scope(text) => text,
        }
    }

    /// URL, without cargo's `sparse+`.
    pub(crate) fn url(&self) -> &str {
        let text = self.as_str();
        text.strip_prefix("sparse+").unwrap_or(text)
    }
}

/// Position of a token in a file.
#[derive(Clone, Debug)]
pub(crate) struct TokenLocation {
    /// Path of the file.
    pub(crate) file: PathBuf,
    /// Way to remove the token from the file.
    pub(crate) removal: Removal,
}

impl TokenLocation {
    /// Location of these bytes. Without any, only the user can remove the token.
    pub(super) fn new(file: impl Into<PathBuf>, ranges: Vec<Range<usize>>) -> Self {
        let removal = if ranges.is_empty() {
            Removal::ByHand
        } else {
            Removal::Bytes(ranges)
        };
        let file = file.into();
        Self { file, removal }
    }
}

/// Way to remove a token from a file.
#[derive(Clone, Debug)]
pub(crate) enum Removal {
    /// Delete these byte ranges of the text.
    Bytes(Vec<Range<usize>>),
    /// Leave it to the user, because the token shares its line with other settings.
    ByHand,
}
