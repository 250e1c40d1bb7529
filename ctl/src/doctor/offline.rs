//! Checks without a daemon: why none runs, and whether one could start.

use std::process::Command;

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

use super::daemon::permissions;
use super::finding::Finding;
use crate::program;
use crate::service::{Health, Installation};

/// Finds out why no daemon answers.
pub(super) fn check(folders: &Folders, error: &ErrorBody) -> Vec<Finding> {
    let mut findings = permissions(folders);
    if findings.is_empty() {
        findings.extend(start_error(folders).map(|why| cannot_start(&why, error)));
    }
    if findings.is_empty() {
        findings.push(unreachable(error));
    }
    findings
}

fn unreachable(error: &ErrorBody) -> Finding {
    Finding::new(
        "daemon-unreachable",
        error.message.clone(),
        NO_DAEMON,
        error.hint.clone().unwrap_or_else(|| "regauthd".to_owned()),
    )
}

fn cannot_start(why: &str, error: &ErrorBody) -> Finding {
    Finding::new(
        "daemon-cannot-start",
        format!("no regauthd answers, and it would not start: {why}"),
        NO_DAEMON,
        format!(
            "correct that; then {}",
            error.hint.as_deref().unwrap_or("start it: regauthd")
        ),
    )
}

/// The error of a start; `None` if the daemon can start, or a service manager keeps its sockets and reports itself.
fn start_error(folders: &Folders) -> Option<String> {
    let is_service = || {
        Installation::User
            .state()
            .is_ok_and(|state| state.health != Health::Absent)
    };
    if folders.home.is_none() && is_service() {
        return None;
    }
    let mut check = Command::new(program::regauthd()?);
    check.args(["--check", "--log", "error"]);
    if let Some(home) = &folders.home {
        check.arg("--home").arg(home);
    }
    let output = check.output().ok()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    let why = stderr.trim().strip_prefix("error: ")?;
    (!output.status.success()).then(|| why.to_owned())
}

const NO_DAEMON: &str = "without a daemon, no tool that is set up reaches a registry";
