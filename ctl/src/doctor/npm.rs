//! Checks of npm's effective settings.

use super::context::{DoctorContext, first_variable, output_of, variable};
use super::finding::{BYPASSES_PROXY, DISTRUSTS_REGAUTHD, Finding};
use crate::environment::bypassing_entries;

/// Checks npm, if it is installed and an npm registry exists.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    if !context.has_kind("npm") || output_of("npm", &["--version"]).is_none() {
        return Vec::new();
    }
    let checks = [check_proxy, check_no_proxy, check_bundle];
    checks.iter().filter_map(|check| check(context)).collect()
}

/// npm's `https-proxy`, which `npm_config_https_proxy` sets too, overrides the variables that all clients share.
fn check_proxy(context: &DoctorContext) -> Option<Finding> {
    let from_npm = || Some(("its https-proxy", setting("https-proxy")?));
    let found = from_npm().or_else(|| first_variable(&["https_proxy", "HTTPS_PROXY"]));
    if found.as_ref().is_some_and(|(_, value)| context.is_our_proxy(value)) {
        return None;
    }
    let message = found.map_or("npm uses no proxy".to_owned(), |(source, _)| {
        format!("npm uses another proxy, from {source}")
    });
    Some(Finding::new("npm-other-proxy", message, BYPASSES_PROXY, SETUP))
}

/// npm's `noproxy` defaults to `NO_PROXY`, which another check covers.
fn check_no_proxy(context: &DoctorContext) -> Option<Finding> {
    let value = setting("noproxy")?;
    let hosts = context.info.hosts();
    let entries = bypassing_entries(&value, &hosts);
    let from_variable = ["NO_PROXY", "no_proxy"]
        .into_iter()
        .filter_map(variable)
        .any(|value| !bypassing_entries(&value, &hosts).is_empty());
    let finding = || {
        Finding::new(
            "npm-bypasses",
            format!(
                "npm's noproxy contains {}, which is the host of a registry",
                entries.join(", ")
            ),
            BYPASSES_PROXY,
            "npm config edit, and remove the host from noproxy",
        )
    };
    (!entries.is_empty() && !from_variable).then(finding)
}

/// A `cafile` silently disables `NODE_EXTRA_CA_CERTS`.
fn check_bundle(context: &DoctorContext) -> Option<Finding> {
    let message = match (setting("cafile"), variable("NODE_EXTRA_CA_CERTS")) {
        (Some(file), _) if context.is_our_bundle(&file) => return None,
        (Some(file), Some(_)) => format!("npm's cafile is {file}, which disables NODE_EXTRA_CA_CERTS"),
        (Some(file), None) => format!("npm's cafile is {file}"),
        (None, Some(file)) if context.is_our_bundle(&file) => return None,
        (None, _) => "npm has no bundle".to_owned(),
    };
    Some(Finding::new("npm-distrusts", message, DISTRUSTS_REGAUTHD, SETUP))
}

fn setting(key: &str) -> Option<String> {
    output_of("npm", &["config", "get", key])
        .filter(|value| !value.is_empty() && value != "null" && value != "undefined")
}

const SETUP: &str = "regauthctl setup npm";
