//! Server processes: each in a process group of its own, with its output in a log file. Dropping one terminates it and
//! prints its log when the test failed. Programs that run to their end are in [`crate::exec`].

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::poll;

/// Running server process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    status: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` in a process group of its own and appends its output to the file `log`.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Self {
        Self::spawn_with_input(name, command, log, "")
    }

    /// Starts `command` with `input` on stdin.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn_with_input(name: &str, command: &mut Command, log: &Path, input: &str) -> Self {
        let output = File::options().create(true).append(true).open(log).unwrap();
        let child = command
            .process_group(0)
            .stdin(stdin(input.as_bytes()))
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {name} ({command:?}): {error}"));
        Self {
            name: name.to_owned(),
            child,
            log: log.to_owned(),
            status: None,
        }
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Output so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Log file.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// Exit status, once the process has exited by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && has_exited(self.id()) {
            self.status = Some(self.reap());
        }
        self.status
    }

    /// Sends a signal to the process, not to its group.
    ///
    /// # Panics
    /// When the process has exited.
    pub fn signal(&self, signal: Signal) {
        assert!(self.status.is_none(), "{} has exited", self.name);
        rustix::process::kill_process(self.id(), signal).unwrap();
    }

    /// Sends SIGTERM and returns the exit status.
    ///
    /// # Panics
    /// When the process does not exit within [`poll::TIMEOUT`].
    pub fn stop(&mut self) -> ExitStatus {
        let ended = self.terminate(poll::TIMEOUT);
        ended.unwrap_or_else(|| panic!("{} does not exit on SIGTERM; its log:\n{}", self.name, self.log()))
    }

    /// Sends SIGKILL to the process group.
    pub fn kill(&mut self) -> ExitStatus {
        *self.status.get_or_insert_with(|| {
            kill_group(&self.child);
            self.child.wait().unwrap()
        })
    }

    /// Polls until `ready` returns a value.
    ///
    /// # Panics
    /// When the process exits first, or after [`poll::TIMEOUT`]; the message has its log.
    pub fn wait_until<T>(&mut self, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
        let found = poll::within(poll::TIMEOUT, || match ready() {
            Some(value) => Some(Ok(value)),
            None => self.exited().map(Err),
        });
        match found {
            Some(Ok(value)) => value,
            Some(Err(status)) => panic!("{} exited with {status} before {what}:\n{}", self.name, self.log()),
            None => panic!("{}: timed out waiting for {what}:\n{}", self.name, self.log()),
        }
    }

    pub(crate) fn terminate(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.exited().is_none() {
            self.signal(Signal::TERM);
            // A stopped process handles SIGTERM only after SIGCONT.
            self.signal(Signal::CONT);
            poll::within(limit, || has_exited(self.id()).then_some(()))?;
            self.status = Some(self.reap());
        }
        self.status
    }

    /// Kills the rest of the group before reaping the leader: until then, no other group can get its id.
    fn reap(&mut self) -> ExitStatus {
        kill_group(&self.child);
        self.child.wait().unwrap()
    }

    fn id(&self) -> Pid {
        pid_of(&self.child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- {} ({})\n{}", self.name, self.log.display(), tail(&self.log()));
        }
        if self.terminate(Duration::from_secs(2)).is_none() {
            self.kill();
        }
    }
}

/// Kills the process group of a child that has not been reaped.
pub(crate) fn kill_group(child: &Child) {
    // An error means that the group has no members left.
    let _ = rustix::process::kill_process_group(pid_of(child), Signal::KILL);
}

/// File with `input`, for stdin. Unlike a pipe, it never blocks.
pub(crate) fn stdin(input: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(input).unwrap();
    file.rewind().unwrap();
    file
}

fn has_exited(pid: Pid) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    rustix::process::waitid(WaitId::Pid(pid), options).unwrap().is_some()
}

fn pid_of(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn tail(log: &str) -> &str {
    let start = log.len().saturating_sub(TAIL_LENGTH);
    let start = (start..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap();
    &log[start..]
}

const TAIL_LENGTH: usize = 8 * 1024;
