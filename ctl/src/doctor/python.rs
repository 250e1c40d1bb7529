//! Checks of pip's effective settings, which pip reports, and of uv's, which are a file and variables.

use super::context::{DoctorContext, first_variable, missing_suffix, output_of, removal, variable};
use super::finding::{BYPASSES_PROXY, DISTRUSTS_REGAUTHD, Finding};
use crate::setup::{self, SetupTarget, Tool};

/// Checks pip and uv, if they are installed and a Python registry exists.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    if !context.has_kind("pypi") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if output_of_pip(&["--version"]).is_some() && !context.is_unreadable(Tool::Pip) {
        findings.extend(check_pip_proxy(context));
        findings.extend(check_pip_bundle(context));
        findings.extend(check_pip_commands(context));
        findings = unless_only(context, Tool::Uv, findings);
    }
    if output_of("uv", &["--version"]).is_some() && !context.is_unreadable(Tool::Uv) {
        let of_uv = [check_uv_proxy(context), check_uv_bundle(context)];
        findings.extend(unless_only(context, Tool::Pip, of_uv.into_iter().flatten().collect()));
    }
    findings
}

/// Makes findings notes if only the other of the two tools is set up: this one is merely installed.
fn unless_only(context: &DoctorContext, other: Tool, findings: Vec<Finding>) -> Vec<Finding> {
    let is_set_up = |tool: Tool| setup::is_set_up(tool.name(), &context.folders);
    let this = if other == Tool::Uv { Tool::Pip } else { Tool::Uv };
    if !is_set_up(other) || is_set_up(this) || is_set_up(Tool::Shell) {
        return findings;
    }
    findings.into_iter().map(Finding::into_note).collect()
}

/// pip's settings of single commands, such as `[install] proxy`, override the global ones.
fn check_pip_commands(context: &DoctorContext) -> Vec<Finding> {
    let is_ours = |key: &str, value: &str| match key {
        "proxy" => context.is_our_proxy(value),
        _ => context.is_our_bundle(value),
    };
    let mut findings = Vec::new();
    for PipSetting {
        section,
        key,
        value,
        file,
    } in pip_settings()
    {
        if section == "global" || !["proxy", "cert"].contains(&key.as_str()) || is_ours(&key, &value) {
            continue;
        }
        let (code, consequence) = match key.as_str() {
            "proxy" => ("pip-other-proxy", BYPASSES_PROXY),
            _ => ("pip-distrusts", DISTRUSTS_REGAUTHD),
        };
        let message = format!("pip {section} has another {key} than regauth's, in {file}");
        let remedy = removal(&format!("{section}.{key}"), &file);
        findings.push(Finding::new(code, message, consequence, remedy));
    }
    findings
}

/// Setting in one of pip's files.
struct PipSetting {
    section: String,
    key: String,
    value: String,
    file: String,
}

/// Reads pip's own report on its files, whose lines are `FILE, exists: True` and, deeper, `SECTION.KEY: VALUE`.
fn pip_settings() -> Vec<PipSetting> {
    let report = output_of_pip(&["config", "debug"]).unwrap_or_default();
    let (mut settings, mut file) = (Vec::new(), String::new());
    for line in report.lines().map(str::trim) {
        if let Some((path, _)) = line.split_once(", exists: ") {
            path.clone_into(&mut file);
        } else if let Some((name, value)) = line.split_once(": ")
            && let Some((section, key)) = name.rsplit_once('.')
            && file.starts_with('/')
        {
            settings.push(PipSetting {
                section: section.to_owned(),
                key: key.to_owned(),
                value: value.to_owned(),
                file: file.clone(),
            });
        }
    }
    settings
}

/// pip's own settings override the variables that all clients share.
fn check_pip_proxy(context: &DoctorContext) -> Option<Finding> {
    let from_file = || Some(("pip.conf", pip_setting("global.proxy")?));
    let found = first_variable(&["PIP_PROXY"])
        .or_else(from_file)
        .or_else(|| first_variable(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]));
    check_proxy(context, "pip", "pip-other-proxy", found)
}

/// The variables that all clients share override pip's own (<https://github.com/psf/requests/issues/3829>).
fn check_pip_bundle(context: &DoctorContext) -> Option<Finding> {
    let from_file = || Some(("pip.conf", pip_setting("global.cert")?));
    let found = first_variable(&["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT"]).or_else(from_file);
    if found.as_ref().is_some_and(|(_, file)| context.is_our_bundle(file)) {
        return None;
    }
    let remedy = match &found {
        Some((source, _)) if *source != "pip.conf" => format!("unset {source}"),
        _ => "regauthctl setup pip".to_owned(),
    };
    let message = found.map_or("pip has no bundle".to_owned(), |(source, file)| {
        format!(
            "pip reads its roots from {file}, set by {source}{}",
            missing_suffix(&file)
        )
    });
    Some(Finding::new("pip-distrusts", message, DISTRUSTS_REGAUTHD, remedy))
}

/// uv's file overrides the variables.
fn check_uv_proxy(context: &DoctorContext) -> Option<Finding> {
    let from_file = || Some(("https-proxy in uv.toml", uv_setting("https-proxy")?));
    let found = from_file().or_else(|| first_variable(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]));
    check_proxy(context, "uv", "uv-other-proxy", found)
}

fn check_uv_bundle(context: &DoctorContext) -> Option<Finding> {
    let file = variable("SSL_CERT_FILE");
    if file.as_ref().is_some_and(|file| context.is_our_bundle(file)) {
        return None;
    }
    let message = file.map_or("SSL_CERT_FILE is not set".to_owned(), |file| {
        format!("SSL_CERT_FILE is {file}{}, not the bundle", missing_suffix(&file))
    });
    let consequence =
        "uv reads its roots only from there, so it does not trust regauthd's certificate for the registry";
    Some(Finding::new(
        "uv-distrusts",
        message,
        consequence,
        "regauthctl setup shell, then open a new shell",
    ))
}

fn check_proxy(
    context: &DoctorContext,
    tool: &str,
    code: &'static str,
    found: Option<(&str, String)>,
) -> Option<Finding> {
    if found.as_ref().is_some_and(|(_, value)| context.is_our_proxy(value)) {
        return None;
    }
    let message = found.as_ref().map_or(format!("{tool} uses no proxy"), |(source, _)| {
        format!("{tool} uses another proxy, from {source}")
    });
    let remedy = match found {
        Some(("PIP_PROXY", _)) => "unset PIP_PROXY".to_owned(),
        _ => format!("regauthctl setup {tool}"),
    };
    Some(Finding::new(code, message, BYPASSES_PROXY, remedy))
}

fn pip_setting(key: &str) -> Option<String> {
    output_of_pip(&["config", "get", key]).filter(|value| !value.is_empty())
}

/// Runs `pip`, or `python3 -m pip`: Debian may have pip only as a module.
fn output_of_pip(arguments: &[&str]) -> Option<String> {
    output_of("pip", arguments).or_else(|| output_of("python3", &[&["-m", "pip"], arguments].concat()))
}

/// Reads uv's file, because uv has no command that reports its settings.
fn uv_setting(key: &str) -> Option<String> {
    let default_file = || SetupTarget::User.uv_file().ok();
    let file = variable("UV_CONFIG_FILE").map_or_else(default_file, |file| Some(file.into()))?;
    let document: toml_edit::DocumentMut = std::fs::read_to_string(file).ok()?.parse().ok()?;
    Some(document.get(key)?.as_str()?.to_owned())
}
