//! systemd units and other files of the service, from `packaging/systemd`.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;

use super::state::{DEFAULT_LISTEN_ADDRESS, Installation, OWNERSHIP_MARKER};
use crate::error;

/// Files of the service with their contents: those of a package, with the path of this regauthd.
pub(super) fn files(installation: Installation, regauthd: &Path) -> Result<Vec<(PathBuf, String)>, ErrorBody> {
    let (folder, units) = match installation {
        Installation::User => (user_unit_folder()?, &USER_UNITS),
        Installation::System => (PathBuf::from(SYSTEM_FOLDER), &SYSTEM_UNITS),
    };
    let marked = |text: &str| {
        let text = text.replace(PACKAGED_REGAUTHD, &regauthd.display().to_string());
        format!("# Written by {OWNERSHIP_MARKER}, and removed by `regauthctl service uninstall`.\n{text}")
    };
    let mut files: Vec<_> = units
        .iter()
        .map(|(name, text)| (folder.join(name), marked(text)))
        .collect();
    if installation == Installation::System {
        files.push(("/etc/sysusers.d/regauth.conf".into(), marked(SYSUSERS)));
        files.push(("/etc/tmpfiles.d/regauth.conf".into(), marked(TMPFILES)));
    }
    Ok(files)
}

/// Drop-in of the proxy's socket that moves it to another address.
///
/// # Errors
/// `HOME` is not set.
pub(super) fn listen_drop_in(installation: Installation) -> Result<PathBuf, ErrorBody> {
    let folder = match installation {
        Installation::User => user_unit_folder()?,
        Installation::System => PathBuf::from("/etc/systemd/system"),
    };
    Ok(folder.join("regauthd-proxy.socket.d/listen.conf"))
}

/// Text of the drop-in. An empty setting takes the unit's own address away.
pub(super) fn listen_drop_in_text(address: SocketAddr) -> String {
    format!(
        "# Written by {OWNERSHIP_MARKER}, and removed by `regauthctl service uninstall`.\n[Socket]\nListenStream=\n\
         ListenStream={address}\n"
    )
}

/// Files of the guarded service, for the users with these ids.
pub(super) fn guarded_files(regauthd: &Path, users: &BTreeSet<u32>, listen: SocketAddr) -> Vec<(PathBuf, String)> {
    let users: Vec<String> = users.iter().map(ToString::to_string).collect();
    let marked = |text: &str| {
        let text = text
            .replace(PACKAGED_REGAUTHD, &regauthd.display().to_string())
            .replace("@USERS@", &users.join(","))
            .replace(&format!("={DEFAULT_LISTEN_ADDRESS}\n"), &format!("={listen}\n"));
        format!("# Written by {OWNERSHIP_MARKER}, and removed by `regauthctl service uninstall`.\n{text}")
    };
    let units = GUARDED_UNITS.map(|(name, text)| (Path::new(SYSTEM_FOLDER).join(name), marked(text)));
    let mut files = Vec::from(units);
    files.push(("/etc/sysusers.d/regauth.conf".into(), marked(GUARDED_SYSUSERS)));
    files.push(("/etc/tmpfiles.d/regauth.conf".into(), marked(GUARDED_TMPFILES)));
    files.extend(polkit_policy());
    files
}

/// Actions of polkit, which a guarded daemon asks for; `None` without polkit, with a package's file, and where `/usr` cannot
/// be written. Root is the only person then.
fn polkit_policy() -> Option<(PathBuf, String)> {
    let file = Path::new(POLKIT_POLICY);
    let is_packaged = std::fs::read_to_string(file).is_ok_and(|text| !text.contains(OWNERSHIP_MARKER));
    let is_writable = rustix::fs::access(file.parent()?, rustix::fs::Access::WRITE_OK).is_ok();
    (is_writable && !is_packaged).then(|| (file.into(), marked_policy()))
}

/// The package's file, with a comment that names its owner.
fn marked_policy() -> String {
    let comment = format!("<!-- Written by {OWNERSHIP_MARKER}, and removed by `regauthctl service uninstall`. -->");
    POLICY.replacen("<policyconfig>", &format!("{comment}\n<policyconfig>"), 1)
}

/// True if a package has installed the units for this regauthd.
pub(super) fn is_packaged(installation: Installation, regauthd: &Path) -> bool {
    let folder = match installation {
        Installation::User => "/usr/lib/systemd/user",
        Installation::System => "/usr/lib/systemd/system",
    };
    regauthd == Path::new(PACKAGED_REGAUTHD) && Path::new(folder).join("regauthd.service").exists()
}

/// `$XDG_CONFIG_HOME/systemd/user`, which systemd reads before the folders of packages. Like systemd, ignores relative
/// paths.
fn user_unit_folder() -> Result<PathBuf, ErrorBody> {
    let folder = |name: &str| {
        std::env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let config = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
    let config = config.ok_or_else(|| {
        error::usage("HOME is not set to an absolute path, so the folder of your units is unknown")
            .hint("set HOME to your home folder")
    })?;
    Ok(config.join("systemd/user"))
}

/// Path of regauthd in a package, and therefore in the units.
pub(super) const PACKAGED_REGAUTHD: &str = "/usr/bin/regauthd";

macro_rules! units {
    ($($name:literal),+ in $folder:literal) => {
        [$(($name, include_str!(concat!("../../../packaging/systemd/", $folder, "/", $name)))),+]
    };
}

pub(super) const USER_UNITS: [(&str, &str); 3] =
    units!["regauthd.service", "regauthd-proxy.socket", "regauthd-control.socket" in "user"];
pub(super) const SYSTEM_UNITS: [(&str, &str); 3] =
    units!["regauthd.service", "regauthd-proxy.socket", "regauthd-control.socket" in "system"];
/// Templates: `@USERS@` stands for the ids of the users.
pub(super) const GUARDED_UNITS: [(&str, &str); 3] =
    units!["regauthd.service", "regauthd-proxy.socket", "regauthd-control.socket" in "guarded"];
/// Unit of the guarded service, whose units replace those of a package.
pub(super) const GUARDED_SERVICE: &str = "/etc/systemd/system/regauthd.service";
/// The one folder of actions that every release of polkit reads.
pub(super) const POLKIT_POLICY: &str = "/usr/share/polkit-1/actions/org.regauth.policy";
const POLICY: &str = include_str!("../../../packaging/polkit/org.regauth.policy");
const SYSTEM_FOLDER: &str = "/etc/systemd/system";
const GUARDED_SYSUSERS: &str = include_str!("../../../packaging/systemd/guarded-sysusers.conf");
const GUARDED_TMPFILES: &str = include_str!("../../../packaging/systemd/guarded-tmpfiles.conf");
const SYSUSERS: &str = include_str!("../../../packaging/systemd/sysusers.conf");
const TMPFILES: &str = include_str!("../../../packaging/systemd/tmpfiles.conf");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guarded_service_names_its_users_and_keeps_the_port_of_their_daemons() {
        let users = BTreeSet::from([1001, 1000]);
        let files = guarded_files(Path::new("/opt/x/regauthd"), &users, "127.0.0.1:9100".parse().unwrap());
        let text = |name: &str| &files.iter().find(|(file, _)| file.ends_with(name)).unwrap().1;
        let service = text("regauthd.service");
        assert!(service.contains("\nExecStart=/opt/x/regauthd --store vault --guarded-for 1000,1001\n"));
        assert!(service.contains("\nUser=regauth\n") && !service.contains("PrivateUsers"));
        assert!(text("regauthd-proxy.socket").contains("\nListenStream=127.0.0.1:9100\n"));
        assert!(text("regauthd-control.socket").contains("\nSocketMode=0666\n"));
        assert!(
            files
                .iter()
                .all(|(_, text)| text.contains(OWNERSHIP_MARKER) && !text.contains("@USERS@"))
        );
    }

    #[test]
    fn polkit_knows_each_action_permits_none_by_itself_and_keeps_none() {
        use regauth_shared::presence::Action;
        let values = |before: &str, after: char| -> Vec<&str> {
            let rest = POLICY.split(before).skip(1);
            rest.map(|rest| rest.split(after).next().unwrap()).collect()
        };
        assert_eq!(values("<action id=\"", '"'), Action::ALL.map(Action::id));
        let defaults = ["<allow_any>", "<allow_inactive>", "<allow_active>"].map(|key| values(key, '<'));
        for default in defaults {
            assert_eq!(default, ["auth_self", "auth_self", "auth_self", "auth_admin"]);
        }
        let owners = values("<annotate key=\"org.freedesktop.policykit.owner\">", '<');
        assert_eq!(owners, ["unix-user:regauth"; 4]);
        let marked = marked_policy();
        assert!(marked.starts_with("<?xml") && marked.contains(OWNERSHIP_MARKER));
    }

    #[test]
    fn units_start_the_regauthd_that_was_found() {
        for (_, text) in [USER_UNITS, SYSTEM_UNITS].concat() {
            assert!(
                !text.contains(OWNERSHIP_MARKER),
                "regauthctl would remove a unit of the package"
            );
        }
        let files = files(Installation::System, Path::new("/opt/x/regauthd")).unwrap();
        let service = files
            .iter()
            .find(|(file, _)| file.ends_with("regauthd.service"))
            .unwrap();
        assert!(service.1.contains("\nExecStart=/opt/x/regauthd --store vault\n"));
        assert!(
            files
                .iter()
                .all(|(_, text)| !text.contains(PACKAGED_REGAUTHD) && text.contains(OWNERSHIP_MARKER))
        );
        assert_eq!(files.len(), 5);
    }
}
