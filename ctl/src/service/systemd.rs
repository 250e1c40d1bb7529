//! systemd: two sockets and the service that they start. The units are those of `packaging/systemd`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;

use super::plan::{Plan, Step, asked, owned};
use super::{Health, MARK, Scope, State, USUAL, Unit, journal};
use crate::error;
use crate::program::on_path;

/// What installs the service.
///
/// # Errors
/// No systemd, or no manager for this user; a unit that is not ours.
pub(super) fn to_install(scope: Scope, regauthd: &Path) -> Result<Plan, ErrorBody> {
    let systemctl = scope.systemctl();
    answers(scope)?;
    let mut plan = Plan::new(MANAGER, scope);
    let mut changed = false;
    if !is_packaged(scope, regauthd) {
        for (file, text) in scope.files(regauthd)? {
            changed |= plan.write(file, text)?;
        }
    }
    if scope == Scope::System {
        plan.run(&["systemd-sysusers", "regauth.conf"]);
        plan.run(&["systemd-tmpfiles", "--create", "regauth.conf"]);
        seal_key(&mut plan, regauthd);
    }
    plan.run(&[systemctl, &["daemon-reload"]].concat());
    if changed {
        plan.run(&[systemctl, &["try-restart", "regauthd.service"]].concat());
    }
    plan.run(&[systemctl, &["enable", "--now"], scope.enabled()].concat());
    if scope == Scope::User {
        plan.notes.push(
            "it runs while you are logged in; `loginctl enable-linger` keeps it running without you, where it is a server's"
                .to_owned(),
        );
    }
    Ok(plan)
}

/// What undoes that. The daemon's state stays: it holds tokens.
///
/// # Errors
/// As above.
pub(super) fn to_uninstall(scope: Scope) -> Result<Plan, ErrorBody> {
    let systemctl = scope.systemctl();
    answers(scope)?;
    let mut plan = Plan::new(MANAGER, scope);
    let is_there = |unit: &Unit| unit.file.is_some() || unit.active == "active";
    if !state(scope)?.units.iter().any(is_there) {
        plan.notes.push("the service is not installed".to_owned());
        return Ok(plan);
    }
    plan.run(&[systemctl, &["disable", "--now"], &UNITS].concat());
    let mut ours = false;
    for (file, _) in scope.files(Path::new(PACKAGED))? {
        ours |= plan.remove(file)?;
    }
    if scope == Scope::System {
        forget_key(&mut plan);
        if ours {
            plan.run(&["rm", "-r", "-f", "/var/cache/regauth"]);
            plan.run(&["groupdel", "-f", "regauth"]);
        }
    }
    plan.run(&[systemctl, &["daemon-reload"]].concat());
    Ok(plan)
}

/// What systemd knows of the units.
///
/// # Errors
/// No systemd, or no manager for this user.
pub(super) fn state(scope: Scope) -> Result<State, ErrorBody> {
    answers(scope)?;
    let properties = [
        "show",
        "--property=Id,FragmentPath,UnitFileState,ActiveState,NRestarts,Listen",
    ];
    let said = asked(&[scope.systemctl(), &properties, &UNITS].concat())?;
    let units: Vec<Unit> = said.split("\n\n").map(unit).collect();
    let restarts = values(&said, "NRestarts").find_map(|count| count.parse().ok());
    let health = health(&units, restarts.unwrap_or_default());
    let last_words = match health {
        Health::Failing => last_words(scope),
        _ => None,
    };
    Ok(State {
        manager: MANAGER,
        scope,
        installed: health != Health::Absent,
        health,
        last_words,
        listens: if health == Health::Absent {
            vec![USUAL]
        } else {
            ports(&said)
        },
        units,
    })
}

/// What the daemon's last log entries tell, to those who may read them.
fn last_words(scope: Scope) -> Option<String> {
    let manager: &[&str] = match scope {
        Scope::User => &["journalctl", "--user"],
        Scope::System => &["journalctl"],
    };
    let which = [
        "--unit=regauthd.service",
        "--identifier=regauthd",
        "--boot",
        "--lines=50",
    ];
    let how = ["--quiet", "--output=json", "--output-fields=MESSAGE,_PID"];
    journal::last_error(&asked(&[manager, &which, &how].concat()).ok()?)
}

/// A daemon that was killed is started once more; one that cannot start, four times a second.
fn health(units: &[Unit], restarts: u32) -> Health {
    let is_socket = |unit: &&Unit| unit.name.ends_with(".socket");
    let fails = |unit: &Unit| unit.active == "failed" || unit.active == "activating" && restarts >= MANY;
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

/// A block of `systemctl show`.
fn unit(block: &str) -> Unit {
    let value = |key| values(block, key).next().map(str::to_owned);
    Unit {
        name: value("Id").unwrap_or_default(),
        file: value("FragmentPath"),
        enabled: value("UnitFileState").unwrap_or_else(|| "absent".to_owned()),
        active: value("ActiveState").unwrap_or_default(),
    }
}

/// `Listen=127.0.0.1:9001 (Stream)`: drop-ins may have the sockets listen elsewhere.
fn ports(said: &str) -> Vec<SocketAddr> {
    let place = |value: &str| value.split(' ').next()?.parse().ok();
    values(said, "Listen").filter_map(place).collect()
}

fn values<'a>(said: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    let pairs = said.lines().filter_map(|line| line.split_once('='));
    pairs
        .filter(move |(name, value)| *name == key && !value.is_empty())
        .map(|(_, value)| value)
}

impl Scope {
    fn systemctl(self) -> &'static [&'static str] {
        match self {
            Self::User => &["systemctl", "--user"],
            Self::System => &["systemctl"],
        }
    }

    /// The sockets start the service; a server's starts at boot too, so that the bundle is there before the first client.
    fn enabled(self) -> &'static [&'static str] {
        match self {
            Self::User => &["regauthd-proxy.socket", "regauthd-control.socket"],
            Self::System => &UNITS,
        }
    }

    /// What a package puts in place, in the words of one that was built from source.
    fn files(self, regauthd: &Path) -> Result<Vec<(PathBuf, String)>, ErrorBody> {
        let (folder, units) = match self {
            Self::User => (user_folder()?, &USER),
            Self::System => (PathBuf::from("/etc/systemd/system"), &SYSTEM),
        };
        let ours = |text: &str| {
            let text = text.replace(PACKAGED, &regauthd.display().to_string());
            format!("# Written by {MARK}, and removed by `regauthctl service uninstall`.\n{text}")
        };
        let mut files: Vec<_> = units
            .iter()
            .map(|(name, text)| (folder.join(name), ours(text)))
            .collect();
        if self == Self::System {
            files.push(("/etc/sysusers.d/regauth.conf".into(), ours(SYSUSERS)));
            files.push(("/etc/tmpfiles.d/regauth.conf".into(), ours(TMPFILES)));
        }
        Ok(files)
    }
}

/// Whether a package has installed the units for this very program.
fn is_packaged(scope: Scope, regauthd: &Path) -> bool {
    let folder = match scope {
        Scope::User => "/usr/lib/systemd/user",
        Scope::System => "/usr/lib/systemd/system",
    };
    regauthd == Path::new(PACKAGED) && Path::new(folder).join("regauthd.service").exists()
}

/// A vault that exists has its key, and no other opens it.
fn seal_key(plan: &mut Plan, regauthd: &Path) {
    if Path::new(VAULT).exists() || Path::new(KEY).exists() {
        return;
    }
    if on_path("systemd-creds").is_none() {
        plan.notes
            .push("systemd is too old to encrypt the vault's key; it is kept in a file beside the vault".to_owned());
        return;
    }
    plan.steps.push(Step::Folder {
        folder: CREDENTIALS.into(),
        mode: 0o700,
    });
    plan.steps.push(Step::Pipe {
        from: owned(&[&regauthd.display().to_string(), "--new-vault-identity"]),
        to: owned(&["systemd-creds", "encrypt", "--name=vault-identity", "-", KEY]),
    });
}

fn forget_key(plan: &mut Plan) {
    if Path::new(VAULT).exists() {
        plan.notes.push(format!(
            "the vault with your tokens stays in {STATE}, and its key in {KEY}"
        ));
    } else if Path::new(KEY).exists() {
        plan.steps.push(Step::Remove {
            file: KEY.into(),
            folders: vec![CREDENTIALS.into()],
        });
    }
}

fn answers(scope: Scope) -> Result<(), ErrorBody> {
    if on_path("systemctl").is_none() {
        return Err(error::failed("there is no systemd here (no systemctl in PATH)")
            .hint("start `regauthd` from whatever starts programs here; it stays in the foreground"));
    }
    let asked = asked(&[scope.systemctl(), &["show", "--property=Version"]].concat());
    asked.map(drop).map_err(|error| match scope {
        Scope::User => error.hint(
            "systemd runs nothing for you here: log in at the machine or by ssh, not by su or sudo; `sudo loginctl \
             enable-linger` makes it run without a login; where there is none, start `regauthd` yourself",
        ),
        Scope::System => {
            error.hint("systemd is not what started this machine; start `regauthd` as its services are started")
        }
    })
}

/// `$XDG_CONFIG_HOME/systemd/user`, which is read before what packages install.
fn user_folder() -> Result<PathBuf, ErrorBody> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let base = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
    let base = base.ok_or_else(|| error::usage("HOME does not say where your units are"))?;
    Ok(base.join("systemd/user"))
}

const MANAGER: &str = "systemd";
/// Restarts that are no accident.
const MANY: u32 = 3;
const UNITS: [&str; 3] = ["regauthd-proxy.socket", "regauthd-control.socket", "regauthd.service"];
/// Where a package puts the program, and so what the units say.
const PACKAGED: &str = "/usr/bin/regauthd";

const STATE: &str = "/var/lib/private/regauth";
const VAULT: &str = "/var/lib/private/regauth/vault.age";
const CREDENTIALS: &str = "/etc/credstore.encrypted";
const KEY: &str = "/etc/credstore.encrypted/regauth.vault-identity";

macro_rules! units {
    ($($name:literal),+ in $folder:literal) => {
        [$(($name, include_str!(concat!("../../../packaging/systemd/", $folder, "/", $name)))),+]
    };
}

const USER: [(&str, &str); 3] =
    units!["regauthd.service", "regauthd-proxy.socket", "regauthd-control.socket" in "user"];
const SYSTEM: [(&str, &str); 3] =
    units!["regauthd.service", "regauthd-proxy.socket", "regauthd-control.socket" in "system"];
const SYSUSERS: &str = include_str!("../../../packaging/systemd/sysusers.conf");
const TMPFILES: &str = include_str!("../../../packaging/systemd/tmpfiles.conf");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_starts_the_daemon_that_was_found() {
        for (_, text) in [USER, SYSTEM].concat() {
            assert!(!text.contains(MARK), "a package's unit would be taken for ours");
        }
        let files = Scope::System.files(Path::new("/opt/x/regauthd")).unwrap();
        let service = files
            .iter()
            .find(|(file, _)| file.ends_with("regauthd.service"))
            .unwrap();
        assert!(service.1.contains("\nExecStart=/opt/x/regauthd --store vault\n"));
        assert!(
            files
                .iter()
                .all(|(_, text)| !text.contains(PACKAGED) && text.contains(MARK))
        );
        assert_eq!(files.len(), 5);
    }

    #[test]
    fn what_systemctl_shows_is_understood() {
        let there = "Id=a.socket\nActiveState=active\nFragmentPath=/x/a.socket\nUnitFileState=enabled";
        assert_eq!(
            unit(there),
            Unit {
                name: "a.socket".to_owned(),
                file: Some("/x/a.socket".to_owned()),
                enabled: "enabled".to_owned(),
                active: "active".to_owned(),
            }
        );
        let absent = unit("Id=a.socket\nActiveState=inactive\nFragmentPath=\nUnitFileState=");
        assert_eq!((absent.file, absent.enabled.as_str()), (None, "absent"));
        let drop_in = "Id=a.socket\nListen=127.0.0.1:9100 (Stream)\nListen=/run/a.sock (Stream)";
        assert_eq!(ports(drop_in), ["127.0.0.1:9100".parse().unwrap()]);
    }

    #[test]
    fn the_usual_port_is_what_the_units_listen_on() {
        for (name, text) in [USER, SYSTEM].concat() {
            let said = text.replace("ListenStream=", "Listen=");
            let expected = Vec::from_iter((name == "regauthd-proxy.socket").then_some(USUAL));
            assert_eq!(ports(&said), expected, "{name}");
        }
    }

    #[test]
    fn a_daemon_that_cannot_start_is_told_from_one_that_was_started_again() {
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
