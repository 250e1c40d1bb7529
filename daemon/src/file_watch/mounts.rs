//! Changes of the mount table: a mount over a folder changes which file a path leads to, and inotify does not report it.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use tokio::io::Interest;

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

    /// Waits for a mount or an unmount since the last call.
    ///
    /// # Errors
    /// The runtime cannot wait for the file.
    pub(super) async fn changed(&self) -> io::Result<()> {
        let table = registered(self.0.as_fd(), Interest::PRIORITY)?;
        let _ = table.ready(Interest::PRIORITY | Interest::ERROR).await?;
        Ok(())
    }
}
