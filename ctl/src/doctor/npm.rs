//! npm's effective settings, as npm itself says them.

use super::patient::{ask, variable};
use super::{Finding, Patient};

/// All about npm, where a registry is npm's and npm is there.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let Some(proxy) = setting("https-proxy").filter(|_| patient.has("npm")) else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    if !patient.is_our_proxy(&proxy) {
        findings.push(Finding::new(
            "npm-other-proxy",
            if proxy == "null" {
                "npm uses no proxy"
            } else {
                "npm's https-proxy is another one"
            },
            "requests to the registry do not pass regauthd, so they carry no token",
            "regauthctl setup npm",
        ));
    }
    findings.extend(roots(patient));
    findings
}

/// A `cafile` silently disables NODE_EXTRA_CA_CERTS.
fn roots(patient: &Patient) -> Option<Finding> {
    let cafile = setting("cafile").filter(|file| !file.is_empty() && file != "null");
    let extra = variable("NODE_EXTRA_CA_CERTS");
    let what = match (cafile, extra) {
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
    ask("npm", &["config", "get", key])
}
