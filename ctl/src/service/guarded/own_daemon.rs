//! Daemons that the users run before the guarded one takes over.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use regauth_shared::ErrorBody;
use regauth_shared::response::Status;
use serde::Deserialize;

use super::account::Account;
use super::programs::Programs;
use crate::error;
use crate::service::state::DEFAULT_LISTEN_ADDRESS;

/// Part of the answer of `service status`.
#[derive(Deserialize)]
struct InstalledService {
    installed: bool,
}

/// Daemon that a user runs now.
pub(super) struct OwnDaemon {
    pub(super) user: u32,
    listen: Option<SocketAddr>,
    /// Bundle that the user's clients know.
    pub(super) bundle: Option<PathBuf>,
    pub(super) is_service: bool,
}

impl OwnDaemon {
    /// Asks the user's own `regauthctl`.
    ///
    /// # Errors
    /// `refused` for a daemon that no service manager can stop, and for a service whose manager does not run.
    pub(super) fn find(account: &Account, programs: &Programs) -> Result<Self, ErrorBody> {
        let name = &account.name;
        // The unit itself, or the link that enables a package's.
        let units = ["regauthd-proxy.socket", "sockets.target.wants/regauthd-proxy.socket"];
        let folder = account.in_home(".config/systemd/user");
        let is_installed = |unit: &str| folder.join(unit).symlink_metadata().is_ok();
        if units.into_iter().any(is_installed) && !account.has_session() {
            let message = format!("{name} has a regauthd service, and is not logged in, so that it cannot be stopped");
            return Err(error::refused(message).hint(format!(
                "log in as {name}, or run `sudo loginctl enable-linger {name}`; then repeat"
            )));
        }
        let service: Option<InstalledService> = account.ask(&programs.regauthctl, &["service", "status"])?;
        let is_service = service.is_some_and(|service| service.installed);
        let status: Option<Status> = account.ask(&programs.regauthctl, &["status"])?;
        if status.is_some() && !is_service {
            return Err(error::refused(format!("{name} runs a regauthd that is not a service"))
                .hint(format!("stop it and try again: as {name}, regauthctl stop --wait")));
        }
        Ok(Self {
            user: account.uid,
            listen: status.as_ref().and_then(|status| status.listen.parse().ok()),
            bundle: status.map(|status| status.bundle.into()),
            is_service,
        })
    }
}

/// Address that the clients of all users know.
///
/// # Errors
/// `refused` if they know several: one daemon has one port.
pub(super) fn common_address(own: &[OwnDaemon]) -> Result<SocketAddr, ErrorBody> {
    let listen: BTreeSet<SocketAddr> = own.iter().filter_map(|own| own.listen).collect();
    if listen.len() < 2 {
        return Ok(listen.first().copied().unwrap_or(DEFAULT_LISTEN_ADDRESS));
    }
    let addresses: Vec<String> = listen.iter().map(ToString::to_string).collect();
    let message = format!(
        "the users' daemons listen on several addresses: {}",
        addresses.join(", ")
    );
    Err(error::refused(message).hint(
        "one daemon has one port, which their clients name; give them the same one first, or install for one user",
    ))
}
