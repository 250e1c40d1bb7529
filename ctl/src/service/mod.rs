//! regauthd as a service of the platform: systemd units or a launchd property list. The service manager keeps the
//! listening sockets, so a connection starts the daemon and a restart refuses none.
//!
//! [`Installation`] is the entry point. `systemd` and `launchd` turn it into a [`ServicePlan`] of steps, which
//! `command` and [`crate::text_file`] carry out. Units that a package has installed are used and never changed. `guarded`
//! installs a daemon with a user of its own and moves the users' registries into it.

mod command;
mod guarded;
mod journal;
mod launchd;
mod log;
mod plan;
mod state;
mod systemd;
mod systemd_units;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use regauth_shared::ErrorBody;

use crate::error;
use crate::program;
pub(crate) use guarded::{GuardedOutcome, Guarding, Proposal, is_installed as is_guarded_installed};
pub(crate) use log::{LogDestination, of_process as log_of_process};
pub(crate) use plan::{ServiceOutcome, ServicePlan, ServiceStep};
pub(crate) use state::{Health, Installation, ServiceState, Unit};

impl Installation {
    /// Plans the steps that install the service. `daemon_answers` says whether a regauthd answers on the control
    /// socket.
    ///
    /// # Errors
    /// No regauthd or no service manager was found, the user is not root, a file of that name was written by somebody
    /// else, or another program listens on the port.
    pub(crate) fn plan_install(
        self,
        listen: Option<SocketAddr>,
        daemon_answers: impl FnOnce() -> bool,
    ) -> Result<ServicePlan, ErrorBody> {
        self.require_root("install")?;
        self.check_listen(listen)?;
        let state = self.state()?;
        if matches!(state.health, Health::Stopped | Health::Absent) {
            self.refuse_running_daemon(daemon_answers)?;
        }
        match listen {
            Some(address) if !state.listen_addresses.contains(&address) => self.refuse_occupied_port(&[address])?,
            None if matches!(state.health, Health::Stopped | Health::Absent) => {
                self.refuse_occupied_port(&state.listen_addresses)?;
            }
            _ => {}
        }
        if cfg!(target_os = "macos") {
            launchd::plan_install(self, &find_regauthd()?)
        } else {
            systemd::plan_install(self, &find_regauthd()?, listen)
        }
    }

    /// Refuses an address that the daemon would not start with, or that this service manager's plan does not set.
    fn check_listen(self, listen: Option<SocketAddr>) -> Result<(), ErrorBody> {
        let Some(address) = listen else { return Ok(()) };
        if cfg!(target_os = "macos") {
            return Err(error::usage("--listen is for systemd")
                .hint("on macOS, change SockServiceName in ~/Library/LaunchAgents/regauthd.plist"));
        }
        if address.port() == 0 {
            return Err(error::usage(
                "--listen: a service needs a port of its own, so 0 is none",
            ));
        }
        if self == Self::User && !address.ip().is_loopback() {
            return Err(
                error::refused(format!("--listen: other machines could connect to {address}"))
                    .hint("give an address of this machine alone, such as 127.0.0.1:9002"),
            );
        }
        Ok(())
    }

    /// Plans the steps that uninstall the service.
    ///
    /// # Errors
    /// No service manager was found, or the user is not root.
    pub(crate) fn plan_uninstall(self) -> Result<ServicePlan, ErrorBody> {
        self.require_root("uninstall")?;
        if cfg!(target_os = "macos") {
            launchd::plan_uninstall(self)
        } else {
            systemd::plan_uninstall(self)
        }
    }

    /// Asks the service manager for the state of the service.
    ///
    /// # Errors
    /// No service manager was found.
    pub(crate) fn state(self) -> Result<ServiceState, ErrorBody> {
        if cfg!(target_os = "macos") {
            launchd::state(self)
        } else {
            systemd::state(self)
        }
    }

    /// Explains why nothing answers on a socket of the service manager; `None` if the service is not the cause.
    pub(crate) fn diagnose(self) -> Option<ErrorBody> {
        self.state().ok()?.diagnose()
    }

    /// Refuses to install beside a running daemon: the service manager would take over its control socket, and then
    /// fail to bind the proxy's port.
    fn refuse_running_daemon(self, daemon_answers: impl FnOnce() -> bool) -> Result<(), ErrorBody> {
        if !daemon_answers() {
            return Ok(());
        }
        let hint = format!("stop it and try again: regauthctl{} stop --wait", self.option());
        Err(error::refused("a regauthd that is not a service is already running").hint(hint))
    }

    fn refuse_occupied_port(self, addresses: &[SocketAddr]) -> Result<(), ErrorBody> {
        let in_use =
            |address: &&SocketAddr| TcpListener::bind(address).is_err_and(|error| error.kind() == ErrorKind::AddrInUse);
        addresses.iter().find(in_use).map_or(Ok(()), |address| {
            let message = format!("another program has the port that regauthd listens on, {address}");
            Err(error::refused(message).hint(self.free_port_hint(*address)))
        })
    }

    fn require_root(self, verb: &str) -> Result<(), ErrorBody> {
        if self == Self::User || rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(error::refused("only root can change the system's services")
            .hint(format!("sudo regauthctl service {verb} --system")))
    }
}

/// Finds regauthd beside this program, or in `PATH`.
fn find_regauthd() -> Result<PathBuf, ErrorBody> {
    let program = program::regauthd().ok_or_else(|| {
        error::failed("there is no regauthd beside regauthctl or in PATH")
            .hint("install it: cargo install --locked --path daemon")
    })?;
    // Units and property lists split or escape other characters, each in its own way.
    let plain = |c: char| c.is_alphanumeric() || "/._-+".contains(c);
    match program.to_str() {
        Some(text) if text.chars().all(plain) => Ok(program),
        _ => Err(error::failed(format!(
            "a service cannot start {}: its path has blanks or special characters",
            program.display()
        ))
        .hint("install regauthd in another folder, such as /usr/local/bin")),
    }
}
