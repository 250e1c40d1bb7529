//! Changes of the mount table: a mount over a folder changes which file a path leads to, and inotify does not report it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::inotify::registered;

/// The process' mount table, which poll(2) reports changes of (proc_pid_mountinfo(5)).
#[derive(Debug)]
pub(super) struct MountTable(File);

impl MountTable {
    /// # Errors
    /// /proc is not available.
    pub(super) fn open() -> io::Result<Self> {
        File::open("/proc/self/mountinfo").map(Self)
    }

    /// Changes from now on. Registered throughout: a change is not reported to those who register after it.
    ///
    /// # Errors
    /// The runtime cannot wait for the file.
    pub(super) fn follow(&self) -> io::Result<MountChanges<'_>> {
        registered(self.0.as_fd(), Interest::PRIORITY).map(MountChanges)
    }
}

/// Changes of the mount table.
#[derive(Debug)]
pub(super) struct MountChanges<'a>(AsyncFd<BorrowedFd<'a>>);

impl MountChanges<'_> {
    /// Waits for a mount or an unmount since the last call. Cancel safe.
    ///
    /// # Errors
    /// The runtime ends.
    pub(super) async fn next(&self) -> io::Result<()> {
        let mut ready = self.0.ready(Interest::PRIORITY | Interest::ERROR).await?;
        ready.clear_ready();
        Ok(())
    }
}
