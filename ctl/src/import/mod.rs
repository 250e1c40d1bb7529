//! Tokens that lie in plain text in the files of cargo, git, curl, pip and npm: found, understood, and taken out.
//!
//! Each client has a reader ([`cargo`], [`git`], [`git_credentials`], [`netrc`], [`pip`], [`npm`]) that says which
//! [`login`] there is for which place, and where in the text of the file it stands. [`gather`] asks them all. [`stand`]
//! says what the daemon has of it already. [`originals`] takes what regauth has got out of the files, keeps a copy, and
//! puts it back. Nothing here sends a token anywhere but to the daemon, or shows one.

mod login;
mod text;

mod cargo;
mod git;
mod git_credentials;
mod netrc;
mod npm;
mod pip;

mod gather;
mod stand;

pub(crate) mod originals;

use std::ops::Range;
use std::path::PathBuf;

use regauth_shared::{RegistryName, Secret};

pub(crate) use gather::gather;
pub(crate) use login::Login;
pub(crate) use stand::{Standing, stand};

/// A token that was found, and what a registry for it looks like.
#[derive(Debug)]
pub(crate) struct Found {
    /// What to call the registry.
    pub(crate) name: RegistryName,
    /// `cargo`, `git`, `pypi`, `npm` or `generic`.
    pub(crate) kind: &'static str,
    /// What it is for.
    pub(crate) place: Place,
    /// How it is sent.
    pub(crate) login: Login,
    /// The token.
    pub(crate) secret: Secret,
    /// What may be shown of it.
    pub(crate) masked: String,
    /// Where it lies; the same token may lie in several files.
    pub(crate) origins: Vec<Origin>,
}

impl Found {
    /// Whether both are the same token for the same place.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.place == other.place && self.login == other.login && self.secret.is_same(&other.secret)
    }
}

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A cargo index, as cargo has it.
    Index(String),
    /// `https://host/path/`.
    Scope(String),
}

impl Place {
    /// As a person knows it.
    pub(crate) fn as_str(&self) -> &str {
        match self {
            Self::Index(text) | Self::Scope(text) => text,
        }
    }

    /// Its URL, which a registry's scope may cover.
    pub(crate) fn url(&self) -> &str {
        let text = self.as_str();
        text.strip_prefix("sparse+").unwrap_or(text)
    }
}

/// Where a token lies.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    /// The file.
    pub(crate) file: PathBuf,
    /// What has to go from it.
    pub(crate) cut: Cut,
}

/// What has to go from a file.
#[derive(Clone, Debug)]
pub(crate) enum Cut {
    /// These bytes of its text.
    Bytes(Vec<Range<usize>>),
    /// It is written in a way that we don't know how to take apart.
    ByHand,
}

/// What a reader makes of a file.
#[derive(Debug, Default)]
struct Findings {
    found: Vec<Entry>,
    notes: Vec<String>,
}

/// A token in a file, as its reader hands it over.
#[derive(Debug)]
struct Entry {
    /// What its file calls it, where it does.
    name: Option<String>,
    kind: &'static str,
    place: Place,
    login: Login,
    secret: String,
    origin: Origin,
}
