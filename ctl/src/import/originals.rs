//! Takes tokens out of the files that they were found in, and puts them back.
//!
//! A copy of each file lies in `state/import/`, readable by its owner alone, with what the daemon's other files have to
//! themselves: it holds the tokens in plain text, so it is kept until somebody says that it is not needed, and no longer.
//! The copy and the record of it are written before the file is changed: a kill in between leaves a copy of a file that
//! is as it was.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use serde::{Deserialize, Serialize};
use tempfile::NamedTempFile;

use super::{Cut, Found};
use crate::diff::{Hunk, apply_hunks as apply, fingerprint, hunks};
use crate::error;
use crate::text_file::TextFile as Document;

/// What was done to files.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Outcome {
    /// Those that were changed.
    pub(crate) files: Vec<String>,
    /// The folder that has copies of what they were, while there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) backup: Option<String>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

/// Takes these tokens out of their files.
///
/// # Errors
/// A file that cannot be read, a copy that cannot be written; the files before it are done.
pub(crate) fn take_out(found: &[&Found], folders: &Folders) -> Result<Outcome, ErrorBody> {
    let mut backup = Backup::read(folders)?;
    let mut outcome = Outcome::default();
    let mut files: Vec<&Path> = found
        .iter()
        .flat_map(|found| &found.origins)
        .map(|origin| &*origin.file)
        .collect();
    files.sort_unstable();
    files.dedup();
    for file in files {
        let document = Document::read(file)?;
        let Some(before) = &document.text else { continue };
        let origins = found
            .iter()
            .flat_map(|found| &found.origins)
            .filter(|origin| origin.file == file);
        let cuts: Vec<&Cut> = origins.map(|origin| &origin.cut).collect();
        if cuts.iter().any(|cut| matches!(cut, Cut::ByHand)) {
            let note = format!("{}: a token there has to be taken out by hand", file.display());
            outcome.notes.push(note);
        }
        let after = without(before, &cuts);
        if after != *before {
            backup.keep(&document, before, &after)?;
            match document.replace(Some(&after)) {
                Ok(()) => outcome.files.push(file.display().to_string()),
                // Such as the machine's own, which is for its administrator to change.
                Err(error) => {
                    backup.record.steps.pop();
                    backup.settle()?;
                    outcome.notes.push(error.message);
                }
            }
        }
    }
    outcome.backup = backup.place();
    Ok(outcome)
}

/// Puts every file back: as it was, to the byte, or, where it was edited since, with the edits and the tokens.
///
/// # Errors
/// A file or copy that cannot be read or written.
pub(crate) fn put_back(folders: &Folders) -> Result<Outcome, ErrorBody> {
    let mut backup = Backup::read(folders)?;
    let mut outcome = Outcome::default();
    if backup.record.steps.is_empty() {
        outcome
            .notes
            .push("there is no backup; nothing was taken out, or it was deleted".to_owned());
    }
    let mut kept = Vec::new();
    while let Some(step) = backup.record.steps.pop() {
        let original = backup.original(&step)?;
        let document = Document::read(&step.path)?.with_mode(step.mode);
        let file = step.path.display().to_string();
        match step.back(document.text.as_deref(), &original) {
            Some(text) => {
                document.replace(Some(&text))?;
                outcome.files.push(file);
            }
            None => {
                let copy = backup.folder.join(&step.copy);
                let note = format!(
                    "{file} was edited since where the token was; {} is what it was",
                    copy.display()
                );
                outcome.notes.push(note);
                kept.push(step);
            }
        }
    }
    kept.reverse();
    backup.record.steps = kept;
    backup.settle()?;
    outcome.backup = backup.place();
    Ok(outcome)
}

/// Deletes the copies.
///
/// # Errors
/// The file system's.
pub(crate) fn forget(folders: &Folders) -> Result<Outcome, ErrorBody> {
    let mut backup = Backup::read(folders)?;
    let steps = std::mem::take(&mut backup.record.steps);
    backup.settle()?;
    let mut outcome = Outcome::default();
    if steps.is_empty() {
        outcome.notes.push("there is no backup".to_owned());
    }
    outcome.files = steps.iter().map(|step| step.path.display().to_string()).collect();
    Ok(outcome)
}

/// Where copies of what was taken out lie, if any do.
pub(crate) fn backup(folders: &Folders) -> Option<String> {
    Backup::read(folders).ok()?.place()
}

/// Where copies lie while there are any.
pub(crate) fn folder(folders: &Folders) -> PathBuf {
    folders.state.join("import")
}

/// A text without what these cuts name.
fn without(text: &str, cuts: &[&Cut]) -> String {
    let mut ranges: Vec<_> = cuts.iter().flat_map(|cut| cut.bytes()).collect();
    ranges.sort_by_key(|range| std::cmp::Reverse(range.start));
    ranges.dedup();
    let mut text = text.to_owned();
    for range in ranges {
        if text.get(range.clone()).is_some() {
            text.replace_range(range.clone(), "");
        }
    }
    text
}

impl Cut {
    fn bytes(&self) -> &[std::ops::Range<usize>] {
        match self {
            Self::Bytes(ranges) => ranges,
            Self::ByHand => &[],
        }
    }
}

struct Backup {
    folder: PathBuf,
    record: Record,
}

/// Which copies there are. No token is in it.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    steps: Vec<Step>,
}

/// One change of one file.
#[derive(Debug, Serialize, Deserialize)]
struct Step {
    path: PathBuf,
    mode: u32,
    /// The name of the copy.
    copy: String,
    /// Of the text that we left.
    fingerprint: String,
    /// What leads from the copy to that text: what was taken out is not in it.
    cut: Vec<Hunk>,
}

impl Step {
    /// The text to put back; none where edits stand in the way.
    fn back(&self, now: Option<&str>, original: &str) -> Option<String> {
        match now {
            Some(now) if now != original && fingerprint(now) != self.fingerprint => {
                diffy::merge(&apply(original, &self.cut), now, original).ok()
            }
            _ => Some(original.to_owned()),
        }
    }
}

impl Backup {
    fn read(folders: &Folders) -> Result<Self, ErrorBody> {
        let folder = folder(folders);
        let path = folder.join(RECORD);
        let record = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|why| error::failed(format!("{} is not a record of ours: {why}", path.display())))?,
            Err(why) if why.kind() == io::ErrorKind::NotFound => Record::default(),
            Err(why) => return Err(error::io(format!("cannot read {}", path.display()))(why)),
        };
        Ok(Self { folder, record })
    }

    fn place(&self) -> Option<String> {
        (!self.record.steps.is_empty()).then(|| self.folder.display().to_string())
    }

    /// Keeps what a file is, before it becomes something else.
    fn keep(&mut self, document: &Document, before: &str, after: &str) -> Result<(), ErrorBody> {
        let name = document.path.file_name().unwrap_or_default().to_string_lossy();
        let is_free = |copy: &String| self.record.steps.iter().all(|step| step.copy != *copy);
        let copy = (1..)
            .map(|number: u32| format!("{number}-{name}"))
            .find(is_free)
            .unwrap_or_default();
        self.write(&copy, before.as_bytes())?;
        self.record.steps.push(Step {
            path: document.path.clone(),
            mode: document.mode(),
            copy,
            fingerprint: fingerprint(after),
            cut: hunks(before, after),
        });
        self.write_record()
    }

    fn original(&self, step: &Step) -> Result<String, ErrorBody> {
        let path = self.folder.join(&step.copy);
        fs::read_to_string(&path).map_err(error::io(format!("cannot read {}", path.display())))
    }

    /// The record goes first: a copy that nobody knows of is deleted with the folder.
    fn settle(&self) -> Result<(), ErrorBody> {
        let cannot = || error::io(format!("cannot change {}", self.folder.display()));
        if self.record.steps.is_empty() {
            return match fs::remove_dir_all(&self.folder) {
                Err(why) if why.kind() != io::ErrorKind::NotFound => Err(cannot()(why)),
                _ => Ok(()),
            };
        }
        self.write_record()?;
        for entry in fs::read_dir(&self.folder).map_err(cannot())?.filter_map(Result::ok) {
            let name = entry.file_name().to_string_lossy().into_owned();
            let needed = name == RECORD || self.record.steps.iter().any(|step| step.copy == name);
            if !needed {
                fs::remove_file(entry.path()).map_err(cannot())?;
            }
        }
        Ok(())
    }

    fn write_record(&self) -> Result<(), ErrorBody> {
        let json = serde_json::to_vec_pretty(&self.record);
        let json = json.map_err(|why| error::failed(format!("the record has no JSON form: {why}")))?;
        self.write(RECORD, &json)
    }

    /// In one step, 0600, in a folder of 0700.
    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), ErrorBody> {
        let write = || -> io::Result<()> {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            let mut file = NamedTempFile::with_prefix_in(".new-", &self.folder)?;
            file.write_all(bytes)?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o600))?;
            file.as_file().sync_all()?;
            file.persist(self.folder.join(name))?;
            fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(error::io(format!("cannot write to {}", self.folder.display())))
    }
}

const RECORD: &str = "record.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_and_tokens_come_together_where_they_do_not_meet() {
        let original = "a\nsecret\nb\nc\nd\n";
        let after = "a\nb\nc\nd\n";
        let step = Step {
            path: PathBuf::new(),
            mode: 0o600,
            copy: String::new(),
            fingerprint: fingerprint(after),
            cut: hunks(original, after),
        };
        assert!(!format!("{step:?}").contains("secret"));
        for (now, back) in [
            (Some(after), Some(original)),
            (Some(original), Some(original)),
            (None, Some(original)),
            (Some("a\nb\nc\nd\nmine\n"), Some("a\nsecret\nb\nc\nd\nmine\n")),
            (Some("mine\n"), None),
        ] {
            assert_eq!(step.back(now, original).as_deref(), back, "{now:?}");
        }
    }
}
