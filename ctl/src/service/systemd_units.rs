//! systemd units and other files of the service, from `packaging/systemd`.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;

use super::state::{Installation, OWNERSHIP_MARKER};
use crate::error;

/// Files of the service with their contents: those of a package, with the path of this regauthd.
pub(super) fn files(installation: Installation, regauthd: &Path) -> Result<Vec<(PathBuf, String)>, ErrorBody> {
    let (folder, units) = match installation {
        Installation::User => (user_unit_folder()?, &USER_UNITS),
        Installation::System => (PathBuf::from("/etc/systemd/system"), &SYSTEM_UNITS),
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
const SYSUSERS: &str = include_str!("../../../packaging/systemd/sysusers.conf");
const TMPFILES: &str = include_str!("../../../packaging/systemd/tmpfiles.conf");

#[cfg(test)]
mod tests {
    use super::*;

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
