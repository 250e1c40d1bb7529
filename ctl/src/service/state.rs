//! State of the service, as its service manager reports it, and the diagnosis that follows from it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use regauth_shared::ErrorBody;
use serde::Serialize;

use crate::error;

/// Installation of the service: for one user or for the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Installation {
    /// For the user who runs regauthctl.
    User,
    /// For the whole machine.
    System,
}

/// State of the service.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceState {
    /// `systemd` or `launchd`.
    pub(crate) manager: &'static str,
    /// Installation that was asked about.
    #[serde(rename = "scope")]
    pub(crate) installation: Installation,
    /// True if any part of the service is installed.
    pub(crate) installed: bool,
    /// Verdict on all units together.
    pub(crate) health: Health,
    /// Error that the daemon logged last; `None` if it did not fail or its log cannot be read.
    #[serde(rename = "last_words")]
    pub(crate) last_error: Option<String>,
    /// Units of the service.
    pub(crate) units: Vec<Unit>,
    /// Addresses that the service listens on, or would if it were installed.
    #[serde(skip)]
    pub(super) listen_addresses: Vec<SocketAddr>,
}

/// Health of the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Health {
    /// A connection reaches the daemon, or starts it.
    Serving,
    /// Connections wait: the daemon exits at every start and is restarted.
    Failing,
    /// The service is installed, but its sockets are closed.
    Stopped,
    /// The service is not installed.
    Absent,
}

/// One unit of the service.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Unit {
    /// Name of the unit.
    pub(crate) name: String,
    /// File that defines the unit; `None` if there is none.
    pub(crate) file: Option<String>,
    /// True if the unit starts by itself, in the service manager's term.
    pub(crate) enabled: String,
    /// Current state, in the service manager's term.
    pub(crate) active: String,
}

impl ServiceState {
    /// Explains why the service does not serve, with a hint; `None` if it serves or is not installed.
    pub(crate) fn diagnose(&self) -> Option<ErrorBody> {
        match self.health {
            Health::Serving | Health::Absent => None,
            Health::Failing => {
                let last_error = self.last_error.as_ref();
                let logged = last_error.map_or_else(String::new, |error| format!(". Its log:\n{error}"));
                let message = format!(
                    "regauthd does not start; {} restarts it again and again{logged}",
                    self.manager
                );
                Some(error::unreachable(message).hint(self.installation.fix_hint()))
            }
            Health::Stopped => {
                let failed = self.units.iter().find(|unit| unit.active == "failed")?;
                let address = self.listen_addresses.first();
                let hint = address.map(|address| self.installation.free_port_hint(*address));
                let message = format!("regauthd's sockets are closed: {} has failed", failed.name);
                Some(error::unreachable(message).hint(hint.unwrap_or_else(|| self.installation.fix_hint())))
            }
        }
    }
}

impl Installation {
    /// Hint for a daemon that exits at every start.
    pub(crate) fn fix_hint(self) -> String {
        format!(
            "read the log: {}; once the error is fixed, regauthd starts by itself",
            self.log()
        )
    }

    /// Command that shows the daemon's log, or the folder of the log.
    pub(crate) fn log(self) -> &'static str {
        match self {
            _ if cfg!(target_os = "macos") => "regauthd.log, in ~/Library/Logs or the machine's folder",
            Self::User => "journalctl --user --unit regauthd",
            Self::System => "sudo journalctl --unit regauthd",
        }
    }

    /// Option of `regauthctl` that selects this installation, with a blank in front.
    pub(crate) fn option(self) -> &'static str {
        match self {
            Self::User => "",
            Self::System => " --system",
        }
    }

    /// Hint with the command that names the program on a port.
    pub(super) fn free_port_hint(self, address: SocketAddr) -> String {
        let port = address.port();
        let list_listeners = if cfg!(target_os = "macos") {
            format!("sudo lsof -nP -iTCP:{port} -sTCP:LISTEN")
        } else {
            format!("sudo ss -ltnp sport = :{port}")
        };
        let option = self.option();
        // Another user's regauthd has the port as well as any other program.
        let other = SocketAddr::new(
            address.ip(),
            port.checked_add(1).unwrap_or(DEFAULT_LISTEN_ADDRESS.port()),
        );
        format!(
            "find the program: {list_listeners}; stop it, then: regauthctl service install{option}; or take another \
             port: regauthctl service install{option} --listen {other}"
        )
    }
}

/// Address in the units of `packaging`.
pub(super) const DEFAULT_LISTEN_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9001);

/// Text in every file that `service install` writes. A file without it is never replaced or removed.
pub(super) const OWNERSHIP_MARKER: &str = "`regauthctl service install`";
