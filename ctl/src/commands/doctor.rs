//! `regauthctl doctor`.

use std::path::PathBuf;

use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, exit_code};
use serde::Serialize;
use url::Url;

use crate::client::Client;
use crate::doctor::gateway::{self, Gateway};
use crate::doctor::{self, Finding, gateway_setup};
use crate::error;
use crate::output::{self, Report};
use crate::setup::gateway::GatewaySettings;
use crate::{setup, token};

/// Find out why a client fails, and the command that fixes it
///
/// Checks the daemon, its store and its bundle, verifies each registry, and asks the real cargo, git, npm and pip for
/// their effective settings and for overrides. Each finding has its reason and the command that fixes it. Exits with 0
/// if all is well, 1 if something is broken.
///
/// In a container, or wherever the environment has a grant and no daemon runs, checks what the client has: the way to the
/// proxy, the grant, the bundle and NO_PROXY.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Fix what needs no decision: the bundle, the permissions of regauth's files, the setup of clients
    #[arg(long)]
    fix: bool,

    /// Check this gateway from here instead, such as https://regauth.corp.example:9443; no daemon is needed. [default: the one
    /// of `setup --gateway`, with its root and token]
    #[arg(long, value_name = "URL", num_args = 0..=1, value_parser = gateway::parse_url, conflicts_with = "fix")]
    gateway: Option<Option<Url>>,

    #[command(flatten)]
    client: GatewayFlags,
}

#[derive(clap::Args)]
#[group(requires = "gateway")]
struct GatewayFlags {
    /// Root of the gateway's certificate [default: the system's roots]
    #[arg(long, value_name = "FILE")]
    gateway_ca: Option<PathBuf>,

    /// Variable with the token or grant to show
    #[arg(long, value_name = "VAR")]
    token_env: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl doctor
  regauthctl doctor --fix
  regauthctl doctor --gateway https://gateway:9443 --token-env JOB_TOKEN
  regauthctl doctor --gateway
  regauthctl doctor --json";

/// Result of the checks.
#[derive(Serialize)]
struct Diagnosis {
    well: bool,
    findings: Vec<Finding>,
    #[serde(rename = "mended")]
    fixed: Vec<String>,
    /// Fixes that failed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<ErrorBody>,
}

/// Runs all checks, and the fixes with `--fix`.
pub(crate) fn run(arguments: &Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let is_of_gateway = || GatewaySettings::read(folders).is_some() && client.ping().is_err();
    let gateway = match &arguments.gateway {
        Some(url) => Some(url.as_ref()),
        // This machine has no daemon, and is not meant to have one.
        None if !arguments.fix && is_of_gateway() => Some(None),
        None => None,
    };
    if let Some(url) = gateway {
        return report(
            examine_gateway(url, &arguments.client, folders)?,
            Vec::new(),
            Vec::new(),
        );
    }
    let mut findings = doctor::examine(folders, client);
    let (mut fixed, mut failed) = (Vec::new(), Vec::new());
    if arguments.fix {
        (fixed, failed) = doctor::fix(&findings, folders, client);
    }
    if !fixed.is_empty() {
        findings = doctor::examine(folders, client);
    }
    report(findings, fixed, failed)
}

/// Checks a gateway, and the setup of this machine if it is for that gateway.
fn examine_gateway(url: Option<&Url>, flags: &GatewayFlags, folders: &Folders) -> Result<Vec<Finding>, ErrorBody> {
    let settings = GatewaySettings::read(folders);
    let settings = settings.filter(|settings| url.is_none_or(|url| *url == settings.url));
    let Some(url) = url.or(settings.as_ref().map(|settings| &settings.url)) else {
        return Err(error::usage("this machine is not set up for a gateway")
            .hint("name one: regauthctl doctor --gateway https://gateway:9443"));
    };
    let mut findings = Vec::new();
    let token = match (&flags.token_env, &settings) {
        (Some(name), _) => Some(token::from_environment(name)?),
        (None, Some(settings)) => {
            findings = gateway_setup::check(settings, folders);
            settings.read_token().ok()
        }
        (None, None) => None,
    };
    let own_roots = settings.is_some().then(|| setup::gateway::roots_file(folders));
    findings.extend(gateway::examine(&Gateway {
        url,
        root: flags.gateway_ca.as_deref().or(own_roots.as_deref()),
        token: token.map(|token| token.to_string()),
    }));
    Ok(findings)
}

fn report(findings: Vec<Finding>, fixed: Vec<String>, failed: Vec<ErrorBody>) -> Result<Report, ErrorBody> {
    let well = !findings.iter().any(|finding| finding.broken);
    let diagnosis = Diagnosis {
        well,
        findings,
        fixed,
        failed,
    };
    let text = describe(&diagnosis);
    let code = if well { exit_code::DONE } else { exit_code::FAILED };
    Ok(Report::from_value(&diagnosis, text)?.with_exit_code(code))
}

fn describe(diagnosis: &Diagnosis) -> String {
    let mut text: String = diagnosis.fixed.iter().map(|line| format!("fixed: {line}\n")).collect();
    for error in &diagnosis.failed {
        let hint = error.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
        text += &format!("not fixed: {}{hint}\n", error.message);
    }
    for finding in &diagnosis.findings {
        let kind = if finding.broken { "broken" } else { "note" };
        let also: String = finding
            .also
            .iter()
            .map(|symptom| format!("  also: {}\n", symptom.message))
            .collect();
        text += &format!(
            "{kind}: {}\n{also}  why: {}\n  fix: {}\n",
            finding.message, finding.consequence, finding.remedy
        );
    }
    let broken = diagnosis.findings.iter().filter(|finding| finding.broken).count();
    let end = match broken {
        0 => "All is well.".to_owned(),
        _ => format!("{} broken.", output::count(broken as u64, "thing is", "things are")),
    };
    text + &end + "\n"
}
