//! Lock of the record's folder, which two daemons append to while one of them drains.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regauth_shared::audit::CURRENT_FILE;

/// Lock of one folder for this process.
#[derive(Debug)]
pub(super) struct FolderLock {
    folder: PathBuf,
    file: Option<File>,
}

impl FolderLock {
    /// Lock that is not held, of a folder that need not exist.
    pub(super) fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            file: None,
        }
    }

    /// Takes the lock, which a daemon holds for an append only. Creates the folder if there is none.
    ///
    /// # Errors
    /// Any error of the file system, and a lock that another process keeps.
    pub(super) fn take(&mut self) -> io::Result<()> {
        if self.file.is_none() || !self.folder.join(CURRENT_FILE).exists() {
            create_folder(&self.folder)?;
            let path = self.folder.join(LOCK_FILE);
            let mut options = OpenOptions::new();
            options.write(true).create(true).truncate(false).mode(0o600);
            self.file = Some(options.open(path)?);
        }
        let lock = self.file.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(()),
                Err(TryLockError::Error(error)) => return Err(error),
                Err(TryLockError::WouldBlock) if Instant::now() > deadline => {
                    return Err(io::Error::other("another process holds the lock of the audit folder"));
                }
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            }
        }
    }

    /// Releases the lock. The file stays open for the next append.
    pub(super) fn release(&self) {
        if let Some(file) = &self.file {
            let _ = file.unlock();
        }
    }
}

fn create_folder(folder: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

const LOCK_FILE: &str = "lock";
/// Another daemon appends in microseconds, but its disk may be slow.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(2);
