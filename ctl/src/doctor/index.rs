//! What a cargo index says of itself, read as a client would: by curl, through the proxy, trusting the bundle.

use regauth_shared::response::RegistryView;
use serde_json::Value;

use super::patient::ask;
use super::{Finding, Patient};

/// Every sparse index.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let indexes = patient.facts.cargo_indexes();
    indexes.flat_map(|(view, index)| of(patient, view, index)).collect()
}

fn of(patient: &Patient, view: &RegistryView, index: &str) -> Vec<Finding> {
    let Some(config) = config(patient, index) else {
        // No curl, a git index, or a registry that does not answer: others say so.
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (key, what) in [("dl", "downloads"), ("api", "publishing, yanking and searching")] {
        let Some(place) = config.get(key).and_then(Value::as_str) else {
            continue;
        };
        let fixed = place.split('{').next().unwrap_or(place);
        if view.scopes.iter().any(|scope| covers(scope, fixed)) {
            continue;
        }
        findings.push(Finding::new(
            "scope-missing",
            format!("{}: {what} happen at {fixed}, which none of its scopes covers", view.name),
            "requests there carry no token; that is right for a CDN of signed links, and wrong for a place that asks for one",
            format!("if it asks for a token: add `{fixed}` to `scopes` in {} and `regauthctl reload`", patient.status.config),
        )
        .only_worth_knowing());
    }
    findings
}

fn config(patient: &Patient, index: &str) -> Option<Value> {
    let url = format!("{}config.json", index.strip_prefix("sparse+")?);
    let arguments = ["-q", "--silent", "--fail", "--max-time", "10", "--noproxy", ""];
    let ours = ["--proxy", &patient.facts.proxy, "--cacert", &patient.facts.bundle, &url];
    serde_json::from_str(&ask("curl", &[&arguments[..], &ours].concat())?).ok()
}

fn covers(scope: &str, place: &str) -> bool {
    let slashed = |text: &str| format!("{}/", text.trim_end_matches('/'));
    // An `api` is the base of places below it.
    slashed(place).starts_with(scope) || scope.starts_with(&slashed(place))
}
