//! systemd: two sockets and the service that they start, from the units in `packaging/systemd`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;

use super::command::{output_of, to_words};
use super::plan::{ServicePlan, ServiceStep};
use super::state::{DEFAULT_LISTEN_ADDRESS, Health, Installation, ServiceState, Unit};
use super::{journal, systemd_units};
use crate::error;
use crate::program::on_path;

/// Plans the steps that install the service.
///
/// # Errors
/// systemd is missing or does not run for this user, or a unit file is not regauthctl's.
pub(super) fn plan_install(
    installation: Installation,
    regauthd: &Path,
    listen: Option<SocketAddr>,
) -> Result<ServicePlan, ErrorBody> {
    let systemctl = installation.systemctl();
    require_systemd(installation)?;
    let mut plan = ServicePlan::new(MANAGER, installation);
    let mut changed = false;
    if !systemd_units::is_packaged(installation, regauthd) {
        for (file, text) in systemd_units::files(installation, regauthd)? {
            changed |= plan.write(file, text)?;
        }
    }
    let moves = match listen {
        Some(address) => {
            let drop_in = systemd_units::listen_drop_in(installation)?;
            plan.write(drop_in, systemd_units::listen_drop_in_text(address))?
        }
        None => false,
    };
    if installation == Installation::System {
        plan.run(&["systemd-sysusers", "regauth.conf"]);
        plan.run(&["systemd-tmpfiles", "--create", "regauth.conf"]);
        plan_vault_key(&mut plan, regauthd);
    }
    plan.run(&[systemctl, &["daemon-reload"]].concat());
    if moves {
        // systemd binds a socket to its new address only while the service that uses it does not run.
        plan.run(&[systemctl, &["stop", "regauthd.service", "regauthd-proxy.socket"]].concat());
    } else if changed {
        plan.run(&[systemctl, &["try-restart", "regauthd.service"]].concat());
    }
    plan.run(&[systemctl, &["enable", "--now"], installation.enabled_units()].concat());
    if installation == Installation::User {
        plan.notes.push(
            "regauthd runs while you are logged in; on a server, `loginctl enable-linger` keeps it running after you \
             log out"
                .to_owned(),
        );
    }
    Ok(plan)
}

/// Plans the steps that install the guarded service with these files. The vault's key comes first: where systemd cannot
/// encrypt it, nothing is installed.
///
/// # Errors
/// As [`plan_install`].
pub(super) fn plan_guarded_install(files: Vec<(PathBuf, String)>, regauthd: &Path) -> Result<ServicePlan, ErrorBody> {
    let mut plan = ServicePlan::new(MANAGER, Installation::System);
    plan_vault_key(&mut plan, regauthd);
    let mut changed = false;
    for (file, text) in files {
        changed |= plan.write(file, text)?;
    }
    plan.run(&["systemd-sysusers", "regauth.conf"]);
    plan.run(&["systemd-tmpfiles", "--create", "regauth.conf"]);
    plan.steps.push(ServiceStep::Folder {
        folder: "/etc/regauth".into(),
        mode: 0o755,
    });
    plan.run(&["systemctl", "daemon-reload"]);
    if changed {
        plan.run(&["systemctl", "try-restart", "regauthd.service"]);
    }
    plan.run(&[&["systemctl", "enable", "--now"][..], &UNITS].concat());
    Ok(plan)
}

/// Plans the steps that uninstall the service. The daemon's state folder stays, because it holds tokens.
///
/// # Errors
/// As [`plan_install`].
pub(super) fn plan_uninstall(installation: Installation) -> Result<ServicePlan, ErrorBody> {
    let systemctl = installation.systemctl();
    require_systemd(installation)?;
    let mut plan = ServicePlan::new(MANAGER, installation);
    let exists = |unit: &Unit| unit.file.is_some() || unit.active == "active";
    if !state(installation)?.units.iter().any(exists) {
        plan.notes.push("the service is not installed".to_owned());
        return Ok(plan);
    }
    let is_guarded = installation == Installation::System && super::is_guarded_installed();
    plan.run(&[systemctl, &["disable", "--now"], &UNITS].concat());
    let mut removed_any = false;
    for (file, _) in systemd_units::files(installation, Path::new(systemd_units::PACKAGED_REGAUTHD))? {
        removed_any |= plan.remove(file)?;
    }
    plan.remove(systemd_units::listen_drop_in(installation)?)?;
    if installation == Installation::System {
        plan.remove(systemd_units::POLKIT_POLICY.into())?;
        plan_vault_key_removal(&mut plan);
        if removed_any {
            plan.run(&["rm", "-r", "-f", "/var/cache/regauth"]);
        }
        match is_guarded {
            // The user stays while it owns a vault: another one could get its number.
            true if existing_vault().is_some() => plan.notes.push(WAY_BACK.to_owned()),
            true => plan.run(&["userdel", "-f", "regauth"]),
            false if removed_any => plan.run(&["groupdel", "-f", "regauth"]),
            false => {}
        }
    }
    plan.run(&[systemctl, &["daemon-reload"]].concat());
    Ok(plan)
}

/// Asks systemd for the state of the units.
///
/// # Errors
/// systemd is missing or does not run for this user.
pub(super) fn state(installation: Installation) -> Result<ServiceState, ErrorBody> {
    require_systemd(installation)?;
    let properties = [
        "show",
        "--property=Id,FragmentPath,UnitFileState,ActiveState,NRestarts,Listen",
    ];
    let shown = output_of(&[installation.systemctl(), &properties, &UNITS].concat())?;
    let units: Vec<Unit> = shown.split("\n\n").map(parse_unit).collect();
    let restarts = values(&shown, "NRestarts").find_map(|count| count.parse().ok());
    let health = health(&units, restarts.unwrap_or_default());
    let last_error = match health {
        Health::Failing => last_error(installation),
        _ => None,
    };
    Ok(ServiceState {
        manager: MANAGER,
        installation,
        installed: health != Health::Absent,
        health,
        last_error,
        listen_addresses: if health == Health::Absent {
            vec![DEFAULT_LISTEN_ADDRESS]
        } else {
            listen_addresses(&shown)
        },
        units,
    })
}

/// Reads the daemon's last error from the journal; `None` if this user may not read it.
pub(super) fn last_error(installation: Installation) -> Option<String> {
    let journalctl: &[&str] = match installation {
        Installation::User => &["journalctl", "--user"],
        Installation::System => &["journalctl"],
    };
    let filter = [
        "--unit=regauthd.service",
        "--identifier=regauthd",
        "--boot",
        "--lines=50",
    ];
    let format = ["--quiet", "--output=json", "--output-fields=MESSAGE,_PID"];
    journal::last_error(&output_of(&[journalctl, &filter, &format].concat()).ok()?)
}

/// Judges all units together. After a kill, systemd restarts the daemon once; a daemon that exits at every start is
/// restarted four times a second.
fn health(units: &[Unit], restarts: u32) -> Health {
    let is_socket = |unit: &&Unit| unit.name.ends_with(".socket");
    let fails =
        |unit: &Unit| unit.active == "failed" || unit.active == "activating" && restarts >= FAILING_AFTER_RESTARTS;
    if units.iter().filter(is_socket).all(|unit| unit.active == "active") {
        match units.iter().any(fails) {
            true => Health::Failing,
            false => Health::Serving,
        }
    } else if units.iter().any(|unit| unit.file.is_some()) {
        Health::Stopped
    } else {
        Health::Absent
    }
}

/// Parses one block of `systemctl show`.
fn parse_unit(block: &str) -> Unit {
    let value = |key| values(block, key).next().map(str::to_owned);
    Unit {
        name: value("Id").unwrap_or_default(),
        file: value("FragmentPath"),
        enabled: value("UnitFileState").unwrap_or_else(|| "absent".to_owned()),
        active: value("ActiveState").unwrap_or_default(),
    }
}

/// Parses the addresses of `Listen=127.0.0.1:9001 (Stream)`; a drop-in may have changed them.
fn listen_addresses(shown: &str) -> Vec<SocketAddr> {
    let address = |value: &str| value.split(' ').next()?.parse().ok();
    values(shown, "Listen").filter_map(address).collect()
}

fn values<'a>(shown: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = shown.lines().filter_map(|line| line.split_once('='));
    pairs
        .filter(move |(name, value)| *name == key && !value.is_empty())
        .map(|(_, value)| value)
}

impl Installation {
    fn systemctl(self) -> &'static [&'static str] {
        match self {
            Self::User => &["systemctl", "--user"],
            Self::System => &["systemctl"],
        }
    }

    /// Units to enable. The sockets start the service on demand; the system's service also starts at boot, so that the
    /// bundle exists before the first client reads it.
    fn enabled_units(self) -> &'static [&'static str] {
        match self {
            Self::User => &["regauthd-proxy.socket", "regauthd-control.socket"],
            Self::System => &UNITS,
        }
    }
}

/// Plans the creation of the vault's key. An existing vault or key is left alone: no new key opens that vault.
fn plan_vault_key(plan: &mut ServicePlan, regauthd: &Path) {
    if existing_vault().is_some() || Path::new(VAULT_KEY).exists() {
        return;
    }
    if on_path("systemd-creds").is_none() {
        plan.notes.push(
            "systemd is too old to encrypt the vault's key; regauthd keeps the key in a file beside the vault"
                .to_owned(),
        );
        return;
    }
    plan.steps.push(ServiceStep::Folder {
        folder: CREDENTIAL_FOLDER.into(),
        mode: 0o700,
    });
    plan.steps.push(ServiceStep::Pipe {
        from: to_words(&[&regauthd.display().to_string(), "--new-vault-identity"]),
        to: to_words(&["systemd-creds", "encrypt", "--name=vault-identity", "-", VAULT_KEY]),
    });
}

/// Plans the removal of the vault's key, unless a vault needs it.
fn plan_vault_key_removal(plan: &mut ServicePlan) {
    if let Some(vault) = existing_vault() {
        let folder = vault.parent().unwrap_or(vault).display();
        plan.notes.push(format!(
            "the vault with your tokens stays in {folder}, and its key in {VAULT_KEY}"
        ));
    } else if Path::new(VAULT_KEY).exists() {
        plan.steps.push(ServiceStep::Remove {
            file: VAULT_KEY.into(),
            folders: vec![CREDENTIAL_FOLDER.into()],
        });
    }
}

/// Vault of the machine's or the guarded daemon. A dynamic user's state is in a private folder.
fn existing_vault() -> Option<&'static Path> {
    VAULTS.map(Path::new).into_iter().find(|vault| vault.exists())
}

fn require_systemd(installation: Installation) -> Result<(), ErrorBody> {
    if on_path("systemctl").is_none() {
        return Err(error::failed("there is no systemd here (no systemctl in PATH)")
            .hint("start `regauthd` with your own service manager; it stays in the foreground"));
    }
    let answer = output_of(&[installation.systemctl(), &["show", "--property=Version"]].concat());
    answer.map(drop).map_err(|error| match installation {
        Installation::User => error.hint(
            "systemd runs no services for you in this session: log in at the machine or by ssh, not by su or sudo, or \
             run `sudo loginctl enable-linger`; without systemd, start `regauthd` yourself",
        ),
        Installation::System => {
            error.hint("this machine was not started by systemd; start `regauthd` with its own service manager")
        }
    })
}

const MANAGER: &str = "systemd";
/// More restarts than a crash or two explains.
const FAILING_AFTER_RESTARTS: u32 = 3;
const UNITS: [&str; 3] = ["regauthd-proxy.socket", "regauthd-control.socket", "regauthd.service"];
const VAULTS: [&str; 2] = ["/var/lib/private/regauth/vault.age", "/var/lib/regauth/vault.age"];
/// Note for the users of a guarded daemon that is removed.
const WAY_BACK: &str = "each user gets a daemon of their own again with `regauthctl service install`; their config.toml still has \
                        the registries that were moved, and `regauthctl rotate NAME` gives each its token again";
const CREDENTIAL_FOLDER: &str = "/etc/credstore.encrypted";
const VAULT_KEY: &str = "/etc/credstore.encrypted/regauth.vault-identity";

#[cfg(test)]
mod tests {
    use super::super::systemd_units::{SYSTEM_UNITS, USER_UNITS};
    use super::*;

    #[test]
    fn parses_the_output_of_systemctl_show() {
        let present = "Id=a.socket\nActiveState=active\nFragmentPath=/x/a.socket\nUnitFileState=enabled";
        assert_eq!(
            parse_unit(present),
            Unit {
                name: "a.socket".to_owned(),
                file: Some("/x/a.socket".to_owned()),
                enabled: "enabled".to_owned(),
                active: "active".to_owned(),
            }
        );
        let absent = parse_unit("Id=a.socket\nActiveState=inactive\nFragmentPath=\nUnitFileState=");
        assert_eq!((absent.file, absent.enabled.as_str()), (None, "absent"));
        let drop_in = "Id=a.socket\nListen=127.0.0.1:9100 (Stream)\nListen=/run/a.sock (Stream)";
        assert_eq!(listen_addresses(drop_in), ["127.0.0.1:9100".parse().unwrap()]);
    }

    #[test]
    fn units_listen_on_the_default_address() {
        for (name, text) in [USER_UNITS, SYSTEM_UNITS].concat() {
            let shown = text.replace("ListenStream=", "Listen=");
            let expected = Vec::from_iter((name == "regauthd-proxy.socket").then_some(DEFAULT_LISTEN_ADDRESS));
            assert_eq!(listen_addresses(&shown), expected, "{name}");
        }
    }

    #[test]
    fn distinguishes_a_failing_daemon_from_a_restarted_one() {
        let units = |sockets: &str, service: &str| {
            let unit = |name: &str, active: &str| Unit {
                name: name.to_owned(),
                active: active.to_owned(),
                file: Some(name.to_owned()),
                ..Unit::default()
            };
            [
                unit("a.socket", "active"),
                unit("b.socket", sockets),
                unit("c.service", service),
            ]
        };
        let check = |units: &[Unit], restarts, expected| assert_eq!(health(units, restarts), expected, "{units:?}");
        check(&units("active", "inactive"), 0, Health::Serving);
        check(&units("active", "active"), 40, Health::Serving);
        check(&units("active", "activating"), 1, Health::Serving);
        check(&units("active", "activating"), 40, Health::Failing);
        check(&units("active", "failed"), 0, Health::Failing);
        check(&units("failed", "inactive"), 0, Health::Stopped);
        let absent = Unit {
            name: "a.socket".to_owned(),
            ..Unit::default()
        };
        check(&[absent], 0, Health::Absent);
    }
}
