//! Programs that run to their end: what cargo, git, curl, regauthctl and secret-tool have in common. They get a clean
//! environment, their output is kept, and one that hangs fails the test with what it said.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use crate::poll;
use crate::process::{kill_group, stdin};

/// A command with nothing of our environment but `PATH`, and `HOME` where it is told: no proxy, no CA file, no token
/// of this machine reaches it.
pub fn command(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", path())
        .env("HOME", home)
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0");
    command
}

/// What runs its arguments as another user of this machine, which takes root.
pub fn as_user(user: u32, home: &Path) -> Command {
    let mut setpriv = command("setpriv", home);
    setpriv.args([
        format!("--reuid={user}"),
        format!("--regid={user}"),
        "--clear-groups".to_owned(),
    ]);
    setpriv
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    RunningCommand::start(command, b"").finish()
}

/// Runs a command to its end with `input` on its stdin.
pub fn run_with_input(command: &mut Command, input: impl AsRef<[u8]>) -> Output {
    RunningCommand::start(command, input.as_ref()).finish()
}

/// A client that was started and has not been waited for.
#[derive(Debug)]
pub struct RunningCommand {
    command: String,
    child: Option<Child>,
    stdout: File,
    stderr: File,
}

impl RunningCommand {
    /// Starts a command with `input` on its stdin.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn start(command: &mut Command, input: &[u8]) -> Self {
        let [stdout, stderr] = [tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap()];
        let child = command
            .process_group(0)
            .stdin(stdin(input))
            .stdout(stdout.try_clone().unwrap())
            .stderr(stderr.try_clone().unwrap())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self {
            command: shown(command),
            child: Some(child),
            stdout,
            stderr,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it takes longer than two minutes; the message holds what it said.
    pub fn finish(mut self) -> Output {
        let child = self.child.as_mut().unwrap();
        let ended = poll::within(LIMIT, || child.try_wait().unwrap());
        let (stdout, stderr) = (contents(&mut self.stdout), contents(&mut self.stderr));
        let output = |status| Output {
            command: self.command.clone(),
            status,
            stdout,
            stderr,
        };
        match ended {
            Some(status) => {
                self.child = None;
                output(status)
            }
            None => panic!("hung for {LIMIT:?}: {}", output(ExitStatus::from_raw(9)).report()),
        }
    }
}

impl Drop for RunningCommand {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child
            && child.try_wait().unwrap().is_none()
        {
            kill_group(child);
            child.wait().unwrap();
        }
    }
}

/// How a client ended and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// The command line, for messages.
    pub command: String,
    /// Its exit status.
    pub status: ExitStatus,
    /// Its standard output, lossily as text.
    pub stdout: String,
    /// Its standard error, lossily as text.
    pub stderr: String,
}

impl Output {
    /// Passes a success through.
    ///
    /// # Panics
    /// With everything it said, when it failed.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert!(self.status.success(), "should have succeeded: {}", self.report());
        self
    }

    /// Passes a failure through.
    ///
    /// # Panics
    /// With everything it said, when it succeeded.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(!self.status.success(), "should have failed: {}", self.report());
        self
    }

    /// Passes through when stdout or stderr contains `text`.
    ///
    /// # Panics
    /// With everything it said, when it did not say that.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let said = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(said, "should have said {text:?}: {}", self.report());
        self
    }

    /// The command, its status and all output.
    pub fn report(&self) -> String {
        let Self {
            command,
            status,
            stdout,
            stderr,
        } = self;
        format!("{command}\n{status}\n--- stdout\n{stdout}\n--- stderr\n{stderr}")
    }
}

/// Ours, and the folders of servers, which are missing from the `PATH` of people who are not root.
pub(crate) fn path() -> OsString {
    let mut path = std::env::var_os("PATH").unwrap_or_default();
    path.push(":/usr/local/sbin:/usr/sbin:/sbin");
    path
}

fn contents(file: &mut File) -> String {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn shown(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

const LIMIT: Duration = Duration::from_secs(120);
