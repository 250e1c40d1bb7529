//! pkttyagent, polkit's agent for a terminal, while a daemon may ask the person.
//!
//! A desktop has an agent of its own, which comes first. In a terminal without one, such as over SSH, regauthctl brings this
//! agent for itself, as systemctl and pkexec do. It reads the password from the terminal; a program of root checks it.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, getuid, kill_process};

/// Running agent. It ends when it is dropped.
pub(crate) struct TextAgent(Child);

impl TextAgent {
    /// Starts the agent and waits until polkit knows it; `None` without pkttyagent.
    pub(crate) fn start() -> Option<Self> {
        let program = PROGRAMS.iter().map(Path::new).find(|program| program.is_file())?;
        let mut command = Command::new(program);
        command
            .args(["--process", &format!("{},{}", std::process::id(), start_time()?)])
            // It closes this descriptor once it is registered, or ends.
            .args(["--notify-fd", "1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        // polkit ignores a fallback for a user without a session of logind, which has no other agent either.
        if Path::new(&format!("{SESSIONS}/{}", getuid())).exists() {
            command.arg("--fallback");
        }
        let agent = Self(command.spawn().ok()?);
        agent.wait_until_registered();
        Some(agent)
    }

    fn wait_until_registered(&self) {
        if let Some(stdout) = &self.0.stdout {
            let timeout = Timespec::try_from(REGISTRATION_TIMEOUT).ok();
            // Without the agent, the daemon says that nobody could be asked.
            let _ = poll(&mut [PollFd::new(stdout, PollFlags::IN)], timeout.as_ref());
        }
    }
}

impl Drop for TextAgent {
    fn drop(&mut self) {
        // Not SIGKILL at first: the agent may have turned the terminal's echo off.
        if let Ok(id) = i32::try_from(self.0.id())
            && let Some(id) = Pid::from_raw(id)
        {
            let _ = kill_process(id, Signal::TERM);
        }
        let begin = Instant::now();
        while matches!(self.0.try_wait(), Ok(None)) {
            if begin.elapsed() > END_TIMEOUT {
                let _ = self.0.kill();
            }
            std::thread::sleep(END_INTERVAL);
        }
    }
}

/// Start of this process in clock ticks since the boot (proc_pid_stat(5), field 22), which polkit compares.
fn start_time() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may contain anything; it is field 2.
    let (_, after_name) = text.rsplit_once(") ")?;
    after_name.split(' ').nth(19)?.parse().ok()
}

/// Not found by `PATH`: a program of the user could put another one there, which asks for the password.
const PROGRAMS: [&str; 3] = [
    "/usr/bin/pkttyagent",
    "/usr/local/bin/pkttyagent",
    "/run/current-system/sw/bin/pkttyagent",
];
/// logind's files of users that are logged in.
const SESSIONS: &str = "/run/systemd/users";
const REGISTRATION_TIMEOUT: Duration = Duration::from_secs(5);
const END_TIMEOUT: Duration = Duration::from_secs(1);
const END_INTERVAL: Duration = Duration::from_millis(5);
