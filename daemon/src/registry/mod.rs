//! What a registry is and what covers what. Pure: nothing here does I/O or sees a secret.
//!
//! A [`Scope`] is `https://host[:port]/path/`; a request belongs to the registry with the longest matching path. A
//! [`Scheme`] says how its secret becomes a header, a [`Source`] where that comes from. The policy, what a request may do
//! there, is in [`crate::policy`].

mod scope;

mod scheme;

mod source;

use std::path::PathBuf;
use std::str::FromStr;

pub use scheme::{InvalidScheme, Scheme};
pub use scope::{Index, InvalidScope, Scope};
pub(crate) use source::is_variable_name;
pub use source::{Command, InvalidSource, Output, Source};

use crate::host::Host;

/// A registry as configured. Its name is the key it is kept under.
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    /// What reads and writes look like.
    pub kind: Kind,
    /// The index, for those that have one.
    pub index: Option<Index>,
    /// What it covers; never empty.
    pub scopes: Vec<Scope>,
    /// How the secret becomes a header.
    pub scheme: Scheme,
    /// Where the credential comes from.
    pub source: Source,
    /// Whether writes are open without `allow`.
    pub writes: Writes,
    /// Extra upstream roots, for this registry only.
    pub ca_file: Option<PathBuf>,
    /// Upstream mTLS.
    pub client_identity: Option<ClientIdentity>,
}

impl Registry {
    /// The hosts that it is on, as far as we speak TLS for them.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        let scopes = self.scopes.iter().filter(|scope| !scope.plain);
        scopes.map(|scope| &scope.origin.host)
    }
}

/// A certificate chain and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientIdentity {
    /// The chain.
    pub certificate: PathBuf,
    /// The key.
    pub key: PathBuf,
}

/// What a method and path mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// A cargo registry.
    #[default]
    Cargo,
    /// Git over HTTPS.
    Git,
    /// A Python package index.
    Pypi,
    /// An npm registry.
    Npm,
    /// Anything else: only GET, HEAD and OPTIONS read.
    Generic,
}

impl Kind {
    /// The word for it in flags and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Git => "git",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Generic => "generic",
        }
    }
}

impl FromStr for Kind {
    type Err = InvalidKind;

    fn from_str(text: &str) -> Result<Self, InvalidKind> {
        [Self::Cargo, Self::Git, Self::Pypi, Self::Npm, Self::Generic]
            .into_iter()
            .find(|kind| kind.as_str() == text)
            .ok_or(InvalidKind)
    }
}

/// The text is not a kind.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a kind is cargo, git, pypi, npm or generic")]
pub struct InvalidKind;

/// Whether writes are open without `allow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// Closed until someone opens them.
    #[default]
    Deny,
    /// Always open.
    Allow,
}

impl Writes {
    /// The word for it in flags and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Allow => "allow",
        }
    }
}

impl FromStr for Writes {
    type Err = InvalidWrites;

    fn from_str(text: &str) -> Result<Self, InvalidWrites> {
        [Self::Deny, Self::Allow]
            .into_iter()
            .find(|writes| writes.as_str() == text)
            .ok_or(InvalidWrites)
    }
}

/// The text says neither deny nor allow.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("writes are deny or allow")]
pub struct InvalidWrites;
