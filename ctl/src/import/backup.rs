//! Removes imported tokens from their files, and restores the files from a backup.
//!
//! The backup in `state/import/` has a copy of each changed file, tokens included, so it has mode 0600 and exists only
//! until the user deletes it. The copy and the manifest are written before the file changes: after a kill in between,
//! the backup has a copy of an unchanged file.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use serde::{Deserialize, Serialize};

use super::found::{FoundToken, Removal, TokenLocation};
use crate::diff::{Hunk, apply_hunks, fingerprint};
use crate::error;
use crate::text_file::{self, TextFile};

/// Report on changed files.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct BackupOutcome {
    /// Changed files; of [`delete`], the files whose copies were deleted.
    pub(crate) files: Vec<String>,
    /// Folder with the copies, as long as there are any.
    #[serde(rename = "backup", skip_serializing_if = "Option::is_none")]
    pub(crate) folder: Option<String>,
    /// Advice for the user.
    pub(crate) notes: Vec<String>,
}

/// Removes tokens from their files.
///
/// # Errors
/// A file cannot be read or a copy cannot be written. The files before it stay changed.
pub(crate) fn remove_tokens(tokens: &[&FoundToken], folders: &Folders) -> Result<BackupOutcome, ErrorBody> {
    let mut backup = Backup::read(folders)?;
    let mut outcome = BackupOutcome::default();
    let locations: Vec<&TokenLocation> = tokens.iter().flat_map(|token| &token.locations).collect();
    let mut files: Vec<&Path> = locations.iter().map(|location| &*location.file).collect();
    files.sort_unstable();
    files.dedup();
    for file in files {
        let in_file = locations.iter().filter(|location| location.file == file);
        let removals: Vec<&Removal> = in_file.map(|location| &location.removal).collect();
        backup.remove_from_file(file, &removals, &mut outcome)?;
    }
    outcome.folder = backup.folder_if_used();
    Ok(outcome)
}

/// Restores every file: byte for byte, or with the edits since, if these do not touch the lines of a token.
///
/// # Errors
/// A file or a copy cannot be read or written.
pub(crate) fn restore(folders: &Folders) -> Result<BackupOutcome, ErrorBody> {
    let mut backup = Backup::read(folders)?;
    let mut outcome = BackupOutcome::default();
    if backup.manifest.copies.is_empty() {
        outcome
            .notes
            .push("there is no backup: no token was removed, or the copies were deleted".to_owned());
    }
    let mut kept = Vec::new();
    // The last change is undone first, because a file may have been changed twice.
    while let Some(copy) = backup.manifest.copies.pop() {
        let original = backup.read_copy(&copy)?;
        let file = TextFile::read(&copy.path)?.with_mode(copy.mode);
        let path = copy.path.display().to_string();
        if let Some(text) = copy.restored_text(file.text.as_deref(), &original) {
            file.replace(Some(&text))?;
            outcome.files.push(path);
        } else {
            let original = backup.folder.join(&copy.name);
            outcome.notes.push(format!(
                "{path} was edited since, in the lines of the token; its original is {}",
                original.display()
            ));
            kept.push(copy);
        }
    }
    kept.reverse();
    backup.manifest.copies = kept;
    backup.save()?;
    outcome.folder = backup.folder_if_used();
    Ok(outcome)
}

/// Deletes the backup.
///
/// # Errors
/// The folder cannot be deleted.
pub(crate) fn delete(folders: &Folders) -> Result<BackupOutcome, ErrorBody> {
    let mut backup = Backup::read(folders)?;
    let copies = std::mem::take(&mut backup.manifest.copies);
    backup.save()?;
    let mut outcome = BackupOutcome::default();
    if copies.is_empty() {
        outcome.notes.push("there is no backup".to_owned());
    }
    outcome.files = copies.iter().map(|copy| copy.path.display().to_string()).collect();
    Ok(outcome)
}

/// Folder with the copies, if there are any.
pub(crate) fn existing_folder(folders: &Folders) -> Option<String> {
    Backup::read(folders).ok()?.folder_if_used()
}

/// Folder for the copies.
pub(crate) fn folder(folders: &Folders) -> PathBuf {
    folders.state.join("import")
}

/// Ranges to remove, in order, without overlaps.
fn ranges(removals: &[&Removal]) -> Vec<Range<usize>> {
    let mut ranges: Vec<Range<usize>> = removals.iter().flat_map(|removal| removal.ranges()).cloned().collect();
    ranges.sort_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start < last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// Returns the text without the ranges, which are in order.
fn without(text: &str, ranges: &[Range<usize>]) -> String {
    let mut text = text.to_owned();
    for range in ranges.iter().rev() {
        if text.get(range.clone()).is_some() {
            text.replace_range(range.clone(), "");
        }
    }
    text
}

impl Removal {
    fn ranges(&self) -> &[Range<usize>] {
        match self {
            Self::Bytes(ranges) => ranges,
            Self::ByHand => &[],
        }
    }
}

struct Backup {
    folder: PathBuf,
    manifest: Manifest,
}

/// List of the copies, in `record.json`. It holds no token.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Manifest {
    #[serde(rename = "steps")]
    copies: Vec<FileCopy>,
}

/// Copy of a file from before one change.
#[derive(Debug, Serialize, Deserialize)]
struct FileCopy {
    path: PathBuf,
    mode: u32,
    /// File name of the copy in the backup folder.
    #[serde(rename = "copy")]
    name: String,
    /// Fingerprint of the text after the change.
    fingerprint: String,
    /// Byte ranges that the change removed from the copy. They hold no text, and so no token.
    #[serde(default, rename = "ranges")]
    removed: Vec<Range<usize>>,
    /// Hunks from the copy to the text after the change, in manifests of earlier releases.
    #[serde(default, rename = "cut", skip_serializing_if = "Vec::is_empty")]
    hunks: Vec<Hunk>,
}

impl FileCopy {
    /// Text to restore: the original, merged with the edits since. `None` if both touch the same lines.
    fn restored_text(&self, now: Option<&str>, original: &str) -> Option<String> {
        match now {
            Some(now) if now != original && fingerprint(now) != self.fingerprint => {
                let after = without(&apply_hunks(original, &self.hunks), &self.removed);
                diffy::merge(&after, now, original).ok()
            }
            _ => Some(original.to_owned()),
        }
    }
}

impl Backup {
    fn read(folders: &Folders) -> Result<Self, ErrorBody> {
        let folder = folder(folders);
        let path = folder.join(MANIFEST);
        let manifest = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|why| error::failed(format!("{} is not a valid backup manifest: {why}", path.display())))?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => Manifest::default(),
            Err(why) => return Err(error::io(format!("cannot read {}", path.display()))(why)),
        };
        Ok(Self { folder, manifest })
    }

    fn folder_if_used(&self) -> Option<String> {
        (!self.manifest.copies.is_empty()).then(|| self.folder.display().to_string())
    }

    fn remove_from_file(
        &mut self,
        path: &Path,
        removals: &[&Removal],
        outcome: &mut BackupOutcome,
    ) -> Result<(), ErrorBody> {
        let file = TextFile::read(path)?;
        let Some(before) = &file.text else { return Ok(()) };
        if removals.iter().any(|removal| matches!(removal, Removal::ByHand)) {
            let note = format!("{}: remove the token there by hand", path.display());
            outcome.notes.push(note);
        }
        let removed = ranges(removals);
        let after = without(before, &removed);
        if after == *before {
            return Ok(());
        }
        self.add_copy(&file, before, &after, removed)?;
        match file.replace(Some(&after)) {
            Ok(()) => outcome.files.push(path.display().to_string()),
            // The user may not write the machine's own files; those are the administrator's to change.
            Err(error) => {
                self.manifest.copies.pop();
                self.save()?;
                outcome.notes.push(error.message);
            }
        }
        Ok(())
    }

    fn add_copy(
        &mut self,
        file: &TextFile,
        before: &str,
        after: &str,
        removed: Vec<Range<usize>>,
    ) -> Result<(), ErrorBody> {
        let file_name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let is_unused = |name: &String| self.manifest.copies.iter().all(|copy| copy.name != *name);
        let name = (1..)
            .map(|number: u32| format!("{number}-{file_name}"))
            .find(is_unused)
            .unwrap_or_default();
        self.write(&name, before.as_bytes())?;
        self.manifest.copies.push(FileCopy {
            path: file.path.clone(),
            mode: file.mode(),
            name,
            fingerprint: fingerprint(after),
            removed,
            hunks: Vec::new(),
        });
        self.write_manifest()
    }

    fn read_copy(&self, copy: &FileCopy) -> Result<String, ErrorBody> {
        let path = self.folder.join(&copy.name);
        fs::read_to_string(&path).map_err(error::io(format!("cannot read {}", path.display())))
    }

    /// Writes the manifest, then deletes the copies that it does not list. Deletes the folder if no copy is left.
    fn save(&self) -> Result<(), ErrorBody> {
        let io_error = || error::io(format!("cannot change {}", self.folder.display()));
        if self.manifest.copies.is_empty() {
            return match fs::remove_dir_all(&self.folder) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => Err(io_error()(why)),
                _ => Ok(()),
            };
        }
        self.write_manifest()?;
        for entry in fs::read_dir(&self.folder).map_err(io_error())?.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_listed = name == MANIFEST || self.manifest.copies.iter().any(|copy| copy.name == name);
            if !is_listed {
                fs::remove_file(entry.path()).map_err(io_error())?;
            }
        }
        Ok(())
    }

    fn write_manifest(&self) -> Result<(), ErrorBody> {
        let json = serde_json::to_vec_pretty(&self.manifest);
        let json = json.map_err(|why| error::failed(format!("the backup manifest has no JSON form: {why}")))?;
        self.write(MANIFEST, &json)
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ErrorBody> {
        let written = text_file::write_private(&self.folder.join(name), bytes);
        written.map_err(error::io(format!("cannot write to {}", self.folder.display())))
    }
}

const MANIFEST: &str = "record.json";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diff::hunks;

    #[test]
    fn merges_edits_and_tokens_in_different_lines() {
        let original = "a\nsecret\nb\nc\nd\n";
        let after = "a\nb\nc\nd\n";
        let copy = FileCopy {
            path: PathBuf::new(),
            mode: 0o600,
            name: String::new(),
            fingerprint: fingerprint(after),
            removed: Vec::new(),
            hunks: hunks(original, after),
        };
        let with_ranges = FileCopy {
            removed: ranges(&[&Removal::Bytes(std::iter::once(2..9).collect())]),
            hunks: Vec::new(),
            path: PathBuf::new(),
            name: String::new(),
            fingerprint: fingerprint(after),
            mode: 0o600,
        };
        assert!(!format!("{copy:?} {with_ranges:?}").contains("secret"));
        for (now, restored) in [
            (Some(after), Some(original)),
            (Some(original), Some(original)),
            (None, Some(original)),
            (Some("a\nb\nc\nd\nmine\n"), Some("a\nsecret\nb\nc\nd\nmine\n")),
            (Some("mine\n"), None),
        ] {
            for copy in [&copy, &with_ranges] {
                assert_eq!(copy.restored_text(now, original).as_deref(), restored, "{now:?}");
            }
        }
    }
}
