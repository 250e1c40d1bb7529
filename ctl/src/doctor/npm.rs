//! Checks of npm's effective settings.

use std::path::PathBuf;

use super::context::{DoctorContext, first_variable, output_of, removal, variable};
use super::finding::{BYPASSES_PROXY, DISTRUSTS_REGAUTHD, Finding};
use crate::environment::bypassing_entries;
use crate::setup::Tool;

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
    let message = match found {
        None => "npm uses no proxy".to_owned(),
        Some((source @ "its https-proxy", _)) => {
            format!("npm uses another proxy, from {source}{}", place("https-proxy"))
        }
        Some((source, _)) => format!("npm uses another proxy, from {source}"),
    };
    let remedy = remedy(context, "https-proxy");
    Some(Finding::new("npm-other-proxy", message, BYPASSES_PROXY, remedy))
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
            match source_of("noproxy") {
                Some(Source::File(file)) => removal("noproxy", &file.display()),
                Some(Source::Variable(variable)) => format!("unset {variable}"),
                None => "npm config edit, and remove the host from noproxy".to_owned(),
            },
        )
    };
    (!entries.is_empty() && !from_variable).then(finding)
}

/// A `cafile` silently disables `NODE_EXTRA_CA_CERTS`.
fn check_bundle(context: &DoctorContext) -> Option<Finding> {
    let message = match (setting("cafile"), variable("NODE_EXTRA_CA_CERTS")) {
        (Some(file), _) if context.is_our_bundle(&file) => return None,
        (Some(file), Some(_)) => {
            let place = place("cafile");
            format!("npm's cafile{place} is {file}, which disables NODE_EXTRA_CA_CERTS")
        }
        (Some(file), None) => format!("npm's cafile{} is {file}", place("cafile")),
        (None, Some(file)) if context.is_our_bundle(&file) => return None,
        (None, _) => "npm has no bundle".to_owned(),
    };
    let remedy = remedy(context, "cafile");
    Some(Finding::new("npm-distrusts", message, DISTRUSTS_REGAUTHD, remedy))
}

/// Source of a setting.
enum Source {
    File(PathBuf),
    Variable(String),
}

/// Source of npm's effective value of a key; `None` for its default.
fn source_of(key: &str) -> Option<Source> {
    let variable = format!("npm_config_{}", key.replace('-', "_"));
    let mut variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    if let Some(name) = variables.find(|name| name.eq_ignore_ascii_case(&variable)) {
        return Some(Source::Variable(name));
    }
    let listing = output_of("npm", &["config", "ls"])?;
    let mut file = None;
    for line in listing.lines() {
        // `; "project" config from /work/.npmrc`
        if let Some((_, from)) = line.split_once(" config from ") {
            file = Some(PathBuf::from(from.trim_matches('"')));
        } else if line.split_once(" = ").is_some_and(|(found, _)| found == key) {
            return file.filter(|file| file.is_absolute()).map(Source::File);
        }
    }
    None
}

fn place(key: &str) -> String {
    match source_of(key) {
        Some(Source::File(file)) => format!(" in {}", file.display()),
        Some(Source::Variable(variable)) => format!(" ({variable})"),
        None => String::new(),
    }
}

fn remedy(context: &DoctorContext, key: &str) -> String {
    match source_of(key) {
        // The user's file overrides npm's own.
        Some(Source::File(file)) if !file.starts_with("/usr") && !file.starts_with("/etc") => {
            context.remedy(Tool::Npm, key, Some(&file))
        }
        Some(Source::Variable(variable)) => format!("unset {variable}"),
        _ => context.remedy(Tool::Npm, key, None),
    }
}

fn setting(key: &str) -> Option<String> {
    output_of("npm", &["config", "get", key])
        .filter(|value| !value.is_empty() && value != "null" && value != "undefined")
}
