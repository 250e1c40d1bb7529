//! File with the ids of revoked grants, which daemons with the same key share.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;

use super::SignedGrants;
use crate::configured_file;
use crate::file_stamp::FileStamp;

/// List of revoked grants, as read from its file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RevokedList {
    pub(super) ids: HashSet<String>,
    /// First line without an id: a person meant to revoke a grant with it.
    pub(super) problem: Option<String>,
}

/// Parses ids, one a line, in either case. Text after a blank or `#` is a comment.
pub(super) fn parse_revoked(text: &str) -> RevokedList {
    let mut list = RevokedList::default();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        let word = line.split([' ', '\t', '#']).next().unwrap_or_default();
        match SignedGrants::parse_id(word) {
            Some(id) => {
                list.ids.insert(id);
            }
            None if line.is_empty() || line.starts_with('#') => {}
            None if list.problem.is_none() => {
                list.problem = Some(format!("line {} has no id of 16 hexadecimal digits", index + 1));
            }
            None => {}
        }
    }
    list
}

/// Reads the file.
///
/// # Errors
/// Any error of the file system, and a file that is longer than 1 MiB.
pub(super) fn read_revoked(file: &Path) -> io::Result<RevokedList> {
    Ok(parse_revoked(&configured_file::read_text(file, MAX_FILE_BYTES)?))
}

/// Appends a line with one write: other daemons may append to the same file at the same time.
///
/// # Errors
/// Any error of the file system.
pub(super) fn append_line(file: &Path, line: &str) -> io::Result<()> {
    FileStamp::of(file)?;
    let mut file = OpenOptions::new().read(true).append(true).open(file)?;
    let mut last = [b'\n'];
    if file.metadata()?.len() > 0 {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)?;
    }
    let separator = if last == [b'\n'] { "" } else { "\n" };
    file.write_all(format!("{separator}{line}\n").as_bytes())?;
    file.sync_all()
}

const MAX_FILE_BYTES: usize = 1024 * 1024;
