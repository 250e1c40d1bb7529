//! Files of the record: appends lines, repairs an incomplete last line, rotates by size, deletes old files.
//!
//! While one daemon drains, the next one serves, and both append. So each append takes the lock of the folder and looks
//! whether the file is as the last append left it.

mod lock;
mod tail;

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use regauth_shared::audit::{CURRENT_FILE, Content, LineHash, Link, Note, is_rotated_file, link_of, rotated_file};

use self::lock::FolderLock;
use self::tail::{Tail, first_link, last_link};
use crate::events::unix_milliseconds;

/// Bounds of the record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Size at which a file is rotated.
    pub(super) file: u64,
    /// Size of all files together.
    pub(super) total: u64,
    /// Age at which a rotated file is deleted.
    pub(super) age: Duration,
}

/// The record, open for appending.
#[derive(Debug)]
pub(super) struct RecordFile {
    folder: PathBuf,
    limits: Limits,
    lock: FolderLock,
    current: Option<Current>,
    link: Link,
    /// Text of the last write, kept for its memory.
    lines: String,
}

/// The file that lines are appended to.
#[derive(Debug)]
struct Current {
    file: File,
    /// Length after the last append.
    length: u64,
    first_line: u64,
    inode: u64,
}

/// Fault of the record that a start or an append has found.
enum Fault {
    Torn { bytes: u64 },
    Damaged,
}

impl RecordFile {
    pub(super) fn new(folder: &Path, limits: Limits) -> Self {
        Self {
            folder: folder.to_owned(),
            limits,
            lock: FolderLock::new(folder),
            current: None,
            link: Link::START,
            lines: String::new(),
        }
    }

    /// The last line.
    pub(super) fn link(&self) -> Link {
        self.link
    }

    /// Bytes that are best written together: many, but no more than half a file, since a batch is not divided.
    pub(super) fn batch_size(&self) -> usize {
        usize::try_from(self.limits.file / 2).map_or(MAX_BATCH, |half| half.min(MAX_BATCH))
    }

    /// Opens the record and repairs its end. Appends call it too.
    ///
    /// # Errors
    /// Any error of the file system.
    pub(super) fn open(&mut self) -> io::Result<()> {
        self.append(&[])
    }

    /// Appends events, one line each. The lines are with the kernel when this returns: a kill loses none of them.
    ///
    /// # Errors
    /// Any error of the file system. No line of the batch is in the file then.
    pub(super) fn append(&mut self, events: &[&str]) -> io::Result<()> {
        self.locked(|record| record.append_locked(events))
    }

    /// Rotates a file that is old, and deletes what the limits do not allow.
    ///
    /// # Errors
    /// Any error of the file system.
    pub(super) fn tidy(&mut self) -> io::Result<()> {
        self.locked(|record| {
            record.append_locked(&[])?;
            record.rotate_if_old()?;
            record.prune()
        })
    }

    /// Writes what the kernel holds to the disk.
    ///
    /// # Errors
    /// Any error of the file system.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.current.as_ref().map_or(Ok(()), |current| current.file.sync_data())
    }

    fn append_locked(&mut self, events: &[&str]) -> io::Result<()> {
        if !self.is_as_left() {
            self.reopen()?;
        }
        if events.is_empty() {
            return Ok(());
        }
        let bytes: usize = events.iter().map(|event| event.len() + LINE_OVERHEAD).sum();
        let current = self.current.as_ref().map_or(0, |current| current.length);
        let rotates = current > 0 && current + bytes as u64 > self.limits.file;
        if rotates {
            self.rotate()?;
        }
        self.write(events.iter().map(|event| Content::Event(event)))?;
        if rotates { self.prune() } else { Ok(()) }
    }

    /// Writes lines in one call, or none of them.
    fn write<'a>(&mut self, contents: impl Iterator<Item = Content<'a>>) -> io::Result<()> {
        let mut link = self.link;
        let first_line = link.line + 1;
        let lines = &mut self.lines;
        lines.clear();
        contents.for_each(|content| link.append(&content, lines));
        let current = self.current.as_mut().ok_or(io::ErrorKind::NotFound)?;
        if let Err(error) = current.file.write_all(lines.as_bytes()) {
            // A full disk may have taken some of the bytes.
            let _ = current.file.set_len(current.length);
            return Err(error);
        }
        if current.length == 0 {
            current.first_line = first_line;
        }
        current.length += lines.len() as u64;
        self.link = link;
        Ok(())
    }

    /// True if the file is the one of the last append and has its length.
    fn is_as_left(&self) -> bool {
        let Some(current) = &self.current else { return false };
        let path = self.folder.join(CURRENT_FILE);
        path.symlink_metadata()
            .is_ok_and(|metadata| metadata.ino() == current.inode && metadata.len() == current.length)
    }

    /// Opens the file, continues its chain, and notes a fault of its end in it.
    fn reopen(&mut self) -> io::Result<()> {
        let mut current = open_current(&self.folder)?;
        let (link, fault) = self.read_end(&mut current)?;
        self.link = link;
        self.current = Some(current);
        let time = unix_milliseconds(SystemTime::now());
        match fault {
            None => Ok(()),
            Some(Fault::Torn { bytes }) => {
                tracing::warn!(
                    bytes,
                    line = link.line + 1,
                    "removed an incomplete line from the audit record"
                );
                self.write([Content::Note(Note::Repaired { time, bytes })].into_iter())
            }
            Some(Fault::Damaged) => {
                tracing::error!(
                    line = link.line,
                    "the last line of the audit record cannot be read; `regauthctl audit verify` checks the record"
                );
                self.rotate()?;
                self.write([Content::Note(Note::Damaged { time })].into_iter())
            }
        }
    }

    /// Reads the last line of the file, or of the newest rotated file if this one is empty. Cuts off an incomplete line.
    fn read_end(&self, current: &mut Current) -> io::Result<(Link, Option<Fault>)> {
        let tail = Tail::read(&mut current.file)?;
        current.length -= tail.torn;
        if tail.torn > 0 {
            current.file.set_len(current.length)?;
        }
        let torn = (tail.torn > 0).then_some(Fault::Torn { bytes: tail.torn });
        let lines = tail.lines();
        let Some(last) = lines.last() else {
            return Ok((self.link_before_current(), torn));
        };
        current.first_line = first_link(&self.folder.join(CURRENT_FILE)).map_or(1, |before| before.line + 1);
        if let Some(link) = link_of(last) {
            return Ok((link, torn));
        }
        let readable = lines
            .iter()
            .rev()
            .enumerate()
            .find_map(|(behind, line)| Some(link_of(line)?.line + behind as u64));
        let line = readable.unwrap_or_else(|| self.link_before_current().line + lines.len() as u64);
        let hash = LineHash::of(last);
        Ok((Link { line, hash }, Some(Fault::Damaged)))
    }

    /// Last line of the newest rotated file; of this process if there is none.
    fn link_before_current(&self) -> Link {
        let newest = rotated_files(&self.folder).ok().and_then(|files| files.last().cloned());
        let link = newest.and_then(|file| last_link(&file));
        link.filter(|link| link.line >= self.link.line).unwrap_or(self.link)
    }

    fn rotate_if_old(&mut self) -> io::Result<()> {
        let Some(current) = self.current.as_ref().filter(|current| current.length > 0) else {
            return Ok(());
        };
        // Not every file system knows the time of creation.
        let age = (current.file.metadata()?.created().ok()).and_then(|created| created.elapsed().ok());
        if age.is_some_and(|age| age > self.limits.age / FILES) {
            self.rotate()?;
        }
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        self.sync()?;
        let first_line = self.current.as_ref().map_or(1, |current| current.first_line);
        let free = [first_line, self.link.line].map(|line| self.folder.join(rotated_file(line)));
        let free = free.into_iter().find(|path| path.symlink_metadata().is_err());
        std::fs::rename(
            self.folder.join(CURRENT_FILE),
            free.ok_or(io::ErrorKind::AlreadyExists)?,
        )?;
        self.current = None;
        self.current = Some(open_current(&self.folder)?);
        File::open(&self.folder)?.sync_all()
    }

    /// Deletes the oldest rotated files, as far as the limits say so. A note in the record comes first: otherwise their
    /// lines would be missing.
    fn prune(&mut self) -> io::Result<()> {
        let files = rotated_files(&self.folder)?;
        let sizes: Vec<u64> = files
            .iter()
            .map(|file| file.metadata().map_or(0, |data| data.len()))
            .collect();
        let mut total = sizes.iter().sum::<u64>() + self.current.as_ref().map_or(0, |current| current.length);
        let mut old = 0;
        for (file, size) in files.iter().zip(sizes) {
            if total <= self.limits.total && !is_older_than(file, self.limits.age) {
                break;
            }
            total = total.saturating_sub(size);
            old += 1;
        }
        let Some((newest, oldest)) = files.get(..old).and_then(<[PathBuf]>::split_last) else {
            return Ok(());
        };
        let next = files
            .get(old)
            .cloned()
            .unwrap_or_else(|| self.folder.join(CURRENT_FILE));
        let through = last_link(newest).or_else(|| first_link(&next)).unwrap_or(Link::START);
        let time = unix_milliseconds(SystemTime::now());
        self.write([Content::Note(Note::Pruned { time, through })].into_iter())?;
        tracing::info!(through = through.line, "deleted old lines of the audit record");
        oldest.iter().chain([newest]).try_for_each(std::fs::remove_file)
    }

    /// Does the work while this process holds the folder's lock.
    fn locked(&mut self, work: impl FnOnce(&mut Self) -> io::Result<()>) -> io::Result<()> {
        self.lock.take()?;
        let result = work(self);
        self.lock.release();
        result
    }
}

fn open_current(folder: &Path) -> io::Result<Current> {
    let mut options = OpenOptions::new();
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    options
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(no_follow);
    let file = options.open(folder.join(CURRENT_FILE))?;
    let metadata = file.metadata()?;
    Ok(Current {
        length: metadata.len(),
        first_line: 1,
        inode: metadata.ino(),
        file,
    })
}

/// Opens all files for reading, the oldest first, between two appends.
///
/// # Errors
/// Any error of the file system, and a lock that another process keeps.
pub(super) fn open_all(folder: &Path) -> io::Result<Vec<(String, File)>> {
    let mut lock = FolderLock::new(folder);
    lock.take()?;
    let opened = open_each(folder);
    lock.release();
    opened
}

fn open_each(folder: &Path) -> io::Result<Vec<(String, File)>> {
    let mut paths = rotated_files(folder)?;
    paths.extend(Some(folder.join(CURRENT_FILE)).filter(|path| path.exists()));
    let no_follow = rustix::fs::OFlags::NOFOLLOW.bits().cast_signed();
    let open = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = OpenOptions::new().read(true).custom_flags(no_follow).open(path)?;
        Ok((name, file))
    };
    paths.into_iter().map(open).collect()
}

/// Rotated files, the oldest first.
fn rotated_files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(is_rotated_file) {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

fn is_older_than(file: &Path, age: Duration) -> bool {
    let modified = file.metadata().and_then(|data| data.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// Number of files that the record is divided into.
pub(super) const FILES: u32 = 8;
const MAX_BATCH: usize = 64 * 1024;
/// Bytes of a line beside its event: the number, the hash.
const LINE_OVERHEAD: usize = 120;

#[cfg(test)]
mod tests;
