//! Programs that run to their end, such as cargo, git, curl, regauthctl and secret-tool. They get a clean environment. A
//! program that hangs fails the test with its output.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use crate::poll;
use crate::process::{kill_group, stdin};

/// Command with a clean environment: `PATH` and this `HOME`, but no proxy, CA file or token of this machine.
pub fn command(program: impl AsRef<OsStr>, home: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", path())
        .env("HOME", home)
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_TERMINAL_PROMPT", "0")
        // rustup in front of cargo would download a toolchain into the home.
        .env("RUSTUP_AUTO_INSTALL", "0");
    command
}

/// Writes a script that the user may run, and everybody else too.
///
/// Another process writes it. A process that some other thread of this one is just starting holds every file that is open
/// here, and Linux refuses to run a file that is open for writing ("Text file busy").
///
/// # Panics
/// When it cannot be written.
pub fn write_program(file: &Path, script: impl AsRef<[u8]>) {
    run_with_input(&mut install(Path::new("/dev/stdin"), file), script).succeeds();
}

/// Copies a program, as [`write_program`] does.
///
/// # Panics
/// When it cannot be copied.
pub fn copy_program(from: &Path, to: &Path) {
    run(&mut install(from, to)).succeeds();
}

fn install(from: &Path, to: &Path) -> Command {
    let mut install = command("install", Path::new("/"));
    install.args(["-D", "-m", "755"]).args([from, to]);
    install
}

/// Command that runs its arguments as another user of this machine; needs root.
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

/// Running program.
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
            command: command_line(command),
            child: Some(child),
            stdout,
            stderr,
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// True while the program runs.
    pub fn is_running(&mut self) -> bool {
        self.child.as_mut().unwrap().try_wait().unwrap().is_none()
    }

    /// Waits until the program exits.
    ///
    /// # Panics
    /// After two minutes; the message has its output.
    pub fn finish(mut self) -> Output {
        let child = self.child.as_mut().unwrap();
        let ended = poll::within(RUN_TIMEOUT, || child.try_wait().unwrap());
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
            None => panic!(
                "still running after {RUN_TIMEOUT:?}: {}",
                output(ExitStatus::from_raw(9)).report()
            ),
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

/// Exit status and output of a program.
#[derive(Clone, Debug)]
pub struct Output {
    /// Command line, for messages.
    pub command: String,
    /// Exit status.
    pub status: ExitStatus,
    /// Standard output; bytes that are no UTF-8 are replaced.
    pub stdout: String,
    /// Standard error; bytes that are no UTF-8 are replaced.
    pub stderr: String,
}

impl Output {
    /// Asserts that the program succeeded.
    ///
    /// # Panics
    /// When it failed; the message has its output.
    #[track_caller]
    pub fn succeeds(self) -> Self {
        assert!(self.status.success(), "should have succeeded: {}", self.report());
        self
    }

    /// Asserts that the program failed.
    ///
    /// # Panics
    /// When it succeeded; the message has its output.
    #[track_caller]
    pub fn fails(self) -> Self {
        assert!(!self.status.success(), "should have failed: {}", self.report());
        self
    }

    /// Asserts that stdout or stderr contains `text`.
    ///
    /// # Panics
    /// When neither does; the message has the output.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        let is_printed = self.stdout.contains(text) || self.stderr.contains(text);
        assert!(is_printed, "should have printed {text:?}: {}", self.report());
        self
    }

    /// Command line, exit status and output as one text.
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

/// `PATH` with the folders of servers, which are missing from the `PATH` of other users than root.
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

fn command_line(command: &Command) -> String {
    let words: Vec<_> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .collect();
    words.join(OsStr::new(" ")).to_string_lossy().into_owned()
}

const RUN_TIMEOUT: Duration = Duration::from_secs(120);
