//! regauthd as a child process: start, readiness, inspection through `/proc`, stop.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use regauth_shared::paths::Folders;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;

use crate::sandbox::Sandbox;

/// Running regauthd. Dropping it stops the process and waits for its exit.
pub(crate) struct Daemon {
    child: Child,
    /// Time from the start of the process to its greeting on the control socket.
    pub(crate) ready_after: Duration,
}

impl Daemon {
    /// Prints the command, starts the daemon and waits for its greeting on the control socket.
    pub(crate) async fn start(sandbox: &Sandbox, program: &Path) -> anyhow::Result<Self> {
        sandbox.terminal.command(&format!("regauthd {ARGUMENTS} &"))?;
        let started = Instant::now();
        let mut daemon = Self {
            child: spawn(sandbox, program).context("cannot start regauthd")?,
            ready_after: Duration::ZERO,
        };
        let socket = Folders::below(&sandbox.regauth_home()).socket();
        while !sends_greeting(&socket).await {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("regauthd exited during its start: {status}");
            }
            if started.elapsed() > START_TIMEOUT {
                bail!(
                    "regauthd sent no greeting on {} within {} s",
                    socket.display(),
                    START_TIMEOUT.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        daemon.ready_after = started.elapsed();
        Ok(daemon)
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the exit after `regauthctl stop`.
    pub(crate) async fn wait(mut self) -> anyhow::Result<ExitStatus> {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if begin.elapsed() > STOP_TIMEOUT {
                bail!(
                    "regauthd still runs {} s after `regauthctl stop`",
                    STOP_TIMEOUT.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Command line, which every user of the machine can read.
    pub(crate) fn command_line(&self) -> io::Result<Vec<u8>> {
        if let Some(file) = self.proc("cmdline") {
            return fs::read(file);
        }
        let id = self.pid().to_string();
        Ok(Command::new("ps")
            .args(["-ww", "-o", "args=", "-p", &id])
            .output()?
            .stdout)
    }

    /// Environment of the process, or `None` without `/proc`.
    pub(crate) fn environment(&self) -> Option<io::Result<Vec<u8>>> {
        self.proc("environ").map(fs::read)
    }

    /// Peak resident memory in MiB, or `None` without `/proc`.
    pub(crate) fn peak_memory(&self) -> Option<String> {
        let status = fs::read_to_string(self.proc("status")?).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(format!("{:.1} MiB", kilobytes as f64 / 1024.0))
    }

    /// Path of a file in Linux's `/proc` for the process, or `None` without `/proc`.
    fn proc(&self, file: &str) -> Option<PathBuf> {
        let folder = Path::new("/proc").join(self.pid().to_string());
        folder.join("cmdline").exists().then(|| folder.join(file))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let begin = Instant::now();
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        while let (Ok(None), Some(pid)) = (self.child.try_wait(), pid) {
            if begin.elapsed() > KILL_AFTER {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            let _ = kill_process(pid, Signal::TERM);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn spawn(sandbox: &Sandbox, program: &Path) -> io::Result<Child> {
    let log = File::create(sandbox.log())?;
    Command::new(program)
        .args(ARGUMENTS.split(' '))
        .current_dir(sandbox.folder())
        .env_clear()
        .envs(sandbox.environment().iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// Returns whether the daemon sends its greeting. The daemon speaks first on the control socket.
async fn sends_greeting(socket: &Path) -> bool {
    let Ok(stream) = UnixStream::connect(socket).await else {
        return false;
    };
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    let read = reader.read_line(&mut line);
    matches!(tokio::time::timeout(Duration::from_secs(1), read).await, Ok(Ok(_)) if line.contains("hello"))
}

/// `--store vault`: the demo must not write into the user's keychain.
const ARGUMENTS: &str = "--listen 127.0.0.1:0 --store vault";
const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Time between SIGTERM and SIGKILL when a [`Daemon`] is dropped.
const KILL_AFTER: Duration = Duration::from_secs(4);
