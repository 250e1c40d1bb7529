//! Stamp of a file, to notice that it was replaced or written.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Metadata that changes when a file is replaced or written in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileStamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    /// Stamp of the file at `path`, through symbolic links. Blocks on a network file system.
    ///
    /// # Errors
    /// When the file cannot be looked up, or is not a regular file.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Self::from_metadata(&std::fs::metadata(path)?)
    }

    /// Stamp of a file with these metadata.
    ///
    /// # Errors
    /// When it is not a regular file: reading a pipe or a device might never end.
    pub(crate) fn from_metadata(metadata: &std::fs::Metadata) -> io::Result<Self> {
        if !metadata.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}
