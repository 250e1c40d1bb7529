//! Private daemon for one command: below a temporary folder, secrets in memory, on a free port.
//!
//! The daemon cannot outlive this process. It ends, and removes its files and folder, when its standard input closes, and
//! the kernel closes that pipe however this process dies.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, ErrorKind, Secret};

use crate::client::Client;
use crate::{error, program};

/// Running private daemon. Dropping it ends the daemon and removes its folder.
#[derive(Debug)]
pub(crate) struct EphemeralDaemon {
    /// Folders of the daemon.
    pub(crate) folders: Folders,
    home: PathBuf,
    child: Child,
    /// The daemon ends when this pipe closes.
    stdin: Option<ChildStdin>,
}

impl EphemeralDaemon {
    /// Starts a daemon without the variables `removed` in its environment, and waits until it answers. The daemon takes
    /// the variables `secrets` out of its environment when it starts.
    ///
    /// # Errors
    /// There is no regauthd or no usable temporary folder, or the daemon does not start; its log gives the reason.
    pub(crate) fn start(removed: &[OsString], secrets: &[(&String, &Secret)]) -> Result<Self, ErrorBody> {
        let program = program::regauthd().ok_or_else(|| {
            error::failed("there is no regauthd next to regauthctl or in PATH")
                .hint("install both programs of the same release")
        })?;
        let home = temporary_folder()?;
        let mut command = command(&program, &home, removed);
        for (name, secret) in secrets {
            command.args(["--secret-variable", name]).env(name, secret.expose());
        }
        let mut child = command.spawn().map_err(|why| {
            let _ = fs::remove_dir_all(&home);
            error::failed(format!("cannot start {}: {why}", program.display()))
        })?;
        let stdin = child.stdin.take();
        let mut daemon = Self {
            folders: Folders::below(&home),
            home,
            child,
            stdin,
        };
        daemon.wait_until_ready()?;
        Ok(daemon)
    }

    /// Client of this daemon.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.folders)
    }

    fn wait_until_ready(&mut self) -> Result<(), ErrorBody> {
        let deadline = Instant::now() + START_TIMEOUT;
        let client = self.client();
        loop {
            match client.ping() {
                Ok(()) => return Ok(()),
                Err(error) if error.kind != ErrorKind::Unreachable || Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(error::failed(format!("the private regauthd did not start: {status}"))
                    .hint("see its messages above"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    fn wait_for_exit(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + EXIT_TIMEOUT;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(POLL_INTERVAL),
                Ok(Some(status)) => return Some(status),
                Err(_) => return None,
            }
        }
        None
    }
}

impl Drop for EphemeralDaemon {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if self.wait_for_exit().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // The daemon has removed it already, unless it was killed.
        let _ = fs::remove_dir_all(&self.home);
    }
}

fn command(program: &Path, home: &Path, removed: &[OsString]) -> Command {
    let mut command = Command::new(program);
    command
        .arg("--home")
        .arg(home)
        .args(["--listen", "127.0.0.1:0", "--store", "memory"])
        .args(["--ephemeral", "--until-eof", "--home-is-temporary"])
        .stdin(Stdio::piped())
        // regauthd's stdout is not the wrapped command's output.
        .stdout(Stdio::null())
        // Ctrl-C at a terminal is meant for the wrapped command, which may need the proxy while it ends.
        .process_group(0)
        // The bundle belongs to this daemon alone, so it may not go to the path that the variable names.
        .env_remove("REGAUTH_BUNDLE");
    if std::env::var_os("REGAUTH_LOG").is_none() {
        command.env("REGAUTH_LOG", "warn");
    }
    for variable in removed {
        command.env_remove(variable);
    }
    command
}

/// Makes a temporary folder in the first location that allows it: containers have read-only roots, and the path of a
/// socket is limited in length.
fn temporary_folder() -> Result<PathBuf, ErrorBody> {
    let from_environment = ["TMPDIR", "XDG_RUNTIME_DIR"].map(|variable| std::env::var_os(variable).map(PathBuf::from));
    let fixed = ["/dev/shm", "/tmp", "/var/tmp"].map(PathBuf::from);
    let mut parents = from_environment.into_iter().flatten().chain(fixed);
    let folder = parents.find_map(|parent| {
        let fits = parent.is_absolute() && parent.as_os_str().len() <= MAX_PARENT_LENGTH;
        fits.then(|| make_folder_in(&parent)).flatten()
    });
    folder.ok_or_else(|| {
        error::failed("no temporary folder can be made").hint("set TMPDIR to a folder that can be written to")
    })
}

fn make_folder_in(parent: &Path) -> Option<PathBuf> {
    let mut folder = tempfile::Builder::new();
    folder.prefix("regauth-").permissions(fs::Permissions::from_mode(0o700));
    Some(folder.tempdir_in(parent).ok()?.keep())
}

const START_TIMEOUT: Duration = Duration::from_secs(10);
const EXIT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(1);
/// In bytes. `sun_path` has 104 on macOS; `/regauth-XXXXXX/run/control.sock` needs 33 of them.
const MAX_PARENT_LENGTH: usize = 70;
