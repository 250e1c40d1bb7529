//! Trust rule: which tokens of an issuer open which registries. A table `[[trust]]` of the configuration. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use regauth_shared::RegistryName;

use crate::credential::source::endpoint::Endpoint;
use crate::workload::glob::Glob;
use crate::workload::token::Claims;

/// Trust rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustRule {
    /// Issuer: the exact claim `iss`.
    pub(crate) issuer: String,
    /// Audience: the exact claim `aud`, or one of its values.
    pub(crate) audience: String,
    /// Keys of the issuer.
    pub(crate) keys: KeyLocation,
    /// Roots for the host of the keys, beside the system's.
    pub(crate) ca_file: Option<PathBuf>,
    /// Patterns by claim. Each claim must fit one of its patterns.
    pub(crate) claims: BTreeMap<String, Vec<Glob>>,
    /// Registries that the token opens.
    pub(crate) registries: BTreeSet<RegistryName>,
    /// True if it opens their writes, too.
    pub(crate) write: bool,
}

impl TrustRule {
    /// True if the claims fit all patterns.
    pub(super) fn fits(&self, claims: &Claims) -> bool {
        self.claims.iter().all(|(name, patterns)| {
            let texts = claims.texts(name);
            texts
                .iter()
                .any(|text| patterns.iter().any(|pattern| pattern.matches(text)))
        })
    }

    /// True if any token of the issuer for the audience fits.
    pub(crate) fn fits_everything(&self) -> bool {
        self.claims
            .values()
            .all(|patterns| patterns.iter().any(Glob::is_everything))
    }
}

/// Place of an issuer's key set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum KeyLocation {
    /// Document on a server.
    Url(Endpoint),
    /// File.
    File(PathBuf),
}

impl FromStr for KeyLocation {
    type Err = InvalidKeyLocation;

    fn from_str(text: &str) -> Result<Self, InvalidKeyLocation> {
        if Path::new(text).is_absolute() {
            return Ok(Self::File(text.into()));
        }
        text.parse().map(Self::Url).map_err(|_| InvalidKeyLocation)
    }
}

impl fmt::Display for KeyLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) => url.fmt(f),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// Error of a [`KeyLocation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an https:// URL of a JSON Web Key Set, or the absolute path of a file with one")]
pub(crate) struct InvalidKeyLocation;
