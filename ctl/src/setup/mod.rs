//! Configures tools to use the proxy, and undoes that exactly.
//!
//! `clients` is a table: the file that each client reads and the settings that it needs. A `format`
//! applies settings to a text and reverts them, with comments and order kept. The `record` stores the undo hunks of
//! each file: the replaced text, never a copy of the file. If that text had a secret (`secrets`), setup refuses.
//!
//! [`gateway`] sets up a machine without a daemon: the shell's environment leads all clients to a gateway.
//!
//! Setup always starts from the text without its own changes. So a second setup changes nothing, and a setup after a
//! registry was removed leaves no setting of it behind.

mod tool;

mod clients;
pub(crate) mod gateway;
mod target;

mod format;
mod setting;

pub(crate) mod cargo_names;
mod git;
mod ini;
mod maven_settings;
mod properties;
mod toml;
mod yaml;

mod record;
mod refresh;
mod repair;
mod secrets;

use std::io;
use std::path::{Path, PathBuf};

use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, ErrorKind};
use secrecy::zeroize::Zeroizing;
use serde::Serialize;

use crate::company::{CompanySetting, without_repetitions};
use crate::daemon_info::DaemonInfo;
use crate::text_file::TextFile;
use crate::{diff, error, text_file};
use clients::{FileSettings, ToolSettings};
use record::{FileRecord, SetupRecord};
pub(crate) use refresh::refresh;
pub(crate) use target::SetupTarget;
pub(crate) use tool::{Tool, parser};

/// Report on a setup that was carried out, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct SetupOutcome {
    /// Name of the tool.
    #[serde(rename = "client")]
    pub(crate) tool: &'static str,
    /// Changed files.
    pub(crate) files: Vec<FileDiff>,
    /// Advice for the user.
    pub(crate) notes: Vec<String>,
}

/// Change of one file.
#[derive(Debug, Serialize)]
pub(crate) struct FileDiff {
    /// Path of the file.
    pub(crate) file: String,
    /// Unified diff.
    pub(crate) diff: String,
}

/// Changes to a tool's files, computed before the first file is written.
pub(crate) struct SetupPlan {
    tool: Tool,
    record: SetupRecord,
    files: Vec<(TextFile, Option<String>)>,
    /// Files of regauthctl's own that no record may hold, such as a token's.
    own_files: Vec<(PathBuf, Option<Zeroizing<Vec<u8>>>)>,
    notes: Vec<String>,
}

impl SetupPlan {
    /// Plans to set a tool up.
    ///
    /// # Errors
    /// A file cannot be read or parsed, or a program is missing.
    pub(crate) fn set_up(
        tool: Tool,
        target: &SetupTarget,
        info: &DaemonInfo,
        folders: &Folders,
    ) -> Result<Self, ErrorBody> {
        let before = SetupRecord::read(folders, tool, target)?;
        let wanted = tool.settings(target, info, &before)?;
        Self::with_settings(tool, target, &before, wanted)
    }

    fn with_settings(
        tool: Tool,
        target: &SetupTarget,
        before: &SetupRecord,
        wanted: ToolSettings,
    ) -> Result<Self, ErrorBody> {
        let mut plan = Self::empty(tool, target);
        plan.record.other_files = wanted.other_files;
        plan.notes = wanted.notes;
        for wanted in wanted.files {
            plan.set_up_file(&wanted, before.file(&wanted.path))?;
        }
        plan.revert_files(before.files_not_in(&plan.record))?;
        Ok(plan)
    }

    /// Plans to undo a setup.
    ///
    /// # Errors
    /// A file cannot be read or parsed.
    pub(crate) fn undo(tool: Tool, target: &SetupTarget, folders: &Folders) -> Result<Self, ErrorBody> {
        let before = SetupRecord::read(folders, tool, target)?;
        let mut plan = Self::empty(tool, target);
        if before.files.is_empty() {
            plan.notes.push(format!("{} is not set up", tool.name()));
        }
        plan.revert_files(before.files.iter().collect())?;
        if tool == Tool::Gateway {
            let own_files = gateway::own_files(folders).into_iter();
            plan.own_files = own_files.map(|path| (path, None)).collect();
        }
        Ok(plan)
    }

    fn empty(tool: Tool, target: &SetupTarget) -> Self {
        Self {
            tool,
            record: SetupRecord::new(tool, target),
            files: Vec::new(),
            own_files: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn set_up_file(&mut self, wanted: &FileSettings, record: Option<&FileRecord>) -> Result<(), ErrorBody> {
        self.plan_file(wanted, record)
            .map_err(|error| naming_the_file(error, &wanted.path))
    }

    fn plan_file(&mut self, wanted: &FileSettings, record: Option<&FileRecord>) -> Result<(), ErrorBody> {
        let file = TextFile::read(&wanted.path)?;
        if let Some(record) = record
            && record.is_up_to_date(&file, wanted)?
        {
            let text = file.text.clone();
            self.notes
                .extend(wanted.notes_on_kept_secrets(text.as_deref().unwrap_or_default()));
            self.record.files.push(record.clone());
            self.files.push((file, text));
            return Ok(());
        }
        let before = match record {
            // The notes on reverted settings do not matter: the settings are applied again at once.
            Some(record) => repair::revert_repaired(record, &file, wanted)?,
            None => file.text.clone(),
        };
        let text = before.as_deref().unwrap_or_default();
        self.notes.extend(wanted.notes_on_kept_secrets(text));
        let applied = wanted.format.apply(text, &wanted.settings)?;
        let after = if applied.settings.is_empty() {
            before.clone()
        } else {
            Some(applied.text)
        };
        let created_folders = record.map_or_else(|| file.missing_folders(), |record| record.created_folders.clone());
        self.record.files.push(FileRecord::new(
            wanted,
            before.as_deref(),
            after.as_deref(),
            applied.settings,
            created_folders,
        )?);
        self.files.push((file, after));
        Ok(())
    }

    fn revert_files(&mut self, records: Vec<&FileRecord>) -> Result<(), ErrorBody> {
        for record in records {
            let file = TextFile::read(&record.path)?;
            let before = record.revert(file.text.as_deref(), &mut self.notes);
            let before = before.map_err(|error| naming_the_file(error, &record.path))?;
            let folders_to_remove = if before.is_none() {
                record.created_folders.clone()
            } else {
                Vec::new()
            };
            self.files.push((file.removing_folders(folders_to_remove), before));
        }
        Ok(())
    }

    /// A company's settings that the tool's files had, or that its settings override.
    pub(crate) fn replaced(&self, info: &DaemonInfo) -> Vec<CompanySetting> {
        let in_files = self.record.files.iter().flat_map(|file| file.replaced(info));
        without_repetitions(in_files.chain(self.tool.overridden()))
    }

    /// Adds a note to the report.
    pub(crate) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Reports the plan without carrying it out.
    pub(crate) fn outcome(&self) -> SetupOutcome {
        let changed = self.files.iter().filter(|(file, after)| file.text != *after);
        let files = changed.map(|(file, after)| FileDiff {
            file: file.path.display().to_string(),
            diff: masked_diff(file, after.as_deref()),
        });
        SetupOutcome {
            tool: self.tool.name(),
            files: files.collect(),
            notes: self.notes.clone(),
        }
    }

    /// Writes the record and then the files. A kill in between leaves a record of settings that no file has, and an
    /// undo skips them.
    ///
    /// # Errors
    /// A file is read-only, has hard links or cannot be written.
    pub(crate) fn carry_out(self, folders: &Folders) -> Result<SetupOutcome, ErrorBody> {
        let outcome = self.outcome();
        for (file, _) in self.files.iter().filter(|(file, after)| file.text != *after) {
            if file.is_read_only() {
                return Err(refuse_read_only(&file.path, self.tool));
            }
            file.check_names()?;
        }
        let has_files = !self.record.files.is_empty();
        if has_files {
            self.record.write(folders)?;
        }
        for (path, contents) in &self.own_files {
            replace_own(path, contents.as_deref().map(Vec::as_slice))?;
        }
        for (file, after) in &self.files {
            file.replace(after.as_deref())?;
        }
        if !has_files {
            self.record.delete(folders)?;
        }
        Ok(outcome)
    }
}

/// Writes a file of regauthctl's own, which nobody else may read, or removes it.
fn replace_own(path: &Path, contents: Option<&[u8]>) -> Result<(), ErrorBody> {
    let replaced = match contents {
        Some(contents) => text_file::write_private(path, contents),
        None => std::fs::remove_file(path).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(()),
            _ => Err(error),
        }),
    };
    replaced.map_err(error::io(format!("cannot write {}", path.display())))
}

fn naming_the_file(error: ErrorBody, path: &Path) -> ErrorBody {
    let path = path.display().to_string();
    if error.message.contains(&path) {
        return error;
    }
    ErrorBody {
        message: format!("{path}: {}", error.message),
        ..error
    }
}

/// A file without any write permission is meant to stay as it is, even for root.
fn refuse_read_only(path: &Path, tool: Tool) -> ErrorBody {
    let (path, name) = (path.display(), tool.name());
    error::refused(format!("{path} is read-only, so setup does not replace it")).hint(format!(
        "`chmod u+w {path}` and repeat; `regauthctl setup {name} --dry-run` shows the change"
    ))
}

/// Diff of a file, with its secrets masked.
fn masked_diff(file: &TextFile, after: Option<&str>) -> String {
    let [before, after] = [file.text.as_deref(), after].map(|text| text.map(secrets::mask));
    diff::unified(&file.path, before.as_deref(), after.as_deref())
}

/// Every setup: its tool and target.
pub(crate) fn recorded(folders: &Folders) -> Vec<(Tool, SetupTarget)> {
    let records = SetupRecord::all(folders).into_iter();
    records.map(|record| (record.tool, record.target)).collect()
}

/// Note about the clients that are set up and get no answer once the daemon is gone; empty if there are none.
pub(crate) fn dead_port_note(folders: &Folders) -> String {
    let records = SetupRecord::all_of_daemon(folders).into_iter();
    let mut names: Vec<_> = records.map(|record| record.tool.name()).collect();
    names.dedup();
    match names.as_slice() {
        [] => String::new(),
        names => format!(
            "note: still set up to use regauthd, so without HTTPS until it runs again: {}; `regauthctl setup --all \
             --undo` restores their files\n",
            names.join(", ")
        ),
    }
}

/// True if cargo's configuration, here or of the user, gives this index a name other than `own`.
pub(crate) fn has_other_cargo_name(index: &str, own: &str) -> bool {
    let names = cargo_names::read(&clients::other_cargo_files(&SetupTarget::User, &[]));
    !cargo_names::others(&names, index, own).is_empty()
}

/// True if the tool of this name is set up for the user.
pub(crate) fn is_set_up(tool: &str, folders: &Folders) -> bool {
    let records = SetupRecord::all(folders);
    let mut of_user = records.iter().filter(|record| record.target == SetupTarget::User);
    of_user.any(|record| record.tool.name() == tool)
}

/// True if a setup for the user edits this file, under any name.
pub(crate) fn edits(tool: Tool, file: &Path, folders: &Folders) -> bool {
    let recorded = SetupRecord::read(folders, tool, &SetupTarget::User).ok();
    let recorded = recorded.and_then(|record| record.path_of(clients::CONFIG_ROLE).map(Path::to_owned));
    let Some(edited) = recorded.or_else(|| tool.config_file(&SetupTarget::User).ok()) else {
        return false;
    };
    let canonical = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    canonical(&edited) == canonical(file)
}

/// Names of tools that a new setup would change. Tools whose files no longer parse are left out.
pub(crate) fn outdated(folders: &Folders, info: &DaemonInfo) -> Vec<&'static str> {
    let is_outdated = |record: &&SetupRecord| {
        let plan = SetupPlan::set_up(record.tool, &record.target, info, folders);
        plan.is_ok_and(|plan| !plan.outcome().files.is_empty())
    };
    let records = SetupRecord::all_of_daemon(folders);
    records
        .iter()
        .filter(is_outdated)
        .map(|record| record.tool.name())
        .collect()
}

/// Set-up tools for which no new setup can be planned, each with the error: a file cannot be read, or does not parse.
/// A plan that is refused for a secret in the file is no fault of the file.
pub(crate) fn unusable(folders: &Folders, info: &DaemonInfo) -> Vec<(Tool, ErrorBody)> {
    let unusable = |record: SetupRecord| {
        let error = SetupPlan::set_up(record.tool, &record.target, info, folders).err()?;
        (error.kind != ErrorKind::Refused).then_some((record.tool, error))
    };
    SetupRecord::all_of_daemon(folders)
        .into_iter()
        .filter_map(unusable)
        .collect()
}

/// A company's settings that setup replaced in the files of all tools, each with its tool.
pub(crate) fn replaced(folders: &Folders, info: &DaemonInfo) -> Vec<(&'static str, CompanySetting)> {
    let of_record = |record: SetupRecord| {
        let tool = record.tool.name();
        let files = record.files.into_iter();
        files
            .flat_map(move |file| file.replaced(info))
            .map(move |setting| (tool, setting))
    };
    SetupRecord::all_of_daemon(folders)
        .into_iter()
        .flat_map(of_record)
        .collect()
}
