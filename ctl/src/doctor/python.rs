//! pip's effective settings, as pip itself says them, and uv's, which are variables.

use super::patient::{ask, first_of, variable};
use super::{Finding, Patient};

/// All about pip and uv, where a registry is Python's and they are there.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    if !patient.has("pypi") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if ask("pip", &["--version"]).is_some() {
        findings.extend(pip(patient));
    }
    if ask("uv", &["--version"]).is_some()
        && !variable("SSL_CERT_FILE").is_some_and(|file| patient.is_our_bundle(&file))
    {
        findings.push(Finding::new(
            "uv-distrusts",
            "SSL_CERT_FILE is not the bundle",
            "uv takes its roots from nowhere else: it does not trust regauthd when that speaks for the registry",
            "regauthctl setup shell",
        ));
    }
    findings
}

fn pip(patient: &Patient) -> Vec<Finding> {
    let mut findings = Vec::new();
    let by_pip = || ask("pip", &["config", "get", "global.proxy"]).map(|value| ("pip.conf", value));
    let proxy = first_of(&["PIP_PROXY"])
        .or_else(by_pip)
        .or_else(|| first_of(&["https_proxy", "HTTPS_PROXY"]));
    if !proxy.as_ref().is_some_and(|(_, value)| patient.is_our_proxy(value)) {
        let origin = proxy.map_or("pip uses no proxy".to_owned(), |(origin, _)| {
            format!("pip's proxy is another one, by {origin}")
        });
        findings.push(Finding::new(
            "pip-other-proxy",
            origin,
            "requests to the registry do not pass regauthd, so they carry no token",
            "regauthctl setup pip",
        ));
    }
    let roots = first_of(&["PIP_CERT"])
        .or_else(|| ask("pip", &["config", "get", "global.cert"]).map(|value| ("pip.conf", value)))
        .or_else(|| first_of(&["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"]));
    if !roots.as_ref().is_some_and(|(_, file)| patient.is_our_bundle(file)) {
        let what = roots.map_or("pip is told of no bundle".to_owned(), |(origin, file)| {
            format!("pip's roots come from {file}, by {origin}")
        });
        let why = "it does not trust regauthd when that speaks for the registry";
        findings.push(Finding::new("pip-distrusts", what, why, "regauthctl setup pip"));
    }
    findings
}
