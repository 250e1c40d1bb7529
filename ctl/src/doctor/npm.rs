//! npm's effective settings, as npm itself says them.

use super::patient::{ask, first_of, variable};
use super::{Finding, Patient};
use crate::environment;

/// All about npm, where a registry is npm's and npm is there.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    if !patient.has("npm") || ask("npm", &["--version"]).is_none() {
        return Vec::new();
    }
    [proxy(patient), exceptions(patient), roots(patient)]
        .into_iter()
        .flatten()
        .collect()
}

/// npm's own setting, a variable by which it is set included, beats the variables of all.
fn proxy(patient: &Patient) -> Option<Finding> {
    let by_npm = || Some(("its https-proxy", setting("https-proxy")?));
    let found = by_npm().or_else(|| first_of(&["https_proxy", "HTTPS_PROXY"]));
    if found.as_ref().is_some_and(|(_, value)| patient.is_our_proxy(value)) {
        return None;
    }
    let what = found.map_or("npm uses no proxy".to_owned(), |(origin, _)| {
        format!("npm's proxy is another one, by {origin}")
    });
    Some(Finding::new("npm-other-proxy", what, BYPASSES, "regauthctl setup npm"))
}

/// npm has a `noproxy` of its own, which is NO_PROXY where it is not set.
fn exceptions(patient: &Patient) -> Option<Finding> {
    let value = setting("noproxy")?;
    let hosts = patient.facts.hosts();
    let entries = environment::bypassing(&value, &hosts);
    let by_variable = ["NO_PROXY", "no_proxy"]
        .into_iter()
        .filter_map(variable)
        .any(|value| !environment::bypassing(&value, &hosts).is_empty());
    let what = format!(
        "npm's noproxy has {}, which is the host of a registry",
        entries.join(", ")
    );
    let mend = "npm config edit, and take the host out of noproxy";
    (!entries.is_empty() && !by_variable).then(|| Finding::new("npm-bypasses", what, BYPASSES, mend))
}

/// A `cafile` silently disables NODE_EXTRA_CA_CERTS.
fn roots(patient: &Patient) -> Option<Finding> {
    let what = match (setting("cafile"), variable("NODE_EXTRA_CA_CERTS")) {
        (Some(file), _) if patient.is_our_bundle(&file) => return None,
        (Some(file), Some(_)) => format!("npm's cafile is {file}, which disables NODE_EXTRA_CA_CERTS"),
        (Some(file), None) => format!("npm's cafile is {file}"),
        (None, Some(file)) if patient.is_our_bundle(&file) => return None,
        (None, _) => "npm is told of no bundle".to_owned(),
    };
    let why = "it does not trust regauthd when that speaks for the registry";
    Some(Finding::new("npm-distrusts", what, why, "regauthctl setup npm"))
}

fn setting(key: &str) -> Option<String> {
    ask("npm", &["config", "get", key]).filter(|value| !value.is_empty() && value != "null" && value != "undefined")
}

const BYPASSES: &str = "requests to the registry do not pass regauthd, so they carry no token";
