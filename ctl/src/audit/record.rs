//! Files of the audit record, read line by line without the daemon, which may append and rotate meanwhile.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use regauth_shared::audit::{CURRENT_FILE, is_rotated_file};
use regauth_shared::{ErrorBody, ErrorKind};

use crate::error;

/// The record's files, open, the oldest first.
pub(crate) struct Record {
    files: Vec<RecordFile>,
}

struct RecordFile {
    name: String,
    file: File,
}

/// Line of the record.
pub(super) struct RecordLine<'a> {
    /// Name of the file.
    pub(super) file: &'a str,
    /// Number of the line in its file, from 1.
    pub(super) row: u64,
    /// Text without its line feed.
    pub(super) text: &'a [u8],
    /// False for the incomplete line that a kill has left at the end.
    pub(super) is_whole: bool,
}

impl Record {
    /// Opens all files at once, so that a rotation hides no line.
    ///
    /// # Errors
    /// `not-found` without a record; `failed` for files that cannot be read.
    pub(crate) fn open(folder: &Path) -> Result<Self, ErrorBody> {
        for _ in 0..ATTEMPTS {
            let (names, current) = list(folder)?;
            let opened: io::Result<Vec<RecordFile>> = names.iter().map(|name| open(folder, name)).collect();
            match opened {
                Ok(files) if list(folder)? == (names, current) => return Ok(Self { files }),
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(unreadable(folder, &error)),
                // The daemon has rotated or deleted a file.
                _ => {}
            }
        }
        Err(error::failed("the audit record changes faster than it can be read").hint("run the command again"))
    }

    /// The record in these files, the oldest first.
    pub(crate) fn of(files: Vec<(String, File)>) -> Self {
        let files = files.into_iter().map(|(name, file)| RecordFile { name, file });
        Self { files: files.collect() }
    }

    /// Number of files.
    pub(super) fn number_of_files(&self) -> usize {
        self.files.len()
    }

    /// Passes each line to `each`, in the order of the record, until it breaks.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn for_each_line(
        self,
        mut each: impl FnMut(&RecordLine<'_>) -> ControlFlow<()>,
    ) -> Result<(), ErrorBody> {
        let newest = self.files.len();
        for (index, RecordFile { name, file }) in self.files.into_iter().enumerate() {
            let mut reader = BufReader::with_capacity(BUFFER, file);
            let mut line = Vec::new();
            for row in 1.. {
                line.clear();
                let read = reader.read_until(b'\n', &mut line);
                read.map_err(error::io(format!("cannot read {name}")))?;
                let text = line.strip_suffix(b"\n");
                let bytes = text.unwrap_or(&line);
                if bytes.is_empty() && text.is_none() {
                    break;
                }
                let record_line = RecordLine {
                    file: &name,
                    row,
                    text: bytes,
                    is_whole: text.is_some() || index + 1 < newest,
                };
                if each(&record_line).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn open(folder: &Path, name: &str) -> io::Result<RecordFile> {
    Ok(RecordFile {
        name: name.to_owned(),
        file: File::open(folder.join(name))?,
    })
}

/// Names of the files, the oldest first, and the inode of the file that grows.
fn list(folder: &Path) -> Result<(Vec<String>, Option<u64>), ErrorBody> {
    let entries = folder.read_dir().map_err(|error| unreadable(folder, &error))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| is_rotated_file(name))
        .collect();
    names.sort();
    let current = folder.join(CURRENT_FILE).metadata().ok().map(|data| data.ino());
    if current.is_some() {
        names.push(CURRENT_FILE.to_owned());
    }
    if names.is_empty() {
        return Err(absent(folder));
    }
    Ok((names, current))
}

fn unreadable(folder: &Path, error: &io::Error) -> ErrorBody {
    match error.kind() {
        io::ErrorKind::NotFound => absent(folder),
        io::ErrorKind::PermissionDenied => error::failed(format!("no permission to read {}", folder.display()))
            .hint("the record belongs to the daemon's user: run the command as that user, or with sudo"),
        _ => error::failed(format!("cannot read {}: {error}", folder.display())),
    }
}

fn absent(folder: &Path) -> ErrorBody {
    let folder: PathBuf = folder.to_owned();
    let message = format!("there is no audit record in {}", folder.display());
    ErrorBody::new(ErrorKind::NotFound, message)
        .hint("the daemon writes it, unless config.toml says `audit = \"off\"`; `regauthctl status` shows which")
}

/// Attempts to list and open the files between two rotations.
const ATTEMPTS: u32 = 10;
const BUFFER: usize = 256 * 1024;
