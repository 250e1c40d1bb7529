//! pip's effective settings, as pip itself says them, and uv's, which are a file and variables.

use std::path::Path;

use super::patient::{ask, first_of, variable};
use super::{Finding, Patient};
use crate::setup::SetupTarget;

/// All about pip and uv, where a registry is Python's and they are there.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    if !patient.has("pypi") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if ask_pip(&["--version"]).is_some() {
        findings.extend([pip_proxy(patient), pip_roots(patient)].into_iter().flatten());
    }
    if ask("uv", &["--version"]).is_some() {
        findings.extend([uv_proxy(patient), uv_roots(patient)].into_iter().flatten());
    }
    findings
}

/// pip's own settings beat the variables of all.
fn pip_proxy(patient: &Patient) -> Option<Finding> {
    let by_pip = || Some(("pip.conf", pip_setting("global.proxy")?));
    let found = first_of(&["PIP_PROXY"])
        .or_else(by_pip)
        .or_else(|| first_of(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]));
    other_proxy(patient, "pip", "pip-other-proxy", found)
}

/// The variables of all beat pip's own settings (<https://github.com/psf/requests/issues/3829>).
fn pip_roots(patient: &Patient) -> Option<Finding> {
    let by_pip = || Some(("pip.conf", pip_setting("global.cert")?));
    let found = first_of(&["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"]).or_else(by_pip);
    if found.as_ref().is_some_and(|(_, file)| patient.is_our_bundle(file)) {
        return None;
    }
    let mend = match &found {
        Some((origin, _)) if *origin != "pip.conf" => format!("unset {origin}"),
        _ => "regauthctl setup pip".to_owned(),
    };
    let what = found.map_or("pip is told of no bundle".to_owned(), |(origin, file)| {
        format!("pip's roots come from {file}, by {origin}{}", missing(&file))
    });
    Some(Finding::new("pip-distrusts", what, DISTRUSTS, mend))
}

/// uv's file beats the variables.
fn uv_proxy(patient: &Patient) -> Option<Finding> {
    let by_uv = || Some(("https-proxy in uv.toml", uv_setting("https-proxy")?));
    let found = by_uv().or_else(|| first_of(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]));
    other_proxy(patient, "uv", "uv-other-proxy", found)
}

fn uv_roots(patient: &Patient) -> Option<Finding> {
    let file = variable("SSL_CERT_FILE");
    if file.as_ref().is_some_and(|file| patient.is_our_bundle(file)) {
        return None;
    }
    let what = file.map_or("SSL_CERT_FILE is not set".to_owned(), |file| {
        format!("SSL_CERT_FILE is {file}{}, not the bundle", missing(&file))
    });
    let why = "uv takes its roots from nowhere else: it does not trust regauthd when that speaks for the registry";
    Some(Finding::new("uv-distrusts", what, why, "regauthctl setup shell"))
}

fn other_proxy(patient: &Patient, client: &str, code: &'static str, found: Option<(&str, String)>) -> Option<Finding> {
    if found.as_ref().is_some_and(|(_, value)| patient.is_our_proxy(value)) {
        return None;
    }
    let what = found.as_ref().map_or(format!("{client} uses no proxy"), |(origin, _)| {
        format!("{client}'s proxy is another one, by {origin}")
    });
    let mend = match found {
        Some(("PIP_PROXY", _)) => "unset PIP_PROXY".to_owned(),
        _ => format!("regauthctl setup {client}"),
    };
    let why = "requests to the registry do not pass regauthd, so they carry no token";
    Some(Finding::new(code, what, why, mend))
}

fn missing(file: &str) -> &'static str {
    if Path::new(file).exists() {
        ""
    } else {
        ", which does not exist"
    }
}

fn pip_setting(key: &str) -> Option<String> {
    ask_pip(&["config", "get", key]).filter(|value| !value.is_empty())
}

/// Debian has pip as a module first.
fn ask_pip(arguments: &[&str]) -> Option<String> {
    ask("pip", arguments).or_else(|| ask("python3", &[&["-m", "pip"], arguments].concat()))
}

/// uv does not tell its settings.
fn uv_setting(key: &str) -> Option<String> {
    let file = variable("UV_CONFIG_FILE").map_or_else(|| SetupTarget::User.uv_file().ok(), |file| Some(file.into()))?;
    let document: toml_edit::DocumentMut = std::fs::read_to_string(file).ok()?.parse().ok()?;
    Some(document.get(key)?.as_str()?.to_owned())
}

const DISTRUSTS: &str = "it does not trust regauthd when that speaks for the registry";
