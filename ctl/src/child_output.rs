//! Output of a child process, bounded in length and time: the server that curl or git asks may be a stranger's.

use std::io::{self, Read, Write};
use std::process::{ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

/// End and output of a child process.
#[derive(Debug)]
pub(crate) struct ChildOutput {
    /// Exit status.
    pub(crate) status: ExitStatus,
    /// Standard output.
    pub(crate) stdout: Vec<u8>,
    /// Begin of standard error.
    pub(crate) stderr: String,
}

/// Bounds of a child's output.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Longest standard output, in bytes.
    pub(crate) bytes: u64,
    /// Time until the standard output ends.
    pub(crate) time: Duration,
}

/// Runs a command with this input and reads its output. A child beyond the limits is killed.
///
/// # Errors
/// The command cannot be started; `FileTooLarge` for a longer output, `TimedOut` for a slower one.
pub(crate) fn read(command: &mut Command, input: &str, limits: Limits) -> io::Result<ChildOutput> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A child that reads no input says why by its status.
        let _ = stdin.write_all(input.as_bytes());
    }
    let stderr = child.stderr.take().map(|pipe| thread::spawn(|| first_bytes(pipe)));
    match stdout(child.stdout.take(), limits) {
        Ok(stdout) => Ok(ChildOutput {
            status: child.wait()?,
            stdout,
            stderr: stderr.and_then(|reader| reader.join().ok()).unwrap_or_default(),
        }),
        Err(error) => {
            // Its own children may keep the pipes open, so nothing waits for these.
            child.kill()?;
            child.wait()?;
            Err(error)
        }
    }
}

/// Reads the standard output on another thread, since a read has no deadline.
fn stdout(pipe: Option<ChildStdout>, limits: Limits) -> io::Result<Vec<u8>> {
    let Some(pipe) = pipe else {
        return Ok(Vec::new());
    };
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = pipe.take(limits.bytes + 1).read_to_end(&mut bytes);
        sender.send(read.map(|_| bytes))
    });
    let too_slow = |_| {
        let message = format!("it is not complete after {} s", limits.time.as_secs());
        io::Error::new(io::ErrorKind::TimedOut, message)
    };
    let bytes = receiver.recv_timeout(limits.time).map_err(too_slow)??;
    if bytes.len() as u64 <= limits.bytes {
        return Ok(bytes);
    }
    let message = format!("it is longer than {} bytes", limits.bytes);
    Err(io::Error::new(io::ErrorKind::FileTooLarge, message))
}

/// The first bytes of standard error. The rest is read and dropped, so the child never waits for a reader.
fn first_bytes(mut pipe: ChildStderr) -> String {
    let mut bytes = Vec::new();
    let _ = pipe.by_ref().take(MAX_STDERR).read_to_end(&mut bytes);
    let _ = io::copy(&mut pipe, &mut io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

const MAX_STDERR: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, input: &str, bytes: u64) -> io::Result<ChildOutput> {
        let time = Duration::from_secs(600);
        read(Command::new("sh").args(["-c", script]), input, Limits { bytes, time })
    }

    #[test]
    fn reads_both_outputs_and_the_status() {
        let output = shell("cat; echo why >&2; exit 3", "input", 5).unwrap();
        assert_eq!(
            (output.status.code(), &*output.stdout, &*output.stderr),
            (Some(3), &b"input"[..], "why\n")
        );
    }

    #[test]
    fn an_endless_output_is_cut_and_its_child_killed() {
        let error = shell("cat /dev/zero", "", 1000).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_child_that_never_ends_is_killed() {
        let time = Duration::from_millis(1);
        let mut sleep = Command::new("sleep");
        let error = read(sleep.arg("600"), "", Limits { bytes: 9, time }).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_long_standard_error_does_not_stop_the_child() {
        let output = shell("head -c 1000000 /dev/zero >&2; echo done", "", 1000).unwrap();
        assert_eq!(output.stdout, b"done\n");
        assert_eq!(output.stderr.len() as u64, MAX_STDERR);
    }
}
