//! Git's effective settings for each place that it is to reach through the proxy, as git itself says them.

use std::path::Path;

use super::patient::{ask, first_of, variable};
use super::{Finding, Patient};

/// All about git, where a registry is git's and git is there.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    if ask("git", &["--version"]).is_none() {
        return Vec::new();
    }
    let scopes = patient.facts.git_scopes();
    scopes
        .flat_map(|scope| [proxy(patient, scope), roots(patient, scope)])
        .flatten()
        .collect()
}

/// Git's own setting beats the variables.
fn proxy(patient: &Patient, scope: &str) -> Option<Finding> {
    let why = "requests there do not pass regauthd, so they carry no token";
    let mend = "regauthctl setup git";
    let by_git = ask("git", &["config", "--get-urlmatch", "http.proxy", scope]).map(|value| ("its http.proxy", value));
    match by_git.or_else(|| first_of(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])) {
        Some((_, value)) if patient.is_our_proxy(&value) => None,
        Some((origin, _)) => {
            let what = format!("git's proxy for {scope} is another one, by {origin}");
            Some(Finding::new("git-other-proxy", what, why, mend))
        }
        None => Some(Finding::new(
            "git-no-proxy",
            format!("git uses no proxy for {scope}"),
            why,
            mend,
        )),
    }
}

/// The variable beats git's settings.
fn roots(patient: &Patient, scope: &str) -> Option<Finding> {
    let by_git = || {
        Some((
            "http.sslCAInfo",
            ask("git", &["config", "--get-urlmatch", "http.sslCAInfo", scope])?,
        ))
    };
    let by_variable = variable("GIT_SSL_CAINFO").map(|value| ("GIT_SSL_CAINFO", value));
    let why = "it does not trust regauthd when that speaks for the host";
    let Some((origin, file)) = by_variable.or_else(by_git) else {
        let what = format!("git is told of no bundle for {scope}");
        return Some(Finding::new("git-distrusts", what, why, "regauthctl setup git"));
    };
    if patient.is_our_bundle(&file) {
        return None;
    }
    let missing = if Path::new(&file).exists() {
        ""
    } else {
        ", which does not exist"
    };
    let what = format!("git's roots for {scope} come from {file}, by {origin}{missing}");
    let mend = if origin == "GIT_SSL_CAINFO" {
        "unset GIT_SSL_CAINFO"
    } else {
        "regauthctl setup git"
    };
    Some(Finding::new("git-other-bundle", what, why, mend))
}
