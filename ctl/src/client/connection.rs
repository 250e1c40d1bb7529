//! One connection to the control socket: lines with a size limit and timeouts.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind as IoErrorKind, IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use regauth_shared::frame::MAX_LINE;
use regauth_shared::{ErrorBody, ErrorKind};
use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};

use crate::error;

/// Connection whose bytes are read and written as lines.
pub(super) struct Connection(BufReader<UnixStream>);

impl Connection {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self(BufReader::with_capacity(BUFFER, stream))
    }

    pub(super) fn write_line(&mut self, line: &str) -> Result<(), ErrorBody> {
        self.0
            .get_mut()
            .write_all(line.as_bytes())
            .map_err(|error| match error.kind() {
                IoErrorKind::WouldBlock | IoErrorKind::TimedOut => timed_out(LOCAL_TIMEOUT),
                IoErrorKind::BrokenPipe | IoErrorKind::ConnectionReset => connection_closed(),
                _ => error::io("cannot write to the control socket")(error),
            })
    }

    /// Waits for input and leaves it in the buffer for the next read.
    pub(super) fn has_input_within(&mut self, timeout: Duration) -> bool {
        self.set_timeout(timeout).is_ok() && self.0.fill_buf().is_ok_and(|bytes| !bytes.is_empty())
    }

    /// Waits for input or for the end of the connection. False if neither has come.
    pub(super) fn is_readable_within(&mut self, timeout: Duration) -> bool {
        let timed_out = |error: &io::Error| matches!(error.kind(), IoErrorKind::WouldBlock | IoErrorKind::TimedOut);
        self.set_timeout(timeout).is_ok() && !self.0.fill_buf().is_err_and(|error| timed_out(&error))
    }

    pub(super) fn read_line(&mut self, timeout: Duration) -> Result<String, ErrorBody> {
        self.set_timeout(timeout)?;
        self.read_next_line(timeout)
    }

    /// Reads a line within the timeout that was set.
    fn read_next_line(&mut self, timeout: Duration) -> Result<String, ErrorBody> {
        let mut line = Vec::new();
        // One byte more: the line ending, or the proof that the line is too long.
        let mut bounded = (&mut self.0).take(MAX_LINE as u64 + 1);
        bounded
            .read_until(b'\n', &mut line)
            .map_err(|error| match error.kind() {
                IoErrorKind::WouldBlock | IoErrorKind::TimedOut => timed_out(timeout),
                IoErrorKind::ConnectionReset => connection_closed(),
                _ => error::io("cannot read from the control socket")(error),
            })?;
        match line.pop() {
            Some(b'\n') => String::from_utf8(line).map_err(|_| error::failed("regauthd's answer is not UTF-8")),
            _ if line.len() == MAX_LINE => Err(error::failed(format!(
                "regauthd's answer is longer than the {MAX_LINE} bytes that the protocol allows"
            ))),
            _ => Err(connection_closed()),
        }
    }

    /// Reads one line and the files that come with it. Nothing may have been read ahead: the files would be lost.
    pub(super) fn read_line_with_files(&mut self, timeout: Duration) -> Result<(String, Vec<File>), ErrorBody> {
        self.set_timeout(timeout)?;
        let (mut line, mut files) = (Vec::new(), Vec::new());
        while line.last() != Some(&b'\n') && line.len() <= MAX_LINE {
            match receive(self.0.get_ref(), &mut line, &mut files) {
                Ok(0) => return Err(connection_closed()),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Err(timed_out(timeout)),
                Err(errno) => return Err(error::io("cannot read from the control socket")(errno.into())),
            }
        }
        let line = String::from_utf8(line).map_err(|_| error::failed("regauthd's answer is not UTF-8"))?;
        Ok((line.trim_end().to_owned(), files))
    }

    fn set_timeout(&self, timeout: Duration) -> Result<(), ErrorBody> {
        let set = self.0.get_ref().set_read_timeout(Some(timeout));
        set.map_err(error::io("cannot set a timeout on the control socket"))
    }

    pub(super) fn wait_for_close(&mut self, timeout: Duration) -> Result<(), ErrorBody> {
        self.set_timeout(timeout)?;
        match self.0.read(&mut [0]).map_err(|error| error.kind()) {
            Ok(_) | Err(IoErrorKind::ConnectionReset) => Ok(()),
            Err(_) => Err(
                error::failed(format!("regauthd has not ended within {} s", timeout.as_secs()))
                    .hint("a second SIGTERM ends it at once and breaks off open requests"),
            ),
        }
    }
}

/// Appends what a socket holds: bytes, and the files that were sent with them. Returns the number of bytes.
fn receive(stream: &UnixStream, line: &mut Vec<u8>, files: &mut Vec<File>) -> rustix::io::Result<usize> {
    let mut bytes = [0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FILES))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut bytes)];
    let received = rustix::net::recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::empty())?;
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            for descriptor in descriptors {
                fcntl_setfd(&descriptor, FdFlags::CLOEXEC)?;
                files.push(File::from(descriptor));
            }
        }
    }
    line.extend(bytes.iter().take(received.bytes));
    Ok(received.bytes)
}

/// Stream of lines from the daemon.
pub(crate) struct Lines(Connection);

impl Lines {
    /// Lines of a connection, each of which comes within [`LOCAL_TIMEOUT`] once it has begun.
    pub(super) fn of(connection: Connection) -> Result<Self, ErrorBody> {
        connection.set_timeout(LOCAL_TIMEOUT)?;
        Ok(Self(connection))
    }

    /// Next line; `None` at the end of the connection. Blocks until then.
    ///
    /// # Errors
    /// A line that is too long or no UTF-8.
    pub(crate) fn next_line(&mut self) -> Result<Option<String>, ErrorBody> {
        match self.0.read_next_line(LOCAL_TIMEOUT) {
            Ok(line) => Ok(Some(line)),
            Err(error) if error.kind == ErrorKind::Unreachable => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// True if the next line is at hand.
    pub(crate) fn has_line(&self) -> bool {
        self.0.0.buffer().contains(&b'\n')
    }
}

impl AsFd for Lines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.0.get_ref().as_fd()
    }
}

pub(super) fn timed_out(timeout: Duration) -> ErrorBody {
    error::unreachable(format!("regauthd did not answer within {} s", timeout.as_secs()))
        .hint("see regauthd's log; it may still carry out the request")
}

fn connection_closed() -> ErrorBody {
    error::unreachable("regauthd closed the connection without an answer").hint("see regauthd's log for the reason")
}

/// Files that one message brings at most, by unix(7).
const MAX_FILES: usize = 253;
/// Bytes that are read at once.
const BUFFER: usize = 64 * 1024;
/// For the hello, and for one line of an answer.
pub(super) const LOCAL_TIMEOUT: Duration = Duration::from_secs(10);
