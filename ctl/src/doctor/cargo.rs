//! Cargo's effective settings: what the real cargo reads from its files, and the variables that beat them.

use std::path::Path;

use regauth_shared::response::RegistryView;
use serde_json::Value;

use super::patient::{ask, first_of, variable};
use super::{Finding, Patient};
use crate::program::on_path;

/// All about cargo, where a registry is cargo's and cargo is there.
pub(super) fn check(patient: &Patient) -> Vec<Finding> {
    let Some(version) = ask("cargo", &["--version"]).filter(|_| patient.has("cargo")) else {
        return Vec::new();
    };
    let config = config().unwrap_or(Value::Null);
    let mut findings: Vec<Finding> = too_old(&version).into_iter().collect();
    findings.extend(proxy(patient, &config));
    findings.extend(roots(patient, &config));
    findings.extend(git(&config));
    for (view, index) in patient.facts.cargo_indexes() {
        findings.extend(registry(patient, &config, view, index));
    }
    findings
}

/// The merged configuration. The command is unstable, and has been the same for years; without it files are not judged.
fn config() -> Option<Value> {
    let mut cargo = std::process::Command::new(on_path("cargo")?);
    cargo.env("RUSTC_BOOTSTRAP", "1");
    let output = cargo
        .args(["-Zunstable-options", "config", "get", "--format", "json"])
        .output()
        .ok()?;
    serde_json::from_slice(&output.stdout).ok()
}

fn too_old(version: &str) -> Option<Finding> {
    let number = version.split_whitespace().nth(1)?;
    let mut parts = number.split('.').filter_map(|part| part.parse::<u32>().ok());
    let (major, minor) = (parts.next()?, parts.next()?);
    let (what, why) = match (major, minor) {
        (1, ..=67) => ("too old for sparse indexes", "only git indexes work before cargo 1.68"),
        (1, 68..=73) => (
            "too old for credential providers",
            "publishing and registries that say auth-required need cargo 1.74; reading others works",
        ),
        _ => return None,
    };
    Some(Finding::new(
        "cargo-too-old",
        format!("cargo {number} is {what}"),
        why,
        "rustup update stable",
    ))
}

/// In cargo's own order: its variable, its files, git's global setting, then libcurl's variables.
fn proxy(patient: &Patient, config: &Value) -> Option<Finding> {
    let from_variable = std::env::var("CARGO_HTTP_PROXY")
        .ok()
        .map(|value| ("CARGO_HTTP_PROXY", value));
    let from_files = || Some(("http.proxy in its configuration", text(config, "/http/proxy")?));
    let from_git = || Some(("git's http.proxy", ask("git", &["config", "--get", "http.proxy"])?));
    let from_curl = || first_of(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]);
    let why = "requests to the registry do not pass regauthd, so they carry no token";
    let Some((origin, value)) = from_variable.or_else(from_files).or_else(from_git).or_else(from_curl) else {
        let mend = "regauthctl setup cargo";
        return Some(Finding::new("cargo-no-proxy", "cargo uses no proxy", why, mend));
    };
    if patient.is_our_proxy(&value) {
        return None;
    }
    let what = match value.as_str() {
        "" => format!("{origin} is empty, which turns every proxy off in cargo"),
        _ => format!("cargo's proxy is another one, by {origin}"),
    };
    let mend = match origin {
        "CARGO_HTTP_PROXY" => "unset CARGO_HTTP_PROXY",
        _ => "regauthctl setup cargo",
    };
    Some(Finding::new("cargo-other-proxy", what, why, mend))
}

fn roots(patient: &Patient, config: &Value) -> Option<Finding> {
    let from_files = || Some(("http.cainfo in its configuration", text(config, "/http/cainfo")?));
    let found = first_of(&["CARGO_HTTP_CAINFO"])
        .or_else(from_files)
        .or_else(|| first_of(&["SSL_CERT_FILE"]));
    let Some((origin, file)) = found else {
        return Some(Finding::new(
            "cargo-distrusts",
            "cargo is told of no bundle",
            "it does not trust regauthd when that speaks for the registry",
            "regauthctl setup cargo",
        ));
    };
    if patient.is_our_bundle(&file) {
        return None;
    }
    let mend = match origin {
        "CARGO_HTTP_CAINFO" => "unset CARGO_HTTP_CAINFO",
        _ => "regauthctl setup cargo",
    };
    if !Path::new(&file).exists() {
        let what = format!("{origin} names {file}, which does not exist");
        return Some(Finding::new(
            "cargo-bundle-missing",
            what,
            "cargo reaches no host at all (curl: error 77)",
            mend,
        ));
    }
    let what = format!("cargo's roots come from {file}, by {origin}");
    let why = "that file lacks regauth's authorities: cargo does not trust regauthd when that speaks for the registry";
    Some(Finding::new("cargo-other-bundle", what, why, mend))
}

fn git(config: &Value) -> Option<Finding> {
    let by_variable = variable("CARGO_NET_GIT_FETCH_WITH_CLI").is_some_and(|value| value == "true");
    let by_file = config.pointer("/net/git-fetch-with-cli").and_then(Value::as_bool) == Some(true);
    let finding = Finding::new(
        "cargo-git-without-cli",
        "net.git-fetch-with-cli is not set in cargo",
        "behind a proxy cargo's own git knows no credentials and no helpers, for any host",
        "regauthctl setup cargo",
    );
    (!by_variable && !by_file).then_some(finding)
}

fn registry(patient: &Patient, config: &Value, view: &RegistryView, index: &str) -> Vec<Finding> {
    let (name, upper) = (&view.name, view.name.as_str().to_ascii_uppercase().replace('-', "_"));
    let mut findings = Vec::new();
    let variable_index = format!("CARGO_REGISTRIES_{upper}_INDEX");
    let theirs = variable(&variable_index).or_else(|| text(config, &format!("/registries/{name}/index")));
    if let Some(theirs) = theirs.filter(|theirs| theirs.trim_end_matches('/') != index.trim_end_matches('/')) {
        findings.push(Finding::new(
            "cargo-other-index",
            format!("cargo's index of {name} is {theirs}, and regauth's is {index}"),
            "the credential is attached to regauth's, and cargo asks the other",
            "regauthctl setup cargo",
        ));
    }
    findings.extend(provider(patient, config, name.as_str(), &upper));
    if let Some(place) = own_token(name.as_str(), &upper) {
        findings.push(
            Finding::new(
                "cargo-holds-token",
                format!("cargo has a token for {name} of its own, in {place}"),
                "it is not needed any more, and every build script can read it",
                "regauthctl import takes it out, where it lies in a file; have it replaced at the registry",
            )
            .only_worth_knowing(),
        );
    }
    findings
}

/// A registry's own provider beats the list for all of them, and in the list the last comes first.
fn provider(patient: &Patient, config: &Value, name: &str, upper: &str) -> Option<Finding> {
    let why = "cargo stops before it asks the network when it publishes, yanks, or has read `auth-required` in the index \
               once: it remembers that";
    let own = variable(&format!("CARGO_REGISTRIES_{upper}_CREDENTIAL_PROVIDER"))
        .or_else(|| words(config.pointer(&format!("/registries/{name}/credential-provider"))?));
    let all = variable("CARGO_REGISTRY_GLOBAL_CREDENTIAL_PROVIDERS")
        .or_else(|| words(config.pointer("/registry/global-credential-providers")?));
    let asked = own.or(all).unwrap_or_default();
    let alias = text_list(config.pointer("/credential-alias/regauth"));
    let is_ours = |word: &str| {
        Path::new(word)
            .file_name()
            .is_some_and(|name| name == crate::program::PROVIDER)
    };
    let program = asked
        .split_whitespace()
        .chain(alias.iter().map(String::as_str))
        .find(|word| is_ours(word));
    let mend = "regauthctl setup cargo";
    let Some(program) = program else {
        let what = format!("cargo does not ask cargo-credential-regauth about {name}");
        let cached = if is_remembered(patient, name) {
            "; it remembers that the index says auth-required"
        } else {
            ""
        };
        return Some(Finding::new("cargo-no-provider", what + cached, why, mend));
    };
    let there = Path::new(program).is_absolute() && Path::new(program).exists() || on_path(program).is_some();
    let what = format!("cargo is to ask {program}, which is not there");
    (!there).then(|| Finding::new("cargo-provider-missing", what, why, mend))
}

/// Whether cargo's cache of the index says `auth-required`: then it fails with no request at all.
fn is_remembered(patient: &Patient, name: &str) -> bool {
    let home = variable("CARGO_HOME").or_else(|| Some(format!("{}/.cargo", variable("HOME")?)));
    let view = patient.facts.registries.iter().find(|view| view.name.as_str() == name);
    let host = view.and_then(|view| {
        url::Url::parse(view.scopes.first()?)
            .ok()?
            .host_str()
            .map(str::to_owned)
    });
    let (Some(home), Some(host)) = (home, host) else {
        return false;
    };
    let Ok(folders) = std::fs::read_dir(Path::new(&home).join("registry/index")) else {
        return false;
    };
    let of_host = folders
        .filter_map(Result::ok)
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(&host));
    let mut configs = of_host.filter_map(|entry| std::fs::read_to_string(entry.path().join("config.json")).ok());
    configs.any(|config| config.contains("auth-required"))
}

fn own_token(name: &str, upper: &str) -> Option<String> {
    let variable_token = format!("CARGO_REGISTRIES_{upper}_TOKEN");
    if variable(&variable_token).is_some() {
        return Some(format!("the variable {variable_token}"));
    }
    let home = variable("CARGO_HOME").or_else(|| Some(format!("{}/.cargo", variable("HOME")?)))?;
    // The name of old, which cargo still reads.
    let mut files = ["credentials.toml", "credentials"]
        .iter()
        .map(|file| Path::new(&home).join(file));
    let file = files.find(|file| holds_token(file, name))?;
    Some(file.display().to_string())
}

fn holds_token(file: &Path, name: &str) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let document: toml_edit::DocumentMut = text.parse().unwrap_or_default();
    let registry = document.get("registries").and_then(|registries| registries.get(name));
    registry.is_some_and(|registry| registry.get("token").is_some())
}

fn text(config: &Value, pointer: &str) -> Option<String> {
    config.pointer(pointer)?.as_str().map(str::to_owned)
}

fn words(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(_) => Some(text_list(Some(value)).join(" ")),
        _ => None,
    }
}

fn text_list(value: Option<&Value>) -> Vec<String> {
    let list = value.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_cargo_is_told_from_a_new_one() {
        for (version, old) in [
            ("cargo 1.60.0 (x 2022-01-01)", true),
            ("cargo 1.73.0 (x)", true),
            ("cargo 1.74.0", false),
            ("cargo 1.95.0-nightly (f2d3ce0bd 2026-03-21)", false),
            ("cargo", false),
        ] {
            assert_eq!(too_old(version).is_some(), old, "{version}");
        }
    }
}
