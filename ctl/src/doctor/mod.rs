//! Finds out why a client does not use the proxy, or why the proxy does not serve a client.
//!
//! A check is a function from [`DoctorContext`] to findings, and changes nothing. The checks ask the real clients for
//! their effective settings and what overrides them. A finding that needs no decision has an [`AutomaticFix`], which
//! `regauthctl doctor --fix` applies.

mod context;
mod finding;

mod bearer;
mod daemon;
mod environment;
pub(crate) mod gateway;
pub(crate) mod gateway_setup;
mod index;
mod offline;
mod registries;

mod syntax;

mod cargo;
mod git;
mod npm;
mod python;

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

use crate::client::Client;
use crate::daemon_info::DaemonInfo;
use crate::setup::{SetupPlan, SetupTarget, Tool};
use context::DoctorContext;
use finding::AutomaticFix;
pub(crate) use finding::Finding;

/// Runs all checks.
pub(crate) fn examine(folders: &Folders, client: &Client) -> Vec<Finding> {
    let context = match DoctorContext::new(folders, client) {
        Ok(context) => context,
        // In a container, no daemon is expected.
        Err(error) => return bearer::check().unwrap_or_else(|| offline::check(folders, &error)),
    };
    let checks = [
        daemon::check,
        registries::check,
        index::check,
        environment::check,
        syntax::check,
        cargo::check,
        git::check,
        npm::check,
        python::check,
    ];
    finding::join(checks.iter().flat_map(|check| check(&context)).collect())
}

/// Applies the automatic fixes of the findings. Returns one line for each change, and the errors of fixes that failed.
pub(crate) fn fix(findings: &[Finding], folders: &Folders, client: &Client) -> (Vec<String>, Vec<ErrorBody>) {
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    let mut fixes: Vec<AutomaticFix> = findings.iter().filter_map(|finding| finding.fix).collect();
    fixes.dedup();
    for fix in fixes {
        let fixed = match fix {
            AutomaticFix::ReloadDaemon => daemon::reload(client),
            AutomaticFix::RestrictFiles => daemon::restrict_files(folders),
            AutomaticFix::SetUp(tool) => set_up(tool, folders, client),
        };
        match fixed {
            Ok(line) => done.push(line),
            Err(error) => failed.push(error),
        }
    }
    done.retain(|line| !line.is_empty());
    (done, failed)
}

fn set_up(tool: Tool, folders: &Folders, client: &Client) -> Result<String, ErrorBody> {
    let info = DaemonInfo::fetch(client, folders)?;
    let outcome = SetupPlan::set_up(tool, &SetupTarget::User, &info, folders)?.carry_out(folders)?;
    let files: Vec<_> = outcome.files.iter().map(|changed| changed.file.as_str()).collect();
    Ok(match files.as_slice() {
        [] => String::new(),
        files => format!("set up {}: {}", tool.name(), files.join(", ")),
    })
}
