//! Checks of cargo's effective settings: cargo's merged configuration, and the variables that override it.

mod merged_config;
mod provider;
mod token;

use std::path::Path;

use regauth_shared::response::RegistryView;
use serde_json::Value;

use self::merged_config::{MergedConfig, string_at};
use self::provider::check_providers;
use self::token::check_token;
use super::context::{DoctorContext, first_variable, output_of, removal, variable};
use super::finding::{BYPASSES_PROXY, DISTRUSTS_REGAUTHD, Finding};
use crate::setup::Tool;

/// Checks cargo, if it is installed and a cargo registry exists.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let is_checked = context.has_kind("cargo") && !context.is_unreadable(Tool::Cargo);
    let Some(version) = output_of("cargo", &["--version"]).filter(|_| is_checked) else {
        return Vec::new();
    };
    let config = MergedConfig::read();
    let mut findings: Vec<Finding> = check_version(&version).into_iter().collect();
    findings.extend(check_proxy(context, &config));
    findings.extend(check_bundle(context, &config));
    findings.extend(check_git_cli(context, &config));
    for (view, index) in context.info.cargo_indexes() {
        findings.extend(check_index(context, &config, view, index));
        findings.extend(check_second_name(&config, view, index));
        findings.extend(check_token(&config, view));
    }
    findings.extend(check_providers(context, &config));
    findings
}

fn check_version(version: &str) -> Option<Finding> {
    let number = version.split_whitespace().nth(1)?;
    let mut parts = number.split('.').filter_map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next()?, parts.next()?);
    let (lack, consequence) = match (major, minor) {
        (1, ..=67) => ("too old for sparse indexes", "only git indexes work before cargo 1.68"),
        (1, 68..=73) => (
            "too old for credential providers",
            "publishing, and registries whose index says auth-required, need cargo 1.74; reading others works",
        ),
        _ => return None,
    };
    let message = format!("cargo {number} is {lack}");
    Some(Finding::new(
        "cargo-too-old",
        message,
        consequence,
        "rustup update stable",
    ))
}

/// Looks for a proxy in cargo's own order: its variable, its files, git's global setting, libcurl's variables.
fn check_proxy(context: &DoctorContext, config: &MergedConfig) -> Option<Finding> {
    let from_variable = std::env::var("CARGO_HTTP_PROXY")
        .ok()
        .map(|value| ("CARGO_HTTP_PROXY", value));
    let from_files = || Some(("http.proxy", string_at(config, "/http/proxy")?));
    let from_git = || {
        let value = output_of("git", &["config", "--get", "http.proxy"])?;
        Some(("git's http.proxy", value))
    };
    let from_curl = || first_variable(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
    let Some((source, value)) = from_variable.or_else(from_files).or_else(from_git).or_else(from_curl) else {
        return Some(Finding::new(
            "cargo-no-proxy",
            "cargo uses no proxy",
            BYPASSES_PROXY,
            SETUP,
        ));
    };
    if context.is_our_proxy(&value) {
        return None;
    }
    let file = Some(source)
        .filter(|source| *source == "http.proxy")
        .and_then(|key| config.file_of(key));
    let place = file.map_or_else(String::new, |file| format!(" in {}", file.display()));
    let message = match value.as_str() {
        "" => format!("{source}{place} is empty, which turns off every proxy in cargo"),
        _ => format!("cargo uses another proxy, from {source}{place}"),
    };
    let remedy = match source {
        "CARGO_HTTP_PROXY" => "unset CARGO_HTTP_PROXY".to_owned(),
        _ => context.remedy(Tool::Cargo, "http.proxy", file),
    };
    Some(Finding::new("cargo-other-proxy", message, BYPASSES_PROXY, remedy))
}

fn check_bundle(context: &DoctorContext, config: &MergedConfig) -> Option<Finding> {
    let from_files = || Some(("http.cainfo", string_at(config, "/http/cainfo")?));
    let found = first_variable(&["CARGO_HTTP_CAINFO"])
        .or_else(from_files)
        .or_else(|| first_variable(&["SSL_CERT_FILE"]));
    let Some((source, file)) = found else {
        let message = "cargo has no bundle";
        return Some(Finding::new("cargo-distrusts", message, DISTRUSTS_REGAUTHD, SETUP));
    };
    if context.is_our_bundle(&file) {
        return None;
    }
    let origin = Some(source)
        .filter(|source| *source == "http.cainfo")
        .and_then(|key| config.file_of(key));
    let place = origin.map_or_else(String::new, |file| format!(" in {}", file.display()));
    let remedy = match source {
        "CARGO_HTTP_CAINFO" => "unset CARGO_HTTP_CAINFO".to_owned(),
        _ => context.remedy(Tool::Cargo, "http.cainfo", origin),
    };
    if !Path::new(&file).exists() {
        let message = format!("{source}{place} names {file}, which does not exist");
        let consequence = "cargo reaches no host at all (curl: error 77)";
        return Some(Finding::new("cargo-bundle-missing", message, consequence, remedy));
    }
    let message = format!("cargo reads its roots from {file}, set by {source}{place}");
    let consequence =
        "the file lacks regauth's authorities, so cargo does not trust regauthd's certificate for the registry";
    Some(Finding::new("cargo-other-bundle", message, consequence, remedy))
}

fn check_git_cli(context: &DoctorContext, config: &MergedConfig) -> Option<Finding> {
    let by_variable = variable("CARGO_NET_GIT_FETCH_WITH_CLI").is_some_and(|value| value == "true");
    let by_file = config.pointer("/net/git-fetch-with-cli").and_then(Value::as_bool) == Some(true);
    let finding = Finding::new(
        "cargo-git-without-cli",
        "net.git-fetch-with-cli is not set in cargo",
        "behind a proxy, cargo's built-in git uses no credentials and no credential helpers, for any host",
        context.remedy(
            Tool::Cargo,
            "net.git-fetch-with-cli",
            config.file_of("net.git-fetch-with-cli"),
        ),
    );
    (!by_variable && !by_file).then_some(finding)
}

fn check_index(context: &DoctorContext, config: &MergedConfig, view: &RegistryView, index: &str) -> Option<Finding> {
    let name = &view.name;
    let key = format!("registries.{name}.index");
    let by_variable = variable(&registry_variable(view, "INDEX"));
    let remedy = match &by_variable {
        Some(_) => format!("unset {}", registry_variable(view, "INDEX")),
        None => context.remedy(Tool::Cargo, &key, config.file_of(&key)),
    };
    let Some(configured) = by_variable.or_else(|| string_at(config, &format!("/registries/{name}/index"))) else {
        return check_missing_index(context, config, view, index);
    };
    let differs = !is_same_index(&configured, index);
    let message = format!("cargo's index of {name} is {configured}, and regauth's is {index}");
    let consequence = "cargo reads its own index, and regauth adds the credential only to the other";
    differs.then(|| Finding::new("cargo-other-index", message, consequence, remedy))
}

/// A project that names the registry is not parsed if no configuration has its index, under this or another name.
fn check_missing_index(
    context: &DoctorContext,
    config: &MergedConfig,
    view: &RegistryView,
    index: &str,
) -> Option<Finding> {
    let named = config.pointer("/registries").and_then(Value::as_object);
    let mut indexes = named
        .into_iter()
        .flatten()
        .filter_map(|(_, registry)| registry.get("index")?.as_str());
    let is_named = indexes.any(|configured| is_same_index(configured, index));
    let finding = || {
        let name = &view.name;
        let message = format!("cargo does not know the index of {name}");
        let consequence = "cargo reads no project that names the registry in its Cargo.toml";
        Finding::new("cargo-no-index", message, consequence, SETUP)
    };
    (!is_named && !context.is_set_up(Tool::Cargo)).then(finding)
}

fn is_same_index(one: &str, other: &str) -> bool {
    one.trim_end_matches('/') == other.trim_end_matches('/')
}

/// Looks for the index under a second name, which cargo refuses when it needs a token.
fn check_second_name(config: &MergedConfig, view: &RegistryView, index: &str) -> Option<Finding> {
    let registries = config.pointer("/registries")?.as_object()?;
    let (second, _) = registries.iter().find(|(name, registry)| {
        let configured = registry.get("index").and_then(Value::as_str);
        name.as_str() != view.name.as_str() && configured.is_some_and(|configured| is_same_index(configured, index))
    })?;
    if !registries.contains_key(view.name.as_str()) {
        return None;
    }
    let key = format!("registries.{second}.index");
    let file = config.file_of(&key).unwrap_or(Path::new("cargo's configuration"));
    let name = &view.name;
    Some(Finding::new(
        "cargo-index-twice",
        format!(
            "cargo has the index of {name} under a second name, {second}, in {}",
            file.display()
        ),
        "cargo fails when it needs a token: \"multiple registries are configured with the same index url\"",
        format!("{}, and write {name} in Cargo.toml", removal(&key, &file.display())),
    ))
}

/// Name of cargo's variable for a key of this registry.
fn registry_variable(view: &RegistryView, key: &str) -> String {
    let name = view.name.as_str().to_ascii_uppercase().replace('-', "_");
    format!("CARGO_REGISTRIES_{name}_{key}")
}

const SETUP: &str = "regauthctl setup cargo";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recognizes_a_cargo_that_is_too_old() {
        for (version, old) in [
            ("cargo 1.60.0 (x 2022-01-01)", true),
            ("cargo 1.73.0 (x)", true),
            ("cargo 1.74.0", false),
            ("cargo 1.95.0-nightly (f2d3ce0bd 2026-03-21)", false),
            ("cargo", false),
        ] {
            assert_eq!(check_version(version).is_some(), old, "{version}");
        }
    }
}
