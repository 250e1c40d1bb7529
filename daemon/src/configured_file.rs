//! Reads files that the configuration names: regular ones, and only up to a length.
//!
//! Anybody who may propose a configuration chooses the path. A device such as `/dev/zero` never ends, and a pipe blocks
//! the thread that opens it.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use crate::file_stamp::FileStamp;

/// Opens a regular file. Returns at once for a pipe.
///
/// # Errors
/// When the file cannot be opened, or is not a regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    FileStamp::from_metadata(&file.metadata()?)?;
    Ok(file)
}

/// Reads a whole file of at most `limit` bytes.
///
/// # Errors
/// As [`open`]; the file is longer, or cannot be read.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let file = open(path)?;
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(usize::MAX);
    let mut contents = Vec::with_capacity(length.min(limit) + 1);
    // The length may be wrong: files of the kernel have none, and a program may be writing the file.
    file.take(limit as u64 + 1).read_to_end(&mut contents)?;
    if contents.len() > limit {
        return Err(io::Error::other(format!("it is longer than {} KiB", limit / 1024)));
    }
    Ok(contents)
}

/// Reads a text as [`read`] does.
///
/// # Errors
/// As [`read`]; the file is not UTF-8.
pub(crate) fn read_text(path: &Path, limit: usize) -> io::Result<String> {
    let text = String::from_utf8(read(path, limit)?);
    text.map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}

/// Limit for certificates. The roots of a system with their texts are about 1 MiB.
pub(crate) const MAX_CERTIFICATES: usize = 4 * 1024 * 1024;
/// Limit for one key, or one authority with its key.
pub(crate) const MAX_KEY: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_up_to_the_limit_and_not_a_byte_further() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("roots.pem");
        std::fs::write(&file, [b'x'; 2048]).unwrap();
        assert_eq!(read(&file, 2048).unwrap().len(), 2048);
        assert_eq!(read(&file, 2047).unwrap_err().to_string(), "it is longer than 1 KiB");
    }

    #[test]
    fn refuses_what_may_never_end() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
            let error = open(path).unwrap_err().to_string();
            assert_eq!(error, "it is not a regular file", "{}", path.display());
        }
    }
}
