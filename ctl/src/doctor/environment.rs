//! Checks of the environment that all clients share, and of the tools that are set up.

use std::path::Path;

use super::context::{DoctorContext, variable};
use super::finding::Finding;
use crate::company::{self, CompanySetting};
use crate::environment::{bypassing_entries, without_bypassing_entries};
use crate::setup;

/// Checks `NO_PROXY`, and the setup of every tool.
pub(super) fn check(context: &DoctorContext) -> Vec<Finding> {
    let no_proxy = ["NO_PROXY", "no_proxy"];
    let bypasses = no_proxy.into_iter().filter_map(|name| check_no_proxy(context, name));
    bypasses
        .chain(outdated_setups(context))
        .chain(replaced_settings(context))
        .chain(company_environment(context))
        .chain(missing_ca_files())
        .collect()
}

/// A company's proxy and roots that setup replaced in a client, and that regauthd lacks.
fn replaced_settings(context: &DoctorContext) -> Vec<Finding> {
    let finding = |(tool, setting): (&str, CompanySetting)| {
        let carry_over = format!("regauthctl setup {tool} --carry-over");
        let missing = setting.missing(&context.info, Some(&carry_over))?;
        let finding = Finding::new(
            "company-setting-lost",
            format!("before `regauthctl setup {tool}`, {}", missing.problem),
            "clients leave through regauthd, which has neither the company's proxy nor its roots by itself",
            missing.remedy,
        );
        Some(if missing.is_broken {
            finding
        } else {
            finding.into_note()
        })
    };
    let replaced = setup::replaced(&context.folders, &context.info);
    replaced.into_iter().filter_map(finding).collect()
}

/// A company's proxy and roots in the environment that regauthd lacks.
fn company_environment(context: &DoctorContext) -> Vec<Finding> {
    let finding = |setting: CompanySetting| {
        let missing = setting.missing(&context.info, None)?;
        let finding = Finding::new(
            "company-setting-unknown",
            missing.problem,
            "`regauthctl env` and `setup` replace the variable, and clients then depend on regauthd's settings",
            missing.remedy,
        );
        Some(finding.into_note())
    };
    let found = company::of_environment(|name| std::env::var(name).ok());
    found.into_iter().filter_map(finding).collect()
}

/// Variables with a CA file that does not exist. The checks of cargo, git and pip judge those of their own.
fn missing_ca_files() -> Vec<Finding> {
    let finding = |name: &str| {
        let file = variable(name).filter(|file| !Path::new(file).exists())?;
        let finding = Finding::new(
            "ca-variable-missing",
            format!("{name} names {file}, which does not exist"),
            "curl, and other programs that read the variable, reach no host over HTTPS (curl: error 77)",
            format!("unset {name}"),
        );
        Some(finding.into_note())
    };
    ["SSL_CERT_FILE", "CURL_CA_BUNDLE"]
        .into_iter()
        .filter_map(finding)
        .collect()
}

fn check_no_proxy(context: &DoctorContext, name: &str) -> Option<Finding> {
    bypass(name, &variable(name)?, &context.info.hosts())
}

/// Finding for a variable such as `NO_PROXY` that names the host of a registry.
pub(super) fn bypass(name: &str, value: &str, hosts: &[String]) -> Option<Finding> {
    let entries = bypassing_entries(value, hosts);
    let finding = || {
        Finding::new(
            "no-proxy-bypasses",
            format!(
                "{name} contains {}, which is the host of a registry",
                entries.join(", ")
            ),
            "NO_PROXY overrides every proxy setting, even CARGO_HTTP_PROXY: requests bypass regauthd without a token",
            format!("export {name}='{}'", without_bypassing_entries(value, hosts)),
        )
    };
    (!entries.is_empty()).then(finding)
}

fn outdated_setups(context: &DoctorContext) -> Vec<Finding> {
    let finding = |tool: &str| {
        Finding::new(
            "set-up-outdated",
            format!("{tool} was set up for another address, bundle or list of registries"),
            "it connects to an address that regauthd no longer listens on, or lacks the settings of a registry",
            format!("regauthctl setup {tool}"),
        )
    };
    setup::outdated(&context.folders, &context.info)
        .into_iter()
        .map(finding)
        .collect()
}
