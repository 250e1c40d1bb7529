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

    /// True if the issuer signs for everybody on the internet, and no pattern names an owner: a stranger's token may fit.
    pub(crate) fn fits_strangers(&self) -> bool {
        PUBLIC_ISSUERS.contains(&self.issuer.as_str())
            && !self.claims.iter().any(|(name, patterns)| {
                OWNER_CLAIMS.contains(&name.as_str()) && patterns.iter().all(|pattern| names_owner(name, pattern))
            })
    }
}

/// True if the pattern begins with an owner. In a subject the owner follows a fixed word, as in `repo:corp/*`.
fn names_owner(claim: &str, pattern: &Glob) -> bool {
    let prefix = pattern.literal_prefix();
    let owner = match claim {
        "sub" => prefix.split_once(':').map_or("", |(_, owner)| owner),
        _ => &prefix,
    };
    !owner.is_empty()
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

/// Issuers that sign for all customers. Those of CircleCI are absent: each organization has its own.
const PUBLIC_ISSUERS: [&str; 3] = [
    "https://token.actions.githubusercontent.com",
    "https://gitlab.com",
    "https://agent.buildkite.com",
];
/// Claims of these issuers that say to whom a workload belongs.
const OWNER_CLAIMS: [&str; 14] = [
    "sub",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "enterprise",
    "enterprise_id",
    "project_path",
    "project_id",
    "namespace_path",
    "namespace_id",
    "organization_slug",
    "organization_id",
    "pipeline_id",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_for_a_public_issuer_has_to_name_an_owner() {
        const GITHUB: &str = "https://token.actions.githubusercontent.com";
        for (issuer, claims, strangers) in [
            (GITHUB, &[("ref", &["refs/heads/main"][..])][..], true),
            (GITHUB, &[("repository", &["*/plans"])], true),
            (GITHUB, &[("repository", &["corp/*", "*/plans"])], true),
            (GITHUB, &[("repository", &["corp/*", "wheels/*"])], false),
            (GITHUB, &[("repository_owner", &["corp"]), ("ref", &["**"])], false),
            (GITHUB, &[("sub", &["repo:**:ref:refs/heads/main"])], true),
            (GITHUB, &[("sub", &["repo:corp/*:ref:refs/heads/main"])], false),
            ("https://gitlab.com", &[("ref_protected", &["true"])], true),
            ("https://gitlab.com", &[("project_path", &["corp/**"])], false),
            ("https://agent.buildkite.com", &[("build_branch", &["main"])], true),
            (
                "https://agent.buildkite.com",
                &[("organization_slug", &["corp"])],
                false,
            ),
            ("https://gitlab.corp.example", &[("ref", &["main"])], false),
        ] {
            let patterns = |texts: &[&str]| texts.iter().map(|text| Glob::new(text)).collect();
            let rule = TrustRule {
                issuer: issuer.to_owned(),
                audience: "regauth".to_owned(),
                keys: KeyLocation::File("/keys".into()),
                ca_file: None,
                claims: claims
                    .iter()
                    .map(|(name, texts)| ((*name).to_owned(), patterns(texts)))
                    .collect(),
                registries: BTreeSet::new(),
                write: false,
            };
            assert_eq!(rule.fits_strangers(), strangers, "{issuer} {claims:?}");
        }
    }
}
