//! Control connection of the program that asks, on systems where no descriptor stands for a process.
//!
//! The dialogue of macOS is about the request, not about a process, so the end of the connection is all that matters: a program
//! that has closed it gets no answer any more.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::UnixStream;

/// Other end of a control connection.
#[derive(Debug)]
pub(crate) struct PeerConnection {
    /// Its user at the time of the connection.
    pub(super) user: u32,
    /// A descriptor of our own, since the connection's is in use while a request is answered.
    descriptor: OwnedFd,
}

impl PeerConnection {
    /// Other end of a connection; `None` if the kernel names no user.
    pub(crate) fn of(stream: &UnixStream) -> Option<Self> {
        Some(Self {
            user: stream.peer_cred().ok()?.uid(),
            descriptor: stream.as_fd().try_clone_to_owned().ok()?,
        })
    }

    /// True if the other end has not closed the connection.
    pub(super) fn is_there(&self) -> bool {
        // macOS reports the end only to a caller that asks for it (`poll_nocancel` in XNU's sys_generic.c).
        let mut descriptors = [PollFd::new(&self.descriptor, PollFlags::HUP)];
        poll(&mut descriptors, Some(&Timespec::default())) == Ok(0)
    }

    /// Waits for the end of the connection. By polling, as for a process.
    pub(super) async fn gone(&self) {
        while self.is_there() {
            tokio::time::sleep(INTERVAL).await;
        }
    }
}

const INTERVAL: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    #[tokio::test]
    async fn tells_when_the_other_end_has_closed_also_with_bytes_that_nobody_has_read() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let peer = PeerConnection::of(&ours).unwrap();
        assert_eq!(peer.user, rustix::process::getuid().as_raw());
        theirs.write_all(b"another request\n").await.unwrap();
        assert!(peer.is_there());
        drop(theirs);
        peer.gone().await;
        assert!(!peer.is_there());
    }
}
