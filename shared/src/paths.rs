//! Where the files lie, given what the environment says. No I/O: the variables come in as a function.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The folders of one regauth installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Folders {
    /// Holds `config.toml`.
    pub config: PathBuf,
    /// Holds the bundle, the vault, the state.
    pub state: PathBuf,
    /// Holds the control socket.
    pub run: PathBuf,
    /// Where clients find the bundle, when that is not with the state: those of other users may not enter it.
    pub published: Option<PathBuf>,
    /// The home that was asked for, when one was.
    pub home: Option<PathBuf>,
}

impl Folders {
    /// Everything below one folder: `--home` or `REGAUTH_HOME`.
    pub fn below(home: &Path) -> Self {
        Self {
            config: home.to_path_buf(),
            state: home.join("state"),
            run: home.join("run"),
            published: None,
            home: Some(home.to_path_buf()),
        }
    }

    /// Those of the machine's own daemon, as the system's service manager runs it. Only the socket is for others to see.
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

    /// The folders by `--home`, `REGAUTH_HOME`, systemd's variables, then the platform's custom. `REGAUTH_BUNDLE` is the
    /// bundle's place, where it is not the state folder.
    ///
    /// # Errors
    /// [`NoHome`] when not even `HOME` is set.
    pub fn resolve(home: Option<&Path>, variable: impl Fn(&str) -> Option<OsString>) -> Result<Self, NoHome> {
        let path = |name: &str| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let published = path("REGAUTH_BUNDLE");
        if let Some(home) = home.map(Path::to_path_buf).or_else(|| path("REGAUTH_HOME")) {
            return Ok(Self {
                published,
                ..Self::below(&home)
            });
        }
        let base = platform(path("HOME"), &path);
        let pick = |given: Option<PathBuf>, usual: Option<PathBuf>| given.or(usual).ok_or(NoHome);
        Ok(Self {
            config: pick(path("CONFIGURATION_DIRECTORY"), base.config)?,
            state: pick(path("STATE_DIRECTORY"), base.state)?,
            run: pick(path("RUNTIME_DIRECTORY"), base.run)?,
            published,
            home: None,
        })
    }

    /// The configuration.
    pub fn config_file(&self) -> PathBuf {
        self.config.join("config.toml")
    }

    /// The system's roots plus our authorities, for clients.
    pub fn bundle(&self) -> PathBuf {
        let beside = || self.state.join("ca-bundle.pem");
        self.published.clone().unwrap_or_else(beside)
    }

    /// The same for Java, which reads no PEM file; beside it.
    pub fn java_trust_store(&self) -> PathBuf {
        self.bundle().with_extension("jks")
    }

    /// The encrypted vault.
    pub fn vault(&self) -> PathBuf {
        self.state.join("vault.age")
    }

    /// The vault's key, where a file is what protects it.
    pub fn vault_identity(&self) -> PathBuf {
        self.state.join("vault-identity.txt")
    }

    /// The vault's key under a passphrase.
    pub fn vault_identity_sealed(&self) -> PathBuf {
        self.state.join("vault-identity.age")
    }

    /// What the daemon remembers: store, generations, authorities. No secret.
    pub fn ledger(&self) -> PathBuf {
        self.state.join("ledger.json")
    }

    /// The grants, hashed.
    pub fn grants(&self) -> PathBuf {
        self.state.join("grants.json")
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("control.sock")
    }

    /// The lock that says which daemon owns the socket.
    pub fn lock(&self) -> PathBuf {
        self.run.join("daemon.lock")
    }
}

struct Usual {
    config: Option<PathBuf>,
    state: Option<PathBuf>,
    run: Option<PathBuf>,
}

/// macOS keeps all of an application's files in one place and has no runtime folder.
#[cfg(target_os = "macos")]
fn platform(home: Option<PathBuf>, _path: &impl Fn(&str) -> Option<PathBuf>) -> Usual {
    let support = home.map(|home| home.join("Library/Application Support/regauth"));
    Usual {
        config: support.clone(),
        state: support.as_ref().map(|folder| folder.join("state")),
        run: support.map(|folder| folder.join("run")),
    }
}

/// The XDG base directories; without a runtime folder (a bare SSH session, a container) the state folder serves.
#[cfg(not(target_os = "macos"))]
fn platform(home: Option<PathBuf>, path: &impl Fn(&str) -> Option<PathBuf>) -> Usual {
    let under = |variable: &str, usual: &str| {
        path(variable)
            .or_else(|| home.as_ref().map(|home| home.join(usual)))
            .map(|base| base.join("regauth"))
    };
    let state = under("XDG_STATE_HOME", ".local/state");
    let run = path("XDG_RUNTIME_DIR").map(|base| base.join("regauth"));
    Usual {
        config: under("XDG_CONFIG_HOME", ".config"),
        run: run.or_else(|| state.as_ref().map(|folder| folder.join("run"))),
        state,
    }
}

/// There is no place for the files.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither --home, REGAUTH_HOME nor HOME says where regauth's files are; set REGAUTH_HOME to a folder")]
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
    fn a_home_puts_everything_below_one_folder() {
        let folders = resolve(Some("/x"), &[("REGAUTH_HOME", "/y"), ("HOME", "/z")]).unwrap();
        assert_eq!(folders.config_file(), Path::new("/x/config.toml"));
        assert_eq!(folders.bundle(), Path::new("/x/state/ca-bundle.pem"));
        assert_eq!(folders.socket(), Path::new("/x/run/control.sock"));
        assert_eq!(
            resolve(None, &[("REGAUTH_HOME", "/y")]).unwrap(),
            Folders::below(Path::new("/y"))
        );
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn systemd_beats_xdg_beats_home() {
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
    fn the_bundle_can_be_published_elsewhere() {
        let elsewhere = ("REGAUTH_BUNDLE", "/b/ca-bundle.pem");
        for (home, variable) in [(None, "REGAUTH_HOME"), (None, "HOME"), (Some("/x"), "HOME")] {
            let folders = resolve(home, &[elsewhere, (variable, "/y")]).unwrap();
            assert_eq!(folders.bundle(), Path::new("/b/ca-bundle.pem"));
        }
    }
}
