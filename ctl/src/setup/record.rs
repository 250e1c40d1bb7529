//! What setting a client up did to which files, in `state/setup/`. It holds the lines that were replaced, which a
//! person may have put a password into, so it is as private as the rest of the state folder.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use serde::{Deserialize, Serialize};

use super::document::Document;
use super::format::{Done, Format};
use super::patch::{self, Hunk};
use super::tool::{Tool, WantedFile};
use crate::error;

/// For whom a client is set up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Place {
    /// For this user.
    User,
    /// For one project, whose folder this is.
    Project(PathBuf),
}

impl Place {
    /// Whether a project's folder still exists.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::User => true,
            Self::Project(folder) => folder.is_dir(),
        }
    }
}

/// How one client is set up in one place.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Record {
    version: u32,
    /// Which client.
    pub(super) tool: Tool,
    /// Where.
    pub(super) place: Place,
    /// Its files.
    pub(super) files: Vec<FileRecord>,
}

/// What was done to one file, and the way back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FileRecord {
    /// The file.
    pub(super) path: PathBuf,
    /// What it is to the client.
    pub(super) role: String,
    format: Format,
    existed: bool,
    /// Of the text that we left; absent when we left no file.
    fingerprint: Option<String>,
    back: Vec<Hunk>,
    done: Vec<Done>,
    /// Folders that were made for it, the outermost last.
    pub(super) folders: Vec<PathBuf>,
}

impl Record {
    /// One without files.
    pub(super) fn new(tool: Tool, place: &Place) -> Self {
        Self {
            version: VERSION,
            tool,
            place: place.clone(),
            files: Vec::new(),
        }
    }

    /// What was recorded; one without files when nothing was.
    ///
    /// # Errors
    /// A record that cannot be read: without it nothing could be undone.
    pub(super) fn read(folders: &Folders, tool: Tool, place: &Place) -> Result<Self, ErrorBody> {
        let path = Self::new(tool, place).path(folders);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|why| error::failed(format!("{} is not a record of ours: {why}", path.display()))),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Self::new(tool, place)),
            Err(why) => Err(error::io(format!("cannot read {}", path.display()))(why)),
        }
    }

    /// All records that can be read.
    pub(super) fn all(folders: &Folders) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(folder(folders)) else {
            return Vec::new();
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_record = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        let mut paths: Vec<_> = paths.filter(is_record).collect();
        paths.sort();
        let read = |path: PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
        paths.into_iter().filter_map(read).collect()
    }

    /// What was done to a file.
    pub(super) fn file(&self, path: &Path) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Where a file of this role lies, as it was found out when the client was set up.
    pub(super) fn path_of(&self, role: &str) -> Option<&Path> {
        let found = self.files.iter().find(|file| file.role == role);
        found.map(|file| file.path.as_path())
    }

    /// Files that another record has no more.
    pub(super) fn files_not_in(&self, other: &Self) -> Vec<&FileRecord> {
        self.files
            .iter()
            .filter(|file| other.file(&file.path).is_none())
            .collect()
    }

    /// Writes it, 0600.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn write(&self, folders: &Folders) -> Result<(), ErrorBody> {
        let path = self.path(folders);
        let cannot = || error::io(format!("cannot write {}", path.display()));
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder(folders))
            .map_err(cannot())?;
        let json = serde_json::to_vec_pretty(self).map_err(|why| cannot()(why.into()))?;
        let new = path.with_extension("new");
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&new).map_err(cannot())?;
        io::Write::write_all(&mut file, &json).map_err(cannot())?;
        file.sync_all().map_err(cannot())?;
        fs::rename(&new, &path).map_err(cannot())
    }

    /// Forgets it.
    ///
    /// # Errors
    /// The file system's.
    pub(super) fn delete(&self, folders: &Folders) -> Result<(), ErrorBody> {
        let path = self.path(folders);
        match fs::remove_file(&path) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => {
                Err(error::io(format!("cannot delete {}", path.display()))(why))
            }
            _ => Ok(()),
        }
    }

    fn path(&self, folders: &Folders) -> PathBuf {
        let name = match &self.place {
            Place::User => self.tool.name().to_owned(),
            Place::Project(project) => {
                let which = patch::fingerprint(&project.to_string_lossy());
                format!("{}-{}", self.tool.name(), which.get(..16).unwrap_or_default())
            }
        };
        folder(folders).join(format!("{name}.json"))
    }
}

impl FileRecord {
    /// From what a file was to what it becomes.
    pub(super) fn new(
        file: &WantedFile,
        base: Option<&str>,
        after: Option<&str>,
        done: Vec<Done>,
        folders: Vec<PathBuf>,
    ) -> Self {
        Self {
            path: file.path.clone(),
            role: file.role.to_owned(),
            format: file.format,
            existed: base.is_some(),
            fingerprint: after.map(patch::fingerprint),
            back: patch::hunks(after.unwrap_or_default(), base.unwrap_or_default()),
            done,
            folders,
        }
    }

    /// Whether a file that was edited since still has all that is wanted now, and nothing of ours besides: then it is
    /// left as its owner arranged it.
    ///
    /// # Errors
    /// What is there now is not of the file's format any more.
    pub(super) fn is_still_right(&self, now: &Document, wanted: &WantedFile) -> Result<bool, ErrorBody> {
        let Some(text) = &now.text else { return Ok(false) };
        if Some(patch::fingerprint(text)) == self.fingerprint || self.format == Format::Whole {
            return Ok(false);
        }
        let is_wanted = |done: &Done| {
            let mut settings = wanted.settings.iter();
            settings
                .any(|setting| setting.key == done.key && (!done.key.is_empty() || setting.value.text() == done.ours))
        };
        Ok(self.done.iter().all(is_wanted) && wanted.format.set(text, &wanted.settings)?.done.is_empty())
    }

    /// The text as it was before us: exactly, when nobody has touched the file since; else what is there now without
    /// what we put in.
    ///
    /// # Errors
    /// What is there now is not of the file's format any more.
    pub(super) fn base(&self, now: &Document, notes: &mut Vec<String>) -> Result<Option<String>, ErrorBody> {
        let Some(text) = &now.text else { return Ok(None) };
        if Some(patch::fingerprint(text)) == self.fingerprint {
            return Ok(self.existed.then(|| patch::apply(text, &self.back)));
        }
        let unset = self.format.unset(text, &self.done)?;
        let path = self.path.display();
        if self.done.is_empty() {
            return Ok(Some(text.clone()));
        }
        notes.push(format!(
            "{path} was edited since; only what regauth had put in is taken out, the edits stay"
        ));
        for key in unset.kept {
            notes.push(format!("{path}: {key} has another value by now and stays"));
        }
        let nothing_left = unset.text.trim().is_empty() && !self.existed;
        Ok((!nothing_left).then_some(unset.text))
    }
}

fn folder(folders: &Folders) -> PathBuf {
    folders.state.join("setup")
}

const VERSION: u32 = 1;
