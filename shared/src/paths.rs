//! Locations of regauth's files, resolved from flags and environment variables.
//!
//! No I/O: the caller passes the environment as a function.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Folders of one regauth installation.
///
/// ```
/// use std::path::Path;
/// use regauth_shared::paths::Folders;
///
/// let folders = Folders::below(Path::new("/srv/regauth"));
/// assert_eq!(folders.socket(), Path::new("/srv/regauth/run/control.sock"));
/// assert_eq!(folders.bundle(), Path::new("/srv/regauth/state/ca-bundle.pem"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Folder of `config.toml`.
    pub config: PathBuf,
    /// Folder of the bundle, the vault, the grants and the journal.
    pub state: PathBuf,
    /// Folder of the control socket.
    pub run: PathBuf,
    /// Path of the bundle outside the state folder, which clients of other users may not enter.
    pub published: Option<PathBuf>,
    /// Home chosen by `--home` or `REGAUTH_HOME`, if any.
    pub home: Option<PathBuf>,
}

impl Folders {
    /// Puts every folder below one home, as `--home` and `REGAUTH_HOME` do.
    pub fn below(home: &Path) -> Self {
        Self {
            config: home.to_path_buf(),
            state: home.join("state"),
            run: home.join("run"),
            published: None,
            home: Some(home.to_path_buf()),
        }
    }

    /// Folders of the machine-wide daemon under the system's service manager. Clients may reach its socket alone.
    pub fn of_the_system() -> Self {
        let (state, run) = if cfg!(target_os = "macos") {
            let support = Path::new("/Library/Application Support/regauth");
            (support.join("home/state"), support.to_path_buf())
        } else {
            (PathBuf::from("/var/lib/regauth"), PathBuf::from("/run/regauth"))
        };
        Self {
            config: state.clone(),
            state,
            run,
            published: None,
            home: None,
        }
    }

    /// Resolves the folders: `--home`, then `REGAUTH_HOME`, then systemd's variables, then the platform's defaults.
    /// `REGAUTH_BUNDLE` moves the bundle out of the state folder.
    ///
    /// # Errors
    /// [`NoHome`] if not even `HOME` is set.
    pub fn resolve(home: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoHome> {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let published = path("REGAUTH_BUNDLE");
        if let Some(home) = home.map(Path::to_path_buf).or_else(|| path("REGAUTH_HOME")) {
            return Ok(Self {
                published,
                ..Self::below(&home)
            });
        }
        let defaults = platform_defaults(path("HOME"), &path);
        let pick = |given: Option<PathBuf>, default: Option<PathBuf>| given.or(default).ok_or(NoHome);
        Ok(Self {
            config: pick(path("CONFIGURATION_DIRECTORY"), defaults.config)?,
            state: pick(path("STATE_DIRECTORY"), defaults.state)?,
            run: pick(path("RUNTIME_DIRECTORY"), defaults.run)?,
            published,
            home: None,
        })
    }

    /// Folders in which the control socket of this user's daemon may be. A daemon and a client can have different
    /// environments: cron, `su` and CI agents set no `XDG_RUNTIME_DIR`.
    pub fn run_candidates(&self, uid: u32) -> Vec<PathBuf> {
        let mut candidates = vec![self.run.clone()];
        if self.home.is_none() && cfg!(target_os = "linux") {
            candidates.extend([
                PathBuf::from(format!("/run/user/{uid}/regauth")),
                self.state.join("run"),
            ]);
        }
        candidates.dedup();
        candidates
    }

    /// Configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// Bundle for clients: the system's roots plus regauth's authorities, in PEM.
    pub fn bundle(&self) -> PathBuf {
        let in_state = || self.state.join("ca-bundle.pem");
        self.published.clone().unwrap_or_else(in_state)
    }

    /// Bundle for Java, which reads no PEM file; beside the other one.
    pub fn java_trust_store(&self) -> PathBuf {
        self.bundle().with_extension("jks")
    }

    /// Folder with the bundle and the trust store but no secret, to be mounted into containers. The daemon replaces files
    /// by renaming, so a mounted file would stay as it was, and the state folder has secrets.
    pub fn bundle_folder(&self) -> PathBuf {
        let published = self.published.as_deref().and_then(Path::parent);
        published.map_or_else(|| self.state.join("bundle"), Path::to_path_buf)
    }

    /// Encrypted vault.
    pub fn vault(&self) -> PathBuf {
        self.state.join("vault.age")
    }

    /// Key of the vault, if no passphrase protects it.
    pub fn vault_identity(&self) -> PathBuf {
        self.state.join("vault-identity.txt")
    }

    /// Key of the vault, encrypted under a passphrase.
    pub fn vault_identity_sealed(&self) -> PathBuf {
        self.state.join("vault-identity.age")
    }

    /// Journal of the daemon: store, generations, authorities. Holds no secret.
    pub fn journal(&self) -> PathBuf {
        self.state.join("ledger.json")
    }

    /// Grants, hashed.
    pub fn grants(&self) -> PathBuf {
        self.state.join("grants.json")
    }

    /// Times of the last desktop notifications.
    pub fn notifications(&self) -> PathBuf {
        self.state.join("notifications.json")
    }

    /// Folder of the audit record.
    pub fn audit(&self) -> PathBuf {
        self.state.join("audit")
    }

    /// Control socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }

    /// Lock file of the daemon that owns the socket.
    pub fn lock(&self) -> PathBuf {
        self.run.join("daemon.lock")
    }
}

struct DefaultFolders {
    config: Option<PathBuf>,
    state: Option<PathBuf>,
    run: Option<PathBuf>,
}

/// macOS keeps all of an application's files in one place and has no runtime folder.
#[cfg(target_os = "macos")]
fn platform_defaults(home: Option<PathBuf>, _path: &impl Fn(&str) -> Option<PathBuf>) -> DefaultFolders {
    let support = home.map(|home| home.join("Library/Application Support/regauth"));
    DefaultFolders {
        config: support.clone(),
        state: support.as_ref().map(|folder| folder.join("state")),
        run: support.map(|folder| folder.join("run")),
    }
}

/// XDG base directories. Without a runtime folder (a bare SSH session, a container), the state folder holds the socket.
#[cfg(not(target_os = "macos"))]
fn platform_defaults(home: Option<PathBuf>, path: &impl Fn(&str) -> Option<PathBuf>) -> DefaultFolders {
    let under = |variable: &str, default: &str| {
        path(variable)
            .or_else(|| home.as_ref().map(|home| home.join(default)))
            .map(|base| base.join("regauth"))
    };
    let state = under("XDG_STATE_HOME", ".local/state");
    let run = path("XDG_RUNTIME_DIR").map(|base| base.join("regauth"));
    DefaultFolders {
        config: under("XDG_CONFIG_HOME", ".config"),
        run: run.or_else(|| state.as_ref().map(|folder| folder.join("run"))),
        state,
    }
}

/// Error of an environment without any home for the files.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no folder for regauth's files: neither --home nor REGAUTH_HOME nor HOME is set; set REGAUTH_HOME to a folder")]
pub struct NoHome;

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(home: Option<&str>, variables: &[(&str, &str)]) -> Result<Folders, NoHome> {
        Folders::resolve(home.map(Path::new), |name| {
            variables
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| OsString::from(value))
        })
    }

    #[test]
    fn home_puts_everything_below_one_folder() {
        let folders = resolve(Some("/x"), &[("REGAUTH_HOME", "/y"), ("HOME", "/z")]).unwrap();
        assert_eq!(folders.config_file(), Path::new("/x/config.toml"));
        assert_eq!(folders.bundle(), Path::new("/x/state/ca-bundle.pem"));
        assert_eq!(folders.bundle_folder(), Path::new("/x/state/bundle"));
        assert_eq!(folders.socket(), Path::new("/x/run/control.sock"));
        assert_eq!(
            resolve(None, &[("REGAUTH_HOME", "/y")]).unwrap(),
            Folders::below(Path::new("/y"))
        );
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn systemd_variables_take_precedence_over_xdg_and_xdg_over_home() {
        let folders = resolve(
            None,
            &[("HOME", "/h"), ("XDG_CONFIG_HOME", "/c"), ("STATE_DIRECTORY", "/s")],
        )
        .unwrap();
        assert_eq!(folders.config, Path::new("/c/regauth"));
        assert_eq!(folders.state, Path::new("/s"));
        assert_eq!(folders.run, Path::new("/h/.local/state/regauth/run"));
        assert_eq!(resolve(None, &[]), Err(NoHome));
    }

    #[test]
    fn regauth_bundle_moves_the_bundle_whatever_the_home_is() {
        let elsewhere = ("REGAUTH_BUNDLE", "/b/ca-bundle.pem");
        for (home, variable) in [(None, "REGAUTH_HOME"), (None, "HOME"), (Some("/x"), "HOME")] {
            let folders = resolve(home, &[elsewhere, (variable, "/y")]).unwrap();
            assert_eq!(folders.bundle(), Path::new("/b/ca-bundle.pem"));
            assert_eq!(folders.bundle_folder(), Path::new("/b"));
        }
    }
}
