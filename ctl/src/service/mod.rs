//! regauthd as a service of the platform: units of systemd, or launchd's property lists. Both keep the listeners, so that
//! the daemon starts at the first connection and a restart refuses none.
//!
//! A `plan` is steps: files that are written or removed, commands that are run. `systemd` and `launchd` say which. What a
//! package has put in place already is used and left alone.

mod journal;
mod launchd;
mod plan;
mod systemd;

use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

use regauth_shared::ErrorBody;
use serde::Serialize;

use crate::client::Client;
use crate::error;
use crate::program;
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
    /// Whether there is anything of it.
    pub(crate) installed: bool,
    /// How it is doing.
    pub(crate) health: Health,
    /// What the daemon said when it failed; absent when it has not, or the log is closed to us.
    pub(crate) last_words: Option<String>,
    /// Its parts.
    pub(crate) units: Vec<Unit>,
    /// Where it listens, or would.
    #[serde(skip)]
    listens: Vec<SocketAddr>,
}

/// How a service is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Health {
    /// Connections reach the daemon, or start it.
    Serving,
    /// Connections wait: the daemon is started again and again, and ends before it serves.
    Failing,
    /// It is installed, and nobody listens.
    Stopped,
    /// It is not installed.
    Absent,
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
    /// No regauthd, no service manager, not root, a file of somebody else's, somebody who listens already; each with what
    /// to do.
    pub(crate) fn to_install(self, client: &Client) -> Result<Plan, ErrorBody> {
        self.check_rights("install")?;
        let state = self.state()?;
        if matches!(state.health, Health::Stopped | Health::Absent) {
            self.check_that_nobody_listens(client, &state.listens)?;
        }
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

    /// Why nobody answers on a socket that a service manager keeps, where that is the manager's to say.
    pub(crate) fn ailment(self) -> Option<ErrorBody> {
        self.state().ok()?.ailment()
    }

    /// For a daemon that ends as soon as it is started.
    pub(crate) fn how_to_mend(self) -> String {
        format!(
            "its log has it all: {}; once that is mended, it starts by itself",
            self.log()
        )
    }

    /// Where the daemon's log is.
    pub(crate) fn log(self) -> &'static str {
        match self {
            _ if cfg!(target_os = "macos") => "regauthd.log, in ~/Library/Logs or the machine's folder",
            Self::User => "journalctl --user --unit regauthd",
            Self::System => "sudo journalctl --unit regauthd",
        }
    }

    /// What `regauthctl` is told beside a verb to mean this scope.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::User => "",
            Self::System => " --system",
        }
    }

    /// A service manager would take the control socket from a daemon that runs, and fail half-way for want of the port.
    fn check_that_nobody_listens(self, client: &Client, listens: &[SocketAddr]) -> Result<(), ErrorBody> {
        if client.ping().is_ok() {
            let stop = format!("end it, and do this again: regauthctl{} stop --wait", self.option());
            return Err(error::refused("a regauthd that is no service is running here").hint(stop));
        }
        let taken = listens
            .iter()
            .find(|place| TcpListener::bind(place).is_err_and(|error| error.kind() == ErrorKind::AddrInUse));
        taken.map_or(Ok(()), |place| {
            let message = format!("another program has the port where regauthd is to listen, {place}");
            Err(error::refused(message).hint(self.how_to_free(*place)))
        })
    }

    fn how_to_free(self, place: SocketAddr) -> String {
        let port = place.port();
        let who = if cfg!(target_os = "macos") {
            format!("sudo lsof -nP -iTCP:{port} -sTCP:LISTEN")
        } else {
            format!("sudo ss -ltnp sport = :{port}")
        };
        format!(
            "this names the program: {who}; end it, then: regauthctl service install{}",
            self.option()
        )
    }

    fn check_rights(self, verb: &str) -> Result<(), ErrorBody> {
        if self == Self::User || rustix::process::geteuid().is_root() {
            return Ok(());
        }
        Err(error::refused("only root can change the system's services")
            .hint(format!("sudo regauthctl service {verb} --system")))
    }
}

impl State {
    /// What is wrong, and what to do about it.
    pub(crate) fn ailment(&self) -> Option<ErrorBody> {
        match self.health {
            Health::Serving | Health::Absent => None,
            Health::Failing => {
                let said = self.last_words.as_ref().map(|words| format!("; it says:\n{words}"));
                let message = "regauthd does not start, and is tried again and again".to_owned();
                Some(error::unreachable(message + &said.unwrap_or_default()).hint(self.scope.how_to_mend()))
            }
            Health::Stopped => {
                let failed = self.units.iter().find(|unit| unit.active == "failed")?;
                let hint = self.listens.first().map(|place| self.scope.how_to_free(*place));
                let error = error::unreachable(format!("nobody listens for regauthd: {} has failed", failed.name));
                Some(error.hint(hint.unwrap_or_else(|| self.scope.how_to_mend())))
            }
        }
    }
}

/// The daemon beside us, or the one that a shell would start.
fn regauthd() -> Result<PathBuf, ErrorBody> {
    let program = program::regauthd().ok_or_else(|| {
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

/// Where the units listen, as they are written.
const USUAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9001);

/// What shows that a file is ours to replace and to remove.
const MARK: &str = "`regauthctl service install`";
