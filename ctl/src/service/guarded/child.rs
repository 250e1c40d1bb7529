//! Programs that run as a user, each with a deadline. Programs of that user can stop them, and must not stop root's
//! installation with them.

use std::io::{self, ErrorKind as IoErrorKind, Read};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use regauth_shared::ErrorBody;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use crate::error;
use crate::output::one_line;

/// Pipe from a program; a read fails after the deadline.
pub(super) struct Pipe<R> {
    reader: R,
    deadline: Instant,
}

impl<R> Pipe<R> {
    /// Pipe that ends or is silent within `limit`.
    pub(super) fn new(reader: R, limit: Duration) -> Self {
        Self {
            reader,
            deadline: Instant::now() + limit,
        }
    }

    /// Gives the program this long from now on.
    pub(super) fn extend(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
    }
}

impl<R: Read + AsFd> Read for Pipe<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        let mut pipe = [PollFd::new(&self.reader, PollFlags::IN)];
        match poll(&mut pipe, Some(&left)) {
            Ok(0) => Err(late()),
            Ok(_) => self.reader.read(buffer),
            // The caller of an interrupted read repeats it.
            Err(Errno::INTR) => Err(IoErrorKind::Interrupted.into()),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Result of a program that has ended.
pub(super) struct Output {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a program, and kills it after `limit`.
///
/// # Errors
/// It cannot be started, does not end in time, or writes more than [`MAX_OUTPUT`] bytes.
pub(super) fn run(command: &mut Command, limit: Duration) -> Result<Output, ErrorBody> {
    let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = started.map_err(error::io("cannot run setpriv"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let errors = thread::spawn(move || read_to_end(stderr, limit));
    let stdout = read_to_end(stdout, limit);
    let status = end(&mut child, if stdout.is_ok() { limit } else { Duration::ZERO });
    let stderr = errors.join().unwrap_or_else(|_| Ok(String::new()));
    let stopped = |why: io::Error| error::failed(format!("{why}, and was stopped"));
    Ok(Output {
        stdout: stdout.map_err(stopped)?,
        stderr: stderr.map_err(stopped)?,
        status: status.ok_or_else(|| stopped(late()))?,
    })
}

/// Words of a user's program, for root's terminal: bounded, without control characters, and no line of them looks like ours.
pub(super) fn quote(text: &str) -> String {
    let text = text.trim().trim_start_matches("error: ");
    let is_cut = text.chars().count() > MAX_QUOTE;
    let lines: String = text.chars().take(MAX_QUOTE).collect();
    let lines: Vec<String> = lines.lines().map(one_line).collect();
    lines.join("\n  | ") + if is_cut { "…" } else { "" }
}

fn late() -> io::Error {
    io::Error::new(IoErrorKind::TimedOut, "it did not end in time")
}

fn read_to_end(pipe: Option<impl Read + AsFd>, limit: Duration) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        Pipe::new(pipe, limit).take(MAX_OUTPUT + 1).read_to_end(&mut bytes)?;
    }
    if bytes.len() as u64 > MAX_OUTPUT {
        return Err(io::Error::other("it wrote too much"));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Waits for a program's end, and kills it after `limit`; `None` if it was killed.
pub(super) fn end(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
            _ => break,
        }
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

const MAX_QUOTE: usize = 4000;
const MAX_OUTPUT: u64 = 1024 * 1024;
const POLL_INTERVAL: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        command
    }

    #[test]
    fn a_program_that_never_ends_is_killed() {
        let ended = run(&mut shell("echo x; exec sleep 1000"), Duration::from_millis(50));
        assert!(ended.is_err_and(|error| error.message.contains("was stopped")));
        // Neither by closing its pipes, nor by stopping itself.
        for script in ["exec >&- 2>&-; exec sleep 1000", "kill -STOP $$"] {
            assert!(run(&mut shell(script), Duration::from_millis(50)).is_err(), "{script}");
        }
    }

    #[test]
    fn a_quote_is_bounded() {
        assert_eq!(quote(" error: a\n\tb\r\n"), "a\n  | \u{fffd}b");
        assert_eq!(quote(&"x".repeat(1_000_000)).chars().count(), MAX_QUOTE + 1);
    }

    #[test]
    fn the_output_of_a_program_is_limited() {
        assert!(run(&mut shell("exec cat /dev/zero"), Duration::from_secs(600)).is_err());
        let output = run(&mut shell("echo out; echo err >&2; exit 3"), Duration::from_secs(600)).unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!((&*output.stdout, &*output.stderr), ("out\n", "err\n"));
    }
}
