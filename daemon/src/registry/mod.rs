//! Registries: scopes, scheme, source and writes, as configured. The module does no I/O and sees no secret.
//!
//! A [`Scope`] is `https://host[:port]/path/`; a request belongs to the registry with the longest matching path. A
//! [`Scheme`] describes the header that carries the secret, a [`Source`] the origin of the secret. [`crate::policy`]
//! classifies requests.

mod program;
mod scope;

mod scheme;

mod source;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::str::FromStr;

pub use program::{InvalidProgramName, ProgramName};
pub use scheme::{InvalidScheme, Scheme, UnsendableSecret};
pub use scope::{Index, InvalidScope, Scope};
pub use source::{Command, InvalidSource, Output, Source};
pub(crate) use source::{exchange_names, is_variable_name};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regauth_shared::kind::KINDS;
use url::Url;

use crate::credential::source::endpoint::Endpoint;
use crate::host::Host;
use crate::policy::Rejections;
use crate::policy::binding::RootDigest;

/// Configured registry. Its name is the key in [`crate::config::Config::registries`].
#[derive(Clone, Debug, PartialEq)]
pub struct Registry {
    /// Kind, which tells reads from writes.
    pub kind: Kind,
    /// Index, if the registry has one.
    pub index: Option<Index>,
    /// Scopes; never empty.
    pub scopes: Vec<Scope>,
    /// Header that carries the secret.
    pub scheme: Scheme,
    /// Source of the credential.
    pub source: Source,
    /// Token service of a container registry, which gets the credential in place of the registry.
    pub(crate) token_service: Option<Endpoint>,
    /// Default for writes, without `regauthctl allow`.
    pub writes: Writes,
    /// Programs that may use the registry; empty for every program.
    pub programs: Vec<ProgramName>,
    /// Statuses with which the registry rejects a token.
    pub rejected_by: Rejections,
    /// True if entries of a sparse index are asked for ahead of cargo.
    pub read_ahead: bool,
    /// File of more root certificates, for this registry only.
    pub ca_file: Option<PathBuf>,
    /// Client certificate for mutual TLS with the registry.
    pub client_identity: Option<ClientIdentity>,
    /// Certificates of `ca_file` that a stored token's binding allows, or that were compared with it; `None` for all. A
    /// configuration that was just read has none.
    pub(crate) bound_roots: Option<BTreeSet<RootDigest>>,
}

impl Registry {
    /// The registry, with trust in these certificates of its `ca_file` alone.
    pub(crate) fn with_bound_roots(&self, roots: BTreeSet<RootDigest>) -> Self {
        Self {
            bound_roots: Some(roots),
            ..self.clone()
        }
    }

    /// True if a scope covers the URL, in its literal spelling.
    pub(crate) fn covers_url(&self, url: &Url) -> bool {
        self.scopes.iter().any(|scope| scope.covers_url(url))
    }

    /// Digest of the scopes: SHA-256 in base64url, of their URLs in order. It is equal in all daemons with this
    /// configuration, and differs from that of another registry, also one of the same name.
    pub(crate) fn digest(&self) -> String {
        let scopes: BTreeSet<String> = self.scopes.iter().map(Scope::to_string).collect();
        let mut hash = digest::Context::new(&digest::SHA256);
        for scope in scopes {
            hash.update(scope.as_bytes());
            // No URL has one.
            hash.update(b"\n");
        }
        URL_SAFE_NO_PAD.encode(hash.finish())
    }

    /// Hosts of the scopes with TLS.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        let scopes = self.scopes.iter().filter(|scope| !scope.plain);
        scopes.map(|scope| &scope.origin.host)
    }
}

/// Client certificate chain and its key, both PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClientIdentity {
    /// File of the chain.
    pub certificate: PathBuf,
    /// File of the key.
    pub key: PathBuf,
}

/// Kind of a registry, by which a request is a read or a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Cargo registry.
    #[default]
    Cargo,
    /// Git over HTTPS.
    Git,
    /// Python package index.
    Pypi,
    /// npm registry.
    Npm,
    /// Container registry (OCI distribution).
    Oci,
    /// Maven repository, for Maven and Gradle.
    Maven,
    /// Go module proxy.
    Go,
    /// RubyGems server.
    Rubygems,
    /// Composer repository.
    Composer,
    /// NuGet feed.
    Nuget,
    /// Debian package repository.
    Apt,
    /// Any other: reads are GET, HEAD and OPTIONS, fetches of git and audits of npm.
    Generic,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Cargo,
        Self::Git,
        Self::Pypi,
        Self::Npm,
        Self::Oci,
        Self::Maven,
        Self::Go,
        Self::Rubygems,
        Self::Composer,
        Self::Nuget,
        Self::Apt,
        Self::Generic,
    ];

    /// Value in flags and files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Git => "git",
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::Oci => "oci",
            Self::Maven => "maven",
            Self::Go => "go",
            Self::Rubygems => "rubygems",
            Self::Composer => "composer",
            Self::Nuget => "nuget",
            Self::Apt => "apt",
            Self::Generic => "generic",
        }
    }
}

impl FromStr for Kind {
    type Err = InvalidKind;

    fn from_str(text: &str) -> Result<Self, InvalidKind> {
        let mut kinds = Self::ALL.into_iter();
        kinds.find(|kind| kind.as_str() == text).ok_or(InvalidKind)
    }
}

/// Error of parsing a [`Kind`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a kind is one of: {}", KINDS.join(", "))]
pub struct InvalidKind;

/// Default for writes, without `regauthctl allow`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Writes {
    /// Closed until a person opens them.
    #[default]
    Deny,
    /// Always open.
    Allow,
}

impl Writes {
    /// Value in flags and files.
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

/// Error of parsing [`Writes`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("writes are deny or allow")]
pub struct InvalidWrites;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_kinds_of_the_protocol_are_those_of_the_daemon() {
        assert_eq!(Kind::ALL.map(Kind::as_str), KINDS);
        assert!(KINDS.into_iter().all(|name| name.parse().map(Kind::as_str) == Ok(name)));
        let unknown = "cobol".parse::<Kind>().unwrap_err();
        assert!(unknown.to_string().ends_with("nuget, apt, generic"), "{unknown}");
    }

    #[test]
    fn the_digest_of_a_registry_depends_on_its_urls_and_not_on_their_order() {
        let digest = |scopes: &str| {
            let config = Config::read(&format!("registries.corp.scopes = {scopes}\n")).unwrap();
            config.registries.values().next().unwrap().digest()
        };
        let both = digest(r#"["https://corp.example/a/", "https://corp.example/b/"]"#);
        assert_eq!(both.len(), 43);
        assert_eq!(
            both,
            digest(r#"["https://CORP.example:443/b/", "https://corp.example/a/"]"#)
        );
        for other in [
            r#"["https://corp.example/a/"]"#,
            r#"["https://corp.example/a/", "https://corp.example/b/c/"]"#,
            r#"["https://corp.example:8443/a/", "https://corp.example/b/"]"#,
            r#"["https://other.example/a/", "https://corp.example/b/"]"#,
        ] {
            assert_ne!(both, digest(other), "{other}");
        }
    }
}
