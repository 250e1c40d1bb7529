//! regauthd as a service of the platform: units of systemd, or launchd's property lists. Both keep the listeners, so that
//! the daemon starts at the first connection and a restart refuses none.
//!
//! A `plan` is steps: files that are written or removed, commands that are run. `systemd` and `launchd` say which. What a
//! package has put in place already is used and left alone.

mod launchd;
mod plan;
mod systemd;

use std::path::PathBuf;

use regauth_shared::ErrorBody;
use serde::Serialize;

use crate::error;
use crate::program::{beside_us, on_path};
pub(crate) use plan::{Outcome, Plan, Step};

/// For whom the daemon runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scope {
    /// The user who asks.
    User,
    /// The machine.
    System,
}

/// What the platform knows of the service.
#[derive(Debug, Serialize)]
pub(crate) struct State {
    /// `systemd` or `launchd`.
    pub(crate) manager: &'static str,
    /// For whom.
    pub(crate) scope: Scope,
    /// Whether connections reach the daemon now or start it.
    pub(crate) installed: bool,
    /// Its parts.
    pub(crate) units: Vec<Unit>,
}

/// One unit.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Unit {
    /// Its name.
    pub(crate) name: String,
    /// Where it is written; absent when nowhere.
    pub(crate) file: Option<String>,
    /// Whether it comes by itself, in the platform's word.
    pub(crate) enabled: String,
    /// What it is doing, in the platform's word.
    pub(crate) active: String,
}

impl Scope {
    /// What installs the service.
    ///
    /// # Errors
    /// No regauthd, no service manager, not root, a file of somebody else's; each with what to do.
    pub(crate) fn to_install(self) -> Result<Plan, ErrorBody> {
        self.check_rights("install")?;
        if cfg!(target_os = "macos") {
            launchd::to_install(self, &regauthd()?)
        } else {
            systemd::to_install(self, &regauthd()?)
        }
    }

    /// What undoes that.
    ///
    /// # Errors
    /// As above.
    pub(crate) fn to_uninstall(self) -> Result<Plan, ErrorBody> {
        self.check_rights("uninstall")?;
        if cfg!(target_os = "macos") {
            launchd::to_uninstall(self)
        } else {
            systemd::to_uninstall(self)
        }
    }

    /// How the service is doing.
    ///
    /// # Errors
    /// No service manager.
    pub(crate) fn state(self) -> Result<State, ErrorBody> {
        if cfg!(target_os = "macos") {
            launchd::state(self)
        } else {
            systemd::state(self)
        }
    }

    fn check_rights(self, verb: &str) -> Result<(), ErrorBody> {
        if self == Self::User || rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(error::refused("only root can change the system's services")
            .hint(format!("sudo regauthctl service {verb} --system")))
    }
}

/// The daemon beside us, or the one that a shell would start.
fn regauthd() -> Result<PathBuf, ErrorBody> {
    let beside = beside_us("regauthd").filter(|program| program.is_file());
    let program = beside.or_else(|| on_path("regauthd")).ok_or_else(|| {
        error::failed("there is no regauthd beside regauthctl or in PATH")
            .hint("install it: cargo install --locked --path daemon")
    })?;
    // A unit has no room for doubt about where a word ends, and both formats have signs of their own.
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    match program.to_str() {
        Some(text) if text.chars().all(plain) => Ok(program),
        _ => Err(error::failed(format!(
            "a service cannot start {}: its path has blanks or special characters",
            program.display()
        ))
        .hint("install regauthd elsewhere, such as in /usr/local/bin")),
    }
}

/// What shows that a file is ours to replace and to remove.
const MARK: &str = "`regauthctl service install`";
