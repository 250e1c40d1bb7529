//! Process at the other end of a control connection, as the kernel names it.
//!
//! A process id can be used again once its process has ended. A descriptor of the process (pidfd) tells whether it has: an
//! answer of polkit about the id counts only if the process is still alive afterwards.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::net::UnixStream;

/// Process that has connected.
#[derive(Debug)]
pub(crate) struct PeerProcess {
    /// Process id.
    pub(super) id: u32,
    /// Its user at the time of the connection.
    pub(super) user: u32,
    descriptor: OwnedFd,
}

impl PeerProcess {
    /// Process of a connection; `None` if it has ended or is in another PID namespace.
    pub(crate) fn of(stream: &UnixStream) -> Option<Self> {
        let peer = stream.peer_cred().ok()?;
        let id = peer.pid().filter(|id| *id > 0)?;
        Some(Self {
            id: u32::try_from(id).ok()?,
            user: peer.uid(),
            descriptor: descriptor(stream, id)?,
        })
    }

    /// Start of the process in clock ticks since the boot, as polkit counts it; 0 if `/proc` hides the process. polkit then
    /// looks itself.
    pub(super) fn start_time(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.id)).unwrap_or_default();
        // The name in parentheses may contain anything.
        let after_name = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let field = after_name.split(' ').nth(START_TIME_AFTER_NAME);
        field.and_then(|field| field.parse().ok()).unwrap_or(0)
    }

    /// True if the process has not ended.
    pub(super) fn is_there(&self) -> bool {
        let mut descriptors = [PollFd::new(&self.descriptor, PollFlags::IN)];
        poll(&mut descriptors, Some(&Timespec::default())) == Ok(0)
    }

    /// Waits for the end of the process. By polling: to register a descriptor with tokio is unsafe, and a person takes longer.
    pub(super) async fn gone(&self) {
        while self.is_there() {
            tokio::time::sleep(LIVENESS_INTERVAL).await;
        }
    }

    /// Descriptor of the process.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Descriptor of the process that has connected. Before Linux 6.5, of the process that has its id now: it was alive when
/// it connected, a moment ago.
fn descriptor(stream: &UnixStream, id: i32) -> Option<OwnedFd> {
    match getsockopt(stream, sockopt::PeerPidfd) {
        Ok(descriptor) => Some(descriptor),
        Err(Errno::ENOPROTOOPT) => pidfd_open(Pid::from_raw(id)?, PidfdFlags::empty()).ok(),
        // It has ended.
        Err(_) => None,
    }
}

const LIVENESS_INTERVAL: Duration = Duration::from_millis(200);
/// Field 22 of `/proc/PID/stat` (proc_pid_stat(5)); the name is field 2.
const START_TIME_AFTER_NAME: usize = 19;

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[tokio::test]
    async fn names_the_process_at_the_other_end_and_its_start() {
        let (_ours, theirs) = UnixStream::pair().unwrap();
        let peer = PeerProcess::of(&theirs).unwrap();
        assert_eq!(peer.id, std::process::id());
        assert_eq!(peer.user, rustix::process::getuid().as_raw());
        assert!(peer.is_there() && peer.start_time() > 0);
    }

    #[tokio::test]
    async fn tells_when_the_process_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let mut child = Command::new("python3")
            .args(["-c", CONNECT_AND_WAIT])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let peer = PeerProcess::of(&stream).unwrap();
        assert_eq!(peer.id, child.id());
        assert!(peer.is_there());
        drop(child.stdin.take());
        peer.gone().await;
        assert!(!peer.is_there());
        child.wait().unwrap();
    }

    const CONNECT_AND_WAIT: &str = "import socket, sys
connection = socket.socket(socket.AF_UNIX)
connection.connect(sys.argv[1])
sys.stdin.read()";
}
