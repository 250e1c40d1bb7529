//! URL that shows whether a registry accepts a token, by the registry's kind. Pure.

use url::Url;

use crate::control::token_service::api_url;
use crate::registry::{Index, Kind, Registry};

/// The URL to GET: the index's config.json, a git index's references, the page of all Python packages, npm's `whoami`, or
/// the first scope. The front page of a package server is often public and says nothing about a token.
pub(in crate::control) fn probe_url(registry: &Registry) -> Option<(Url, Evidence)> {
    let index = registry.index.as_ref().and_then(index_url);
    // The token goes to the scopes only, also for a question: a changed index may be anywhere.
    if let Some((url, evidence)) = index.filter(|(url, _)| registry.covers_url(url)) {
        return Some((url, evidence));
    }
    let scope: Url = registry.scopes.first()?.to_string().parse().ok()?;
    Some(match registry.kind {
        Kind::Pypi if scope.path().ends_with("/simple/") => (scope, Evidence::PageStatus),
        Kind::Pypi => (scope.join("simple/").ok()?, Evidence::PageStatus),
        Kind::Npm => (scope.join("-/whoami").ok()?, Evidence::Username),
        Kind::Oci => (api_url(registry)?.to_string().parse().ok()?, Evidence::PageStatus),
        Kind::Rubygems => (scope.join("specs.4.8.gz").ok()?, Evidence::PageStatus),
        Kind::Composer => (scope.join("packages.json").ok()?, Evidence::PageStatus),
        Kind::Nuget => (scope.join("index.json").ok()?, Evidence::PageStatus),
        _ => (scope, Evidence::ScopeStatus),
    })
}

/// Page of an index.
fn index_url(index: &Index) -> Option<(Url, Evidence)> {
    match index {
        Index::Sparse(url) => Some((url.join("config.json").ok()?, Evidence::IndexConfig)),
        Index::Git(url) => {
            let repository = url.as_str().trim_end_matches('/');
            let references = format!("{repository}/info/refs?service=git-upload-pack");
            Some((references.parse().ok()?, Evidence::PageStatus))
        }
    }
}

/// Part of an answer that shows whether the token was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Evidence {
    /// The status of a scope's URL; 403 may be its answer to everybody.
    ScopeStatus,
    /// The status of a page.
    PageStatus,
    /// A body that is an index's config.json.
    IndexConfig,
    /// A body that names a user.
    Username,
}
