//! A process of ours: its own group, its output in a log file, ended and reaped on drop, its log shown when the test
//! failed. Long-lived servers are [`Process`]es; clients that run to their end are in [`crate::exec`].

use std::fs::{self, File};
use std::io::{Seek, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::poll;

/// A running server process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Starts `command` in a process group of its own; what it says goes to the end of the file `log`.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Self {
        Self::spawn_with_input(name, command, log, "")
    }

    /// The same with `input` on its stdin.
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
            ended: None,
        }
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// Its log file.
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// The exit status, once it has ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() && has_exited(self.id()) {
            self.ended = Some(self.reap());
        }
        self.ended
    }

    /// Sends a signal to the process itself.
    ///
    /// # Panics
    /// When the process is gone.
    pub fn signal(&self, signal: Signal) {
        assert!(self.ended.is_none(), "{} has ended", self.name);
        rustix::process::kill_process(self.id(), signal).unwrap();
    }

    /// SIGTERM, and the exit status. One that does not end in time is killed and named.
    ///
    /// # Panics
    /// When it does not end within [`poll::TIMEOUT`].
    pub fn stop(&mut self) -> ExitStatus {
        let ended = self.terminate(poll::TIMEOUT);
        ended.unwrap_or_else(|| panic!("{} does not end on SIGTERM; its log:\n{}", self.name, self.log()))
    }

    /// SIGKILL for its whole group.
    pub fn kill(&mut self) -> ExitStatus {
        *self.ended.get_or_insert_with(|| {
            kill_group(&self.child);
            self.child.wait().unwrap()
        })
    }

    /// Blocks until `ready` gives a value. A process that ends first fails the test with its log.
    ///
    /// # Panics
    /// When the process ends, or the time is over.
    pub fn wait_until<T>(&mut self, what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
        let found = poll::within(poll::TIMEOUT, || match ready() {
            Some(value) => Some(Ok(value)),
            None => self.ended().map(Err),
        });
        match found {
            Some(Ok(value)) => value,
            Some(Err(status)) => panic!("{} ended with {status} before {what}:\n{}", self.name, self.log()),
            None => panic!("{}: waited in vain for {what}:\n{}", self.name, self.log()),
        }
    }

    pub(crate) fn terminate(&mut self, limit: Duration) -> Option<ExitStatus> {
        if self.ended().is_none() {
            self.signal(Signal::TERM);
            // One that was stopped takes no signal before it goes on.
            self.signal(Signal::CONT);
            poll::within(limit, || has_exited(self.id()).then_some(()))?;
            self.ended = Some(self.reap());
        }
        self.ended
    }

    /// The leader has exited and is not reaped, so its group's id is still ours: its stragglers go first.
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

/// Kills a child's process group. The child must not have been waited for.
pub(crate) fn kill_group(child: &Child) {
    // The group may be gone already: its members can end at any moment.
    let _ = rustix::process::kill_process_group(pid_of(child), Signal::KILL);
}

/// A stdin that holds `input` and then ends; it never blocks, whatever the program reads.
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
    let start = log.len().saturating_sub(TAIL);
    let start = (start..=log.len()).find(|at| log.is_char_boundary(*at)).unwrap();
    &log[start..]
}

const TAIL: usize = 8 * 1024;
