//! The stage: one folder for everything, and the clean environment that every process of the story gets.
//!
//! Nothing of the person's own set-up takes part: no proxy, no CA, no cargo or git configuration, no credential. In
//! particular a `NO_PROXY` that names localhost would send cargo past regauthd.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::telling::Telling;

/// Where the story happens. Dropping it removes the folder.
pub(crate) struct Stage {
    pub(crate) telling: Telling,
    folder: Folder,
    environment: Vec<(OsString, OsString)>,
    transcript: String,
}

impl Stage {
    /// An empty folder and a clean environment.
    pub(crate) fn set(telling: Telling) -> anyhow::Result<Self> {
        let folder = Folder::create().context("no folder for temporary files")?;
        for name in ["home", "cargo-home", "project"] {
            fs::create_dir(folder.0.join(name))?;
        }
        Ok(Self {
            telling,
            environment: environment(&folder.0),
            folder,
            transcript: String::new(),
        })
    }

    /// The folder that the story calls `$DEMO`.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// `CARGO_HOME`.
    pub(crate) fn cargo_home(&self) -> PathBuf {
        self.folder.0.join("cargo-home")
    }

    /// The project that a person builds.
    pub(crate) fn project(&self) -> PathBuf {
        self.folder.0.join("project")
    }

    /// `REGAUTH_HOME`.
    pub(crate) fn regauth_home(&self) -> PathBuf {
        self.folder.0.join("regauth")
    }

    /// The registry's CA certificate, as a company hands it to its people.
    pub(crate) fn company_ca(&self) -> PathBuf {
        self.folder.0.join("company-ca.pem")
    }

    /// All that regauthd prints.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.0.join("regauthd.log")
    }

    /// The last lines of regauthd's log; empty when there is none.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines
            .iter()
            .rev()
            .take(12)
            .rev()
            .copied()
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The variables that every process of the story gets, and no others.
    pub(crate) fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// Everything that the commands have printed so far.
    pub(crate) fn transcript(&self) -> &str {
        &self.transcript
    }

    /// Adds what a command printed.
    pub(crate) fn remember(&mut self, output: &str) {
        self.transcript.push_str(output);
    }

    /// A text with the folder's long name replaced by `$DEMO`.
    pub(crate) fn shortened(&self, text: &str) -> String {
        text.replace(&self.folder.0.to_string_lossy().into_owned(), "$DEMO")
    }
}

fn environment(folder: &Path) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = KEPT
        .iter()
        .filter_map(|name| Some((OsString::from(name), std::env::var_os(name)?)))
        .collect();
    let mut set = |name: &str, value: PathBuf| variables.push((name.into(), value.into()));
    set("HOME", folder.join("home"));
    set("CARGO_HOME", folder.join("cargo-home"));
    set("REGAUTH_HOME", folder.join("regauth"));
    if let Some(rustup) = rustup_home() {
        set("RUSTUP_HOME", rustup);
    }
    // The toolchain's own rustc: a shim of a version manager would look for its files in the person's home.
    let rustc = Path::new(&crate::command::cargo()).with_file_name("rustc");
    if rustc.is_file() {
        set("RUSTC", rustc);
    }
    variables
}

/// Where rustup keeps toolchains, which must go on working although `HOME` is another.
fn rustup_home() -> Option<PathBuf> {
    let usual = || Some(Path::new(&std::env::var_os("HOME")?).join(".rustup"));
    let given = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    given.or_else(usual).filter(|folder| folder.is_dir())
}

/// A folder that is removed when dropped, even while a killed process still writes its last file.
struct Folder(PathBuf);

impl Folder {
    /// Below the platform's temporary folder, or `/tmp` where that name is too long for a Unix socket.
    fn create() -> io::Result<Self> {
        // cargo prints the real path; on macOS the temporary folder is behind a link.
        let usual = std::env::temp_dir().canonicalize()?;
        let too_long =
            usual.as_os_str().len() + PREFIX.len() + "XXXXXX/regauth/run/control.sock".len() > MAX_SOCKET_PATH;
        let base = if too_long { PathBuf::from("/tmp") } else { usual };
        let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(base)?;
        Ok(Self(folder.keep()))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        for _ in 0..40 {
            match fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(Duration::from_millis(50)),
                _ => return,
            }
        }
    }
}

const PREFIX: &str = "regauth-demo-";

/// `sun_path` has 104 bytes on macOS and 108 on Linux, one of them for the final NUL.
const MAX_SOCKET_PATH: usize = 100;

/// What a compiler, a linker and a terminal need. No proxy, certificate or credential variable is among them.
const KEPT: &[&str] = &[
    "PATH",
    "TMPDIR",
    "LANG",
    "LC_ALL",
    "USER",
    "LOGNAME",
    "RUSTUP_TOOLCHAIN",
    "RUSTUP_AUTO_INSTALL",
    "SDKROOT",
    "DEVELOPER_DIR",
    "LIBRARY_PATH",
];
