//! What the checks look at: the facts, the caller's environment, and what real clients say when they are asked.

use std::process::Command;

use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::Status;
use regauth_shared::{ErrorBody, Request};

use super::{Finding, Fix};
use crate::client::Client;
use crate::connect;
use crate::daemon_info::DaemonInfo;
use crate::environment;
use crate::program::on_path;
use crate::setup;

/// An installation, looked at once.
pub(crate) struct Patient {
    /// What the daemon is doing.
    pub(super) status: Status,
    /// What clients' settings are made of.
    pub(super) facts: DaemonInfo,
    /// Where the files are.
    pub(super) folders: Folders,
    /// Who asks the daemon.
    pub(super) client: Client,
}

impl Patient {
    /// Asks the daemon how it is.
    ///
    /// # Errors
    /// No daemon answers.
    pub(super) fn admit(folders: &Folders, client: &Client) -> Result<Self, ErrorBody> {
        Ok(Self {
            status: client.call(&Request::Status(Nothing {}))?.answer,
            facts: DaemonInfo::fetch(client, folders)?,
            folders: folders.clone(),
            client: connect::user_daemon(folders),
        })
    }

    /// Whether any registry is of this kind.
    pub(super) fn has(&self, kind: &str) -> bool {
        self.facts.registries.iter().any(|view| view.kind == kind)
    }

    /// A setting that decides where a client connects: ours, none, or another.
    pub(super) fn is_our_proxy(&self, value: &str) -> bool {
        let bare = |url: &str| url.trim_end_matches('/').trim_start_matches("http://").to_owned();
        bare(value) == bare(&self.facts.proxy)
    }

    /// Whether a file is the bundle, by whatever name.
    pub(super) fn is_our_bundle(&self, file: &str) -> bool {
        let real = |path: &str| std::fs::canonicalize(path).ok();
        file == self.facts.bundle || real(file).is_some_and(|file| Some(file) == real(&self.facts.bundle))
    }
}

/// A variable of the caller's that is not empty.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The first of these variables that is not empty, with its name.
pub(super) fn first_of(names: &[&'static str]) -> Option<(&'static str, String)> {
    names.iter().find_map(|name| Some((*name, variable(name)?)))
}

/// What a program says on stdout; none when it is not there or fails.
pub(super) fn ask(program: &str, arguments: &[&str]) -> Option<String> {
    on_path(program)?;
    let output = Command::new(program).args(arguments).output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(said)
}

/// What the caller's variables do to every client, and whether clients that are set up are still right.
pub(super) fn environment(patient: &Patient) -> Vec<Finding> {
    let mut findings = Vec::new();
    for name in ["NO_PROXY", "no_proxy"] {
        let value = variable(name).unwrap_or_default();
        let hosts = patient.facts.hosts();
        let entries = environment::bypassing(&value, &hosts);
        if !entries.is_empty() {
            findings.push(Finding::new(
                "no-proxy-bypasses",
                format!("{name} has {}, which is the host of a registry", entries.join(", ")),
                "NO_PROXY beats every proxy setting, CARGO_HTTP_PROXY included: clients go past regauthd, without a token",
                format!("export {name}='{}'", environment::without(&value, &hosts)),
            ));
        }
    }
    for outdated in setup::outdated(&patient.folders, &patient.facts) {
        findings.push(
            Finding::new(
                "set-up-outdated",
                format!("{outdated} was set up for another address, bundle or list of registries"),
                "it connects to where regauthd no longer listens, or does not know a registry",
                "regauthctl doctor --fix",
            )
            .fixed_by(Fix::SetUpAnew),
        );
    }
    findings
}
