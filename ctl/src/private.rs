//! A private, throw-away daemon: below a temporary folder, secrets in memory, on a free port. It cannot outlive us: it
//! ends, and removes its folder, when the pipe on its standard input closes, and that the kernel does whatever we die of.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, ErrorKind};

use crate::client::Client;
use crate::error;
use crate::program::{beside_us, on_path};

/// A running private daemon. Dropping it ends it and removes its folder.
#[derive(Debug)]
pub(crate) struct Private {
    /// Its folders.
    pub(crate) folders: Folders,
    home: PathBuf,
    child: Child,
    leash: Option<ChildStdin>,
}

impl Private {
    /// Starts one that does not have these variables in its environment, and waits until it greets.
    ///
    /// # Errors
    /// There is no regauthd, no place for its folder, or it does not start; its log says why.
    pub(crate) fn start(without: &[OsString]) -> Result<Self, ErrorBody> {
        let program = regauthd()?;
        let home = temporary_folder()?;
        let mut command = Command::new(&program);
        command
            .arg("--home")
            .arg(&home)
            .args([
                "--listen",
                "127.0.0.1:0",
                "--store",
                "memory",
                "--ephemeral",
                "--until-eof",
            ])
            .stdin(Stdio::piped())
            // Ctrl-C at a terminal is meant for the command, which may want to use the daemon while it ends.
            .process_group(0);
        // What regauthd says on stdout or logs as usual is not the command's output.
        command.stdout(Stdio::null());
        if std::env::var_os("REGAUTH_LOG").is_none() {
            command.env("REGAUTH_LOG", "warn");
        }
        // Its bundle is for the command alone.
        command.env_remove("REGAUTH_BUNDLE");
        for variable in without {
            command.env_remove(variable);
        }
        let mut child = command.spawn().map_err(|why| {
            let _ = fs::remove_dir_all(&home);
            error::failed(format!("cannot start {}: {why}", program.display()))
        })?;
        let leash = child.stdin.take();
        let mut private = Self {
            folders: Folders::below(&home),
            home,
            child,
            leash,
        };
        private.wait_until_ready()?;
        Ok(private)
    }

    /// Who asks it.
    pub(crate) fn client(&self) -> Client {
        Client::new(&self.folders)
    }

    fn wait_until_ready(&mut self) -> Result<(), ErrorBody> {
        let deadline = Instant::now() + PATIENCE;
        let client = self.client();
        loop {
            match client.greet() {
                Ok(()) => return Ok(()),
                Err(error) if error.kind != ErrorKind::Unreachable || Instant::now() > deadline => return Err(error),
                Err(_) => {}
            }
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(error::failed(format!("the private regauthd did not start: {status}"))
                    .hint("what it said stands above"));
            }
            std::thread::sleep(STEP);
        }
    }

    fn wait(&mut self) -> Option<ExitStatus> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(STEP),
                Ok(Some(status)) => return Some(status),
                Err(_) => return None,
            }
        }
        None
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        drop(self.leash.take());
        if self.wait().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // It does so itself, unless it was killed.
        let _ = fs::remove_dir_all(&self.home);
    }
}

/// Beside us, as every package puts it; else on the PATH.
fn regauthd() -> Result<PathBuf, ErrorBody> {
    let beside = beside_us("regauthd").filter(|program| program.is_file());
    beside.or_else(|| on_path("regauthd")).ok_or_else(|| {
        error::failed("there is no regauthd beside regauthctl or on the PATH").hint("install both, of one release")
    })
}

/// In the first place that takes it: containers have read-only roots, and a socket's path may not be long.
fn temporary_folder() -> Result<PathBuf, ErrorBody> {
    let given = std::env::var_os("TMPDIR").map(PathBuf::from);
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let usual = ["/dev/shm", "/tmp", "/var/tmp"].map(PathBuf::from);
    let places = given.into_iter().chain(runtime).chain(usual);
    let mut places = places.filter(|place| place.is_absolute() && place.as_os_str().len() <= LONGEST);
    places.find_map(|place| folder_in(&place)).ok_or_else(|| {
        error::failed("there is no place for a temporary folder").hint("set TMPDIR to a folder that can be written to")
    })
}

fn folder_in(place: &Path) -> Option<PathBuf> {
    let mut folder = tempfile::Builder::new();
    folder.prefix("regauth-").permissions(fs::Permissions::from_mode(0o700));
    Some(folder.tempdir_in(place).ok()?.keep())
}

const PATIENCE: Duration = Duration::from_secs(10);
const STEP: Duration = Duration::from_millis(1);
/// `sun_path` has 104 bytes on macOS; `/regauth-XXXXXX/run/control.sock` needs 33 of them.
const LONGEST: usize = 70;
