//! One command of the demo: printed as a shell line, run in the sandbox's environment, with its output printed.
//!
//! A token goes to the command's stdin only. Dropping a running command kills its process group.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::sandbox::Sandbox;

/// Path of the cargo that runs this program, or else `cargo` in `PATH`.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// Command with its arguments, folder and stdin.
pub(crate) struct ShellCommand {
    program: PathBuf,
    name: String,
    arguments: Vec<String>,
    folder: PathBuf,
    token: Option<(&'static str, String)>,
}

impl ShellCommand {
    /// Creates a `cargo` command in a folder.
    pub(crate) fn cargo(folder: &Path, arguments: &str) -> Self {
        Self::new(Path::new(&cargo()), folder, arguments)
    }

    /// Creates a command in a folder. Blanks separate the arguments.
    pub(crate) fn new(program: &Path, folder: &Path, arguments: &str) -> Self {
        let name = program.file_name().unwrap_or(OsStr::new("?")).to_string_lossy();
        Self {
            program: program.to_path_buf(),
            name: name.into_owned(),
            arguments: arguments.split_whitespace().map(str::to_owned).collect(),
            folder: folder.to_path_buf(),
            token: None,
        }
    }

    /// Pipes a token to stdin. The printed line has the name of a shell variable instead of the token.
    #[must_use]
    pub(crate) fn token(mut self, variable: &'static str, token: &str) -> Self {
        self.token = Some((variable, token.to_owned()));
        self
    }

    /// Prints the command, runs it and prints its output.
    pub(crate) async fn run(self, sandbox: &mut Sandbox) -> anyhow::Result<CommandResult> {
        sandbox.terminal.command(&sandbox.shorten(&self.line()))?;
        let result = self.run_silently(sandbox).await?;
        sandbox.terminal.output(&sandbox.shorten(&result.printed))?;
        Ok(CommandResult { shown: true, ..result })
    }

    /// Runs the command without printing anything.
    pub(crate) async fn run_silently(self, sandbox: &mut Sandbox) -> anyhow::Result<CommandResult> {
        let started = Instant::now();
        let output = tokio::time::timeout(COMMAND_TIMEOUT, self.wait_with_output(sandbox))
            .await
            .with_context(|| format!("`{}` did not exit within {} s", self.line(), COMMAND_TIMEOUT.as_secs()))?
            .with_context(|| format!("cannot run `{}`", self.line()))?;
        let texts = [&output.stderr, &output.stdout].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let result = CommandResult {
            line: self.line(),
            success: output.status.success(),
            stdout: texts.last().cloned().unwrap_or_default(),
            printed: texts.concat(),
            duration: started.elapsed(),
            shown: false,
        };
        sandbox.append_to_transcript(&result.printed);
        Ok(result)
    }

    async fn wait_with_output(&self, sandbox: &Sandbox) -> std::io::Result<Output> {
        let mut child = self.spawn(sandbox)?;
        let group = ProcessGroup::of(&child);
        if let (Some(mut input), Some((_, token))) = (child.stdin.take(), &self.token) {
            input.write_all(token.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        group.mark_exited();
        Ok(output)
    }

    /// Starts the command in its own process group, so that Ctrl-C reaches only the demo, which then stops the command.
    fn spawn(&self, sandbox: &Sandbox) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(sandbox.environment().iter().map(|(name, value)| (name, value)))
            .stdin(if self.token.is_some() {
                Stdio::piped()
            } else {
                Stdio::null()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
    }

    fn line(&self) -> String {
        let words: Vec<&str> = std::iter::once(self.name.as_str())
            .chain(self.arguments.iter().map(String::as_str))
            .collect();
        match &self.token {
            Some((variable, _)) => format!("printf %s \"${variable}\" | {}", words.join(" ")),
            None => words.join(" "),
        }
    }
}

/// Result of a command that exited.
pub(crate) struct CommandResult {
    line: String,
    /// True if the exit code is 0.
    pub(crate) success: bool,
    /// Text on stdout.
    pub(crate) stdout: String,
    /// Text on stderr, then text on stdout.
    pub(crate) printed: String,
    /// Time from start to exit.
    pub(crate) duration: Duration,
    shown: bool,
}

impl CommandResult {
    /// Turns a failed command into an error. The error contains the output unless [`ShellCommand::run`] printed it.
    pub(crate) fn ok(self) -> anyhow::Result<Self> {
        ensure!(self.success || !self.shown, "`{}` failed", self.line);
        ensure!(self.success, "`{}` failed:\n{}", self.line, self.printed.trim_end());
        Ok(self)
    }
}

/// Process group of a running command and its children (cargo's rustc). Dropping it kills the group.
struct ProcessGroup(Option<Pid>);

impl ProcessGroup {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// Prevents the kill on drop: after the exit, the kernel may give the id to another process.
    fn mark_exited(mut self) {
        self.0 = None;
    }
}

impl Drop for ProcessGroup {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Limit for one command. The builds take less on a slow machine.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);
