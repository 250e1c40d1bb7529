//! regauthd as the story's process: started, awaited, looked at from outside, ended by its own process id.

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

use crate::stage::Stage;

/// A running regauthd. Dropping it ends the process and waits for that.
pub(crate) struct Daemon {
    child: Child,
    /// From the start of the process to its greeting on the control socket.
    pub(crate) ready_after: Duration,
}

impl Daemon {
    /// Shows the command, starts it, waits until it is ready.
    pub(crate) async fn start(stage: &Stage, program: &Path) -> anyhow::Result<Self> {
        stage.telling.command(&format!("regauthd {ARGUMENTS} &"))?;
        let started = Instant::now();
        let mut daemon = Self {
            child: spawn(stage, program).context("regauthd could not be started")?,
            ready_after: Duration::ZERO,
        };
        let socket = Folders::below(&stage.regauth_home()).socket();
        while !greets(&socket).await {
            if let Some(status) = daemon.child.try_wait()? {
                bail!("regauthd ended at once: {status}");
            }
            if started.elapsed() > PATIENCE {
                bail!(
                    "regauthd does not greet on {} after {} s",
                    socket.display(),
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        daemon.ready_after = started.elapsed();
        Ok(daemon)
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for an end that somebody has asked for.
    pub(crate) async fn ended(mut self) -> anyhow::Result<ExitStatus> {
        let asked = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if asked.elapsed() > PATIENCE {
                bail!(
                    "regauthd still runs {} s after it was asked to stop",
                    PATIENCE.as_secs()
                );
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Its command line, as any user of the machine can see it.
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

    /// Its environment, where the platform shows it.
    pub(crate) fn environment(&self) -> Option<io::Result<Vec<u8>>> {
        self.proc("environ").map(fs::read)
    }

    /// The most memory it ever had, as the kernel writes it, where the kernel tells.
    pub(crate) fn peak_memory(&self) -> Option<String> {
        let status = fs::read_to_string(self.proc("status")?).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kilobytes: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(format!("{:.1} MiB", kilobytes as f64 / 1024.0))
    }

    /// A file of Linux's `/proc` about it.
    fn proc(&self, file: &str) -> Option<PathBuf> {
        let folder = Path::new("/proc").join(self.pid().to_string());
        folder.join("cmdline").exists().then(|| folder.join(file))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let asked = Instant::now();
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        while let (Ok(None), Some(pid)) = (self.child.try_wait(), pid) {
            if asked.elapsed() > GRACE {
                let _ = self.child.kill();
                let _ = self.child.wait();
                return;
            }
            let _ = kill_process(pid, Signal::TERM);
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn spawn(stage: &Stage, program: &Path) -> io::Result<Child> {
    let log = File::create(stage.log())?;
    Command::new(program)
        .args(ARGUMENTS.split(' '))
        .current_dir(stage.folder())
        .env_clear()
        .envs(stage.environment().iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()
}

/// The daemon speaks first on its control socket.
async fn greets(socket: &Path) -> bool {
    let Ok(stream) = UnixStream::connect(socket).await else {
        return false;
    };
    let mut line = String::new();
    let mut reader = BufReader::new(stream);
    let read = reader.read_line(&mut line);
    matches!(tokio::time::timeout(Duration::from_secs(1), read).await, Ok(Ok(_)) if line.contains("hello"))
}

/// The vault: a demo must not write into a person's keychain.
const ARGUMENTS: &str = "--listen 127.0.0.1:0 --store vault";
const PATIENCE: Duration = Duration::from_secs(20);

/// After that, a daemon that has been asked to end is killed.
const GRACE: Duration = Duration::from_secs(4);
