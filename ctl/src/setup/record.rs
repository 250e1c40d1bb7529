//! Setup record: the changes that setup made to a tool's files, and the hunks that undo them. Stored in `state/setup/`.
//!
//! A record holds the replaced text, and no secret: a setup that would replace one is refused. It has mode 0600 in a
//! folder of mode 0700.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use serde::{Deserialize, Serialize};

use super::clients::FileSettings;
use super::format::Format;
use super::secrets;
use super::setting::{Applied, AppliedSetting, Setting};
use super::target::SetupTarget;
use super::tool::Tool;
use crate::company::CompanySetting;
use crate::daemon_info::DaemonInfo;
use crate::diff::{self, Hunk};
use crate::error;
use crate::text_file::{self, TextFile};

/// Record of one tool's setup for one target.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SetupRecord {
    version: u32,
    /// Tool that was set up.
    pub(super) tool: Tool,
    /// Target of the setup.
    #[serde(rename = "place")]
    pub(super) target: SetupTarget,
    /// Changed files.
    pub(super) files: Vec<FileRecord>,
    /// Files of others that had a setting of the daemon's when setup ran near them, such as a project's configuration.
    #[serde(default, rename = "others", skip_serializing_if = "Vec::is_empty")]
    pub(super) other_files: Vec<PathBuf>,
}

/// Record of the changes to one file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct FileRecord {
    /// Path of the file.
    pub(super) path: PathBuf,
    role: String,
    format: Format,
    existed: bool,
    /// Fingerprint of the text that setup wrote; `None` if setup wrote no file.
    fingerprint: Option<String>,
    #[serde(rename = "back")]
    undo: Vec<Hunk>,
    #[serde(rename = "done")]
    applied: Vec<AppliedSetting>,
    /// Folders that setup created for the file, the outermost last.
    #[serde(rename = "folders")]
    pub(super) created_folders: Vec<PathBuf>,
}

impl SetupRecord {
    /// Record without files.
    pub(super) fn new(tool: Tool, target: &SetupTarget) -> Self {
        Self {
            version: VERSION,
            tool,
            target: target.clone(),
            files: Vec::new(),
            other_files: Vec::new(),
        }
    }

    /// Reads the record; returns one without files if the tool is not set up.
    ///
    /// # Errors
    /// The record cannot be read. Going on without it would make the setup impossible to undo.
    pub(super) fn read(folders: &Folders, tool: Tool, target: &SetupTarget) -> Result<Self, ErrorBody> {
        let path = Self::new(tool, target).path(folders);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|why| error::failed(format!("{} is not a valid setup record: {why}", path.display()))),
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(Self::new(tool, target)),
            Err(why) => Err(error::io(format!("cannot read {}", path.display()))(why)),
        }
    }

    /// Reads all records, and skips invalid ones.
    pub(super) fn all(folders: &Folders) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(record_folder(folders)) else {
            return Vec::new();
        };
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_record = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "json");
        let mut paths: Vec<_> = paths.filter(is_record).collect();
        paths.sort();
        let read = |path: PathBuf| serde_json::from_slice(&fs::read(path).ok()?).ok();
        paths.into_iter().filter_map(read).collect()
    }

    /// Reads the records of tools that use the daemon of this machine.
    pub(super) fn all_of_daemon(folders: &Folders) -> Vec<Self> {
        let mut records = Self::all(folders);
        records.retain(|record| record.tool != Tool::Gateway);
        records
    }

    /// Record of the file with this path.
    pub(super) fn file(&self, path: &Path) -> Option<&FileRecord> {
        self.files.iter().find(|file| file.path == path)
    }

    /// Path of the file with this role.
    pub(super) fn path_of(&self, role: &str) -> Option<&Path> {
        let file = self.files.iter().find(|file| file.role == role)?;
        Some(&file.path)
    }

    /// Records of files that the other record does not have.
    pub(super) fn files_not_in(&self, other: &Self) -> Vec<&FileRecord> {
        self.files
            .iter()
            .filter(|file| other.file(&file.path).is_none())
            .collect()
    }

    /// Writes the record.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(super) fn write(&self, folders: &Folders) -> Result<(), ErrorBody> {
        let path = self.path(folders);
        let io_error = || error::io(format!("cannot write {}", path.display()));
        let json = serde_json::to_vec_pretty(self).map_err(|why| io_error()(why.into()))?;
        text_file::write_private(&path, &json).map_err(io_error())
    }

    /// Deletes the record. A missing record is no error.
    ///
    /// # Errors
    /// The file cannot be deleted.
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
        let name = match &self.target {
            SetupTarget::User => self.tool.name().to_owned(),
            SetupTarget::Project(folder) => {
                let fingerprint = diff::fingerprint(&folder.to_string_lossy());
                format!("{}-{}", self.tool.name(), fingerprint.get(..16).unwrap_or_default())
            }
        };
        record_folder(folders).join(format!("{name}.json"))
    }
}

impl FileRecord {
    /// Records the change of a file from `before` to what `applied` left of it.
    ///
    /// # Errors
    /// The change replaces a secret, which a record must not hold.
    pub(super) fn new(
        file: &FileSettings,
        before: Option<&str>,
        after: Option<&str>,
        applied: Vec<AppliedSetting>,
        created_folders: Vec<PathBuf>,
    ) -> Result<Self, ErrorBody> {
        let undo = diff::positioned_hunks(after.unwrap_or_default(), before.unwrap_or_default());
        let secrets = secrets::find(before.unwrap_or_default());
        let holds_secret = |(_, inserted): &(Hunk, Range<usize>)| {
            secrets
                .iter()
                .any(|secret| secret.start < inserted.end && inserted.start < secret.end)
        };
        let previous = applied.iter().filter_map(|setting| setting.before.as_deref());
        if undo.iter().any(holds_secret) || previous.into_iter().any(secrets::has_secret) {
            return Err(refuse_secret(&file.path));
        }
        Ok(Self {
            path: file.path.clone(),
            role: file.role.to_owned(),
            format: file.format,
            existed: before.is_some(),
            fingerprint: after.map(diff::fingerprint),
            undo: undo.into_iter().map(|(hunk, _)| hunk).collect(),
            applied,
            created_folders,
        })
    }

    /// True if setup wrote a setting with this key.
    pub(super) fn has_applied(&self, key: &[String]) -> bool {
        self.applied.iter().any(|applied| applied.key == key)
    }

    /// Takes the written value of a setting for that of the applied one with its key.
    pub(super) fn set_written(&mut self, setting: AppliedSetting) {
        if let Some(applied) = self.applied.iter_mut().find(|applied| applied.key == setting.key) {
            applied.written = setting.written;
        }
    }

    /// A company's settings that setup replaced in the file.
    pub(super) fn replaced(&self, info: &DaemonInfo) -> Vec<CompanySetting> {
        let place = self.path.display().to_string();
        let address = info.proxy.trim_start_matches("http://");
        let trust_store = Path::new(&info.bundle).with_extension("jks");
        let replaced = |setting: &AppliedSetting| {
            let before = setting.previous_text()?;
            if setting.wrote(&info.proxy) || setting.wrote(address) {
                Some(CompanySetting::proxy(&place, &before))
            } else if setting.wrote(&info.bundle) {
                Some(CompanySetting::ca_file(&place, &before))
            } else if setting.wrote(&trust_store.display().to_string()) {
                Some(CompanySetting::java_trust_store(&place, &before))
            } else if setting.key.last().is_some_and(|key| key.ends_with("proxyHost")) {
                let port = self.previous_port().unwrap_or_else(|| "80".to_owned());
                Some(CompanySetting::proxy(&place, &format!("http://{before}:{port}")))
            } else {
                None
            }
        };
        self.applied.iter().filter_map(replaced).collect()
    }

    /// Previous port of Java's proxy, which is a setting of its own.
    fn previous_port(&self) -> Option<String> {
        let is_port = |key: &String| key.ends_with("proxyPort");
        let mut ports = self
            .applied
            .iter()
            .filter(|setting| setting.key.last().is_some_and(is_port));
        ports.next()?.previous_text()
    }

    /// True if a file that was edited since setup has all wanted settings and no outdated one. Setup leaves such a file
    /// as its owner arranged it.
    ///
    /// # Errors
    /// The text is no longer of the file's format.
    pub(super) fn is_up_to_date(&self, file: &TextFile, wanted: &FileSettings) -> Result<bool, ErrorBody> {
        let Some(text) = &file.text else { return Ok(false) };
        if Some(diff::fingerprint(text)) == self.fingerprint || self.format == Format::Whole {
            return Ok(false);
        }
        let is_wanted = |applied: &AppliedSetting| {
            // Lines have no key, so their text is compared.
            let matches = |setting: &Setting| {
                setting.key == applied.key && (!applied.key.is_empty() || setting.value.text() == applied.written)
            };
            wanted.settings.iter().any(matches)
        };
        if !self.applied.iter().all(is_wanted) {
            return Ok(false);
        }
        let Applied { settings: missing, .. } = wanted.format.apply(text, &wanted.settings)?;
        Ok(missing.is_empty())
    }

    /// Computes the text without setup's changes: exactly the text before setup if nobody edited the file since, else
    /// the edited text without the applied settings. `None` stands for no file.
    ///
    /// # Errors
    /// The text is no longer of the file's format.
    pub(super) fn revert(&self, text: Option<&str>, notes: &mut Vec<String>) -> Result<Option<String>, ErrorBody> {
        let Some(text) = text else { return Ok(None) };
        if Some(diff::fingerprint(text)) == self.fingerprint {
            return Ok(self.existed.then(|| diff::apply_hunks(text, &self.undo)));
        }
        let reverted = self.format.revert(text, &self.applied)?;
        let path = self.path.display();
        if self.applied.is_empty() {
            return Ok(Some(text.to_owned()));
        }
        notes.push(format!(
            "{path} was edited since; your edits stay, and only regauth's settings are removed"
        ));
        for key in reverted.kept {
            notes.push(format!("{path}: {key} stays, because its value was changed"));
        }
        let is_left_empty = reverted.text.trim().is_empty() && !self.existed;
        Ok((!is_left_empty).then_some(reverted.text))
    }
}

fn refuse_secret(path: &Path) -> ErrorBody {
    let path = path.display();
    error::refused(format!(
        "setup would replace a line of {path} that has a password or token, and its record for --undo must hold none"
    ))
    .hint(format!(
        "take the line out of {path} and repeat; regauthd itself uses a proxy that `proxy` below [upstream] in config.toml \
         names, and `regauthctl import` takes a token over first"
    ))
}

fn record_folder(folders: &Folders) -> PathBuf {
    folders.state.join("setup")
}

/// Version 2: hunks may keep parts of lines.
const VERSION: u32 = 2;
