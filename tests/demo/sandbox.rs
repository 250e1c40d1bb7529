//! Sandbox of the demo: one temporary folder and a clean environment for every process.
//!
//! The user's own proxy, CA, cargo and git configuration and credentials do not reach the processes. In particular, a
//! `NO_PROXY` that names localhost would make cargo bypass regauthd.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;

use crate::terminal::Terminal;

/// Temporary folder, environment and output of the demo. Dropping it removes the folder.
pub(crate) struct Sandbox {
    pub(crate) terminal: Terminal,
    folder: Folder,
    environment: Vec<(OsString, OsString)>,
    transcript: String,
}

impl Sandbox {
    /// Creates the folder and computes the environment.
    pub(crate) fn create(terminal: Terminal) -> anyhow::Result<Self> {
        let folder = Folder::create().context("cannot create a temporary folder")?;
        for name in ["home", "cargo-home", "project"] {
            fs::create_dir(folder.0.join(name))?;
        }
        Ok(Self {
            terminal,
            environment: environment(&folder.0),
            folder,
            transcript: String::new(),
        })
    }

    /// Temporary folder, shown as `$DEMO`.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder.0
    }

    /// Folder in `CARGO_HOME`.
    pub(crate) fn cargo_home(&self) -> PathBuf {
        self.folder.0.join("cargo-home")
    }

    /// Folder of the project that the demo builds.
    pub(crate) fn project(&self) -> PathBuf {
        self.folder.0.join("project")
    }

    /// Folder in `REGAUTH_HOME`.
    pub(crate) fn regauth_home(&self) -> PathBuf {
        self.folder.0.join("regauth")
    }

    /// File with the company's CA certificate, as a company gives it to its employees.
    pub(crate) fn company_ca(&self) -> PathBuf {
        self.folder.0.join("company-ca.pem")
    }

    /// File with everything that regauthd prints.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.0.join("regauthd.log")
    }

    /// Last twelve lines of regauthd's log, or an empty string without a log.
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

    /// Complete environment of every process in the demo.
    pub(crate) fn environment(&self) -> &[(OsString, OsString)] {
        &self.environment
    }

    /// Output of all commands so far.
    pub(crate) fn transcript(&self) -> &str {
        &self.transcript
    }

    /// Appends the output of a command to the transcript.
    pub(crate) fn append_to_transcript(&mut self, output: &str) {
        self.transcript.push_str(output);
    }

    /// Replaces the path of the temporary folder by `$DEMO`.
    pub(crate) fn shorten(&self, text: &str) -> String {
        text.replace(&self.folder.0.to_string_lossy().into_owned(), "$DEMO")
    }
}

fn environment(folder: &Path) -> Vec<(OsString, OsString)> {
    let mut variables: Vec<(OsString, OsString)> = INHERITED
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
    // The toolchain's own rustc: the shim of a version manager would read files in the user's home.
    let rustc = Path::new(&crate::command::cargo()).with_file_name("rustc");
    if rustc.is_file() {
        set("RUSTC", rustc);
    }
    variables
}

/// Folder of rustup's toolchains. rustup would not find it, since `HOME` is another folder in the sandbox.
fn rustup_home() -> Option<PathBuf> {
    let default = || Some(Path::new(&std::env::var_os("HOME")?).join(".rustup"));
    let given = std::env::var_os("RUSTUP_HOME").map(PathBuf::from);
    given.or_else(default).filter(|folder| folder.is_dir())
}

/// Temporary folder. Dropping it removes the folder and retries for 2 s, while killed processes write their last files.
struct Folder(PathBuf);

impl Folder {
    /// Creates it in the platform's temporary folder, or in `/tmp` if that path is too long for a Unix socket.
    fn create() -> io::Result<Self> {
        // cargo prints the real path. On macOS, the path of the temporary folder contains a symlink.
        let default = std::env::temp_dir().canonicalize()?;
        let too_long =
            default.as_os_str().len() + PREFIX.len() + "XXXXXX/regauth/run/control.sock".len() > MAX_SOCKET_PATH;
        let base = if too_long { PathBuf::from("/tmp") } else { default };
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

/// Variables that a compiler, a linker and a terminal need. None of them sets a proxy, a certificate or a credential.
const INHERITED: &[&str] = &[
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
