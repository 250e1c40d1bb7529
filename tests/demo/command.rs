//! One command of the story: shown as a person would type it, run in the clean environment, its output shown.
//!
//! A token goes to a command's stdin and nowhere else. A command that is dropped half-way takes its children with it.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

use crate::stage::Stage;

/// The cargo that runs this program, or the one on the path.
pub(crate) fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

/// A command that a person might type.
pub(crate) struct Typed {
    program: PathBuf,
    name: String,
    arguments: Vec<String>,
    folder: PathBuf,
    token: Option<(&'static str, String)>,
}

impl Typed {
    /// `cargo …` in a folder.
    pub(crate) fn cargo(folder: &Path, arguments: &str) -> Self {
        Self::new(Path::new(&cargo()), folder, arguments)
    }

    /// A program in a folder, with arguments that are separated by blanks.
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

    /// Pipes a token in; the story shows the name of a shell variable in its place.
    #[must_use]
    pub(crate) fn token(mut self, variable: &'static str, token: &str) -> Self {
        self.token = Some((variable, token.to_owned()));
        self
    }

    /// Shows the command, runs it, shows what it printed.
    pub(crate) async fn run(self, stage: &mut Stage) -> anyhow::Result<Ran> {
        stage.telling.command(&stage.shortened(&self.line()))?;
        let ran = self.run_unseen(stage).await?;
        stage.telling.output(&stage.shortened(&ran.printed))?;
        Ok(Ran { shown: true, ..ran })
    }

    /// Runs the command without a word.
    pub(crate) async fn run_unseen(self, stage: &mut Stage) -> anyhow::Result<Ran> {
        let started = Instant::now();
        let finished = tokio::time::timeout(PATIENCE, self.finish(stage));
        let output = finished
            .await
            .with_context(|| format!("`{}` did not end within {} s", self.line(), PATIENCE.as_secs()))?
            .with_context(|| format!("`{}` could not be run", self.line()))?;
        let texts = [&output.stderr, &output.stdout].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        let ran = Ran {
            line: self.line(),
            success: output.status.success(),
            stdout: texts.last().cloned().unwrap_or_default(),
            printed: texts.concat(),
            took: started.elapsed(),
            shown: false,
        };
        stage.remember(&ran.printed);
        Ok(ran)
    }

    async fn finish(&self, stage: &Stage) -> std::io::Result<Output> {
        let mut child = self.spawn(stage)?;
        let group = Group::of(&child);
        if let (Some(mut input), Some((_, token))) = (child.stdin.take(), &self.token) {
            input.write_all(token.as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        group.has_ended();
        Ok(output)
    }

    /// In a process group of its own: a Ctrl-C reaches the demo first, which then ends everything in order.
    fn spawn(&self, stage: &Stage) -> std::io::Result<Child> {
        Command::new(&self.program)
            .args(&self.arguments)
            .current_dir(&self.folder)
            .env_clear()
            .envs(stage.environment().iter().map(|(name, value)| (name, value)))
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

/// What a command did.
pub(crate) struct Ran {
    line: String,
    /// Whether it exited with 0.
    pub(crate) success: bool,
    /// Its stdout.
    pub(crate) stdout: String,
    /// Its stderr and its stdout.
    pub(crate) printed: String,
    /// From start to end.
    pub(crate) took: Duration,
    shown: bool,
}

impl Ran {
    /// The same, or an error that says what the command printed, unless that stands above already.
    pub(crate) fn ok(self) -> anyhow::Result<Self> {
        ensure!(self.success || !self.shown, "`{}` failed", self.line);
        ensure!(self.success, "`{}` failed:\n{}", self.line, self.printed.trim_end());
        Ok(self)
    }
}

/// A running command and its children (cargo's rustc); killed when dropped before its end.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }

    /// From here on the number may be another process's.
    fn has_ended(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.0 {
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

/// Longer than any of these builds takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);
