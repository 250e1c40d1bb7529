//! Finds out why a client does not use the proxy, or why the proxy does not serve a client.
//!
//! A check is a function from [`DoctorContext`] to findings, and changes nothing. The checks ask the real clients for
//! their effective settings and what overrides them. A finding that needs no decision has an [`AutomaticFix`], which
//! `regauthctl doctor --fix` applies.

mod context;
mod finding;

mod daemon;
mod environment;
pub(crate) mod gateway;
mod index;
mod registries;

mod cargo;
mod git;
mod npm;
mod python;

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

use crate::client::Client;
use crate::setup;
use context::DoctorContext;
use finding::AutomaticFix;
pub(crate) use finding::Finding;

/// Runs all checks.
pub(crate) fn examine(folders: &Folders, client: &Client) -> Vec<Finding> {
    let context = match DoctorContext::new(folders, client) {
        Ok(context) => context,
        Err(error) => return vec![daemon::unreachable(&error)],
    };
    let checks = [
        daemon::check,
        registries::check,
        index::check,
        environment::check,
        cargo::check,
        git::check,
        npm::check,
        python::check,
    ];
    checks.iter().flat_map(|check| check(&context)).collect()
}

/// Applies the automatic fixes of the findings, and returns one line for each change.
///
/// # Errors
/// A fix failed.
pub(crate) fn fix(findings: &[Finding], folders: &Folders, client: &Client) -> Result<Vec<String>, ErrorBody> {
    let mut done = Vec::new();
    let mut fixes: Vec<AutomaticFix> = findings.iter().filter_map(|finding| finding.fix).collect();
    fixes.dedup();
    for fix in fixes {
        done.push(match fix {
            AutomaticFix::ReloadDaemon => daemon::reload(client)?,
            AutomaticFix::RestrictConfiguration => daemon::restrict_configuration(folders)?,
            AutomaticFix::RefreshSetup => setup::refresh(folders, client).trim_end().to_owned(),
        });
    }
    done.retain(|line| !line.is_empty());
    Ok(done)
}
