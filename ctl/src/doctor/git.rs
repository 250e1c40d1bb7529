//! Checks of git's effective settings for each scope that git uses.

use super::context::{DoctorContext, first_variable, missing_suffix, output_of, variable};
use super::finding::{BYPASSES_PROXY, DISTRUSTS_REGAUTHD, Finding};

/// Checks git, if it is installed.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    if output_of("git", &["--version"]).is_none() {
        return Vec::new();
    }
    let scopes = context.info.git_scopes();
    scopes
        .flat_map(|scope| [check_proxy(context, scope), check_bundle(context, scope)])
        .flatten()
        .collect()
}

/// Git's own setting overrides the variables.
fn check_proxy(context: &DoctorContext, scope: &str) -> Option<Finding> {
    let from_git = setting("http.proxy", scope).map(|value| ("its http.proxy", value));
    let from_variable = || first_variable(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
    let (code, message) = match from_git.or_else(from_variable) {
        Some((_, value)) if context.is_our_proxy(&value) => return None,
        Some((source, _)) => (
            "git-other-proxy",
            format!("git uses another proxy for {scope}, from {source}"),
        ),
        None => ("git-no-proxy", format!("git uses no proxy for {scope}")),
    };
    Some(Finding::new(code, message, BYPASSES_PROXY, SETUP))
}

/// The variable overrides git's settings.
fn check_bundle(context: &DoctorContext, scope: &str) -> Option<Finding> {
    let from_variable = variable("GIT_SSL_CAINFO").map(|value| ("GIT_SSL_CAINFO", value));
    let from_git = || Some(("http.sslCAInfo", setting("http.sslCAInfo", scope)?));
    let Some((source, file)) = from_variable.or_else(from_git) else {
        let message = format!("git has no bundle for {scope}");
        return Some(Finding::new("git-distrusts", message, DISTRUSTS_REGAUTHD, SETUP));
    };
    if context.is_our_bundle(&file) {
        return None;
    }
    let missing = missing_suffix(&file);
    let message = format!("git reads the roots for {scope} from {file}, set by {source}{missing}");
    let remedy = if source == "GIT_SSL_CAINFO" {
        "unset GIT_SSL_CAINFO"
    } else {
        SETUP
    };
    Some(Finding::new("git-other-bundle", message, DISTRUSTS_REGAUTHD, remedy))
}

fn setting(key: &str, scope: &str) -> Option<String> {
    output_of("git", &["config", "--get-urlmatch", key, scope])
}

const SETUP: &str = "regauthctl setup git";
