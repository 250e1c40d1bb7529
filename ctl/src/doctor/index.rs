//! Check of cargo indexes: the URLs in an index's `config.json` against the scopes of its registry.

use regauth_shared::index::IndexLocation;
use regauth_shared::response::RegistryView;
use url::Url;

use super::context::DoctorContext;
use super::finding::Finding;
use crate::index::{self, ProxySettings};

/// Checks the index of every cargo registry.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let indexes = context.info.cargo_indexes();
    indexes
        .flat_map(|(view, index)| check_index(context, view, index))
        .collect()
}

fn check_index(context: &DoctorContext, view: &RegistryView, index: &str) -> Vec<Finding> {
    let settings = ProxySettings {
        proxy: &context.info.proxy,
        bundle: &context.info.bundle,
    };
    // Without an answer there is nothing to compare; other checks report that curl, git or the registry is missing.
    let config = index::fetch_config(&settings, index);
    let uncovered = config.map_or_else(Vec::new, |config| index::uncovered(view, &config));
    uncovered.iter().map(|location| scope_missing(view, location)).collect()
}

fn scope_missing(view: &RegistryView, location: &IndexLocation<Url>) -> Finding {
    let (name, url) = (&view.name, &location.url);
    Finding::new(
        "scope-missing",
        format!("{name}: {} at {url}, which no scope of it covers", location.what),
        "requests there carry no token: right for a CDN with signed links, wrong for a host that needs a token",
        format!("if the host asks for a token: regauthctl add-scope {name} {url}"),
    )
    .into_note()
}
