//! What a cargo index says of itself, against what its registry covers.

use regauth_shared::index::Place;
use regauth_shared::response::RegistryView;
use url::Url;

use super::{Finding, Patient};
use crate::index::{self, ProxySettings};

/// Every index of cargo's.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let indexes = patient.facts.cargo_indexes();
    indexes.flat_map(|(view, index)| of(patient, view, index)).collect()
}

fn of(patient: &Patient, view: &RegistryView, index: &str) -> Vec<Finding> {
    let way = ProxySettings {
        proxy: &patient.facts.proxy,
        bundle: &patient.facts.bundle,
    };
    // No curl, no git, or a registry that does not answer: others say so.
    let config = index::fetch_config(&way, index);
    let places = config.map_or_else(Vec::new, |config| index::uncovered(view, &config));
    places.iter().map(|place| missing(view, place)).collect()
}

fn missing(view: &RegistryView, place: &Place<Url>) -> Finding {
    let (name, url) = (&view.name, &place.url);
    Finding::new(
        "scope-missing",
        format!("{name}: {} at {url}, which none of its scopes covers", place.what),
        "requests there carry no token; that is right for a CDN of signed links, and wrong for a place that asks for one",
        format!("if it asks for a token: regauthctl add-scope {name} {url}"),
    )
    .only_worth_knowing()
}
