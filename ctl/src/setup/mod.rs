//! Makes clients use the proxy, and undoes it exactly.
//!
//! A `tool` (cargo, git, …) says from the [`daemon_info`](crate::daemon_info) which settings it wants in which files. A `format` puts
//! settings into the text of a file and takes them out again, comments and order kept. The `record` remembers, for each
//! file, the way back: the lines that were replaced, never a copy of the file, which may hold a person's secrets.
//! `document` reads and replaces files.
//!
//! Applying always starts from the text as it was before us, so doing it again changes nothing, and doing it after a
//! registry came or went leaves only what is right now.

mod document;
mod format;
mod patch;
mod toml;

mod git;
mod ini;

mod record;
mod tool;

use std::path::Path;

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use serde::Serialize;

use crate::client::Client;
use crate::daemon_info::DaemonInfo;
use crate::error;
pub(crate) use document::Document;
pub(crate) use patch::{Hunk, apply, fingerprint, hunks};
pub(crate) use record::Place;
use record::{FileRecord, Record};
pub(crate) use tool::{Tool, home, uv_file, variable, xdg_config};

/// What was done, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Outcome {
    /// Which client.
    pub(crate) client: &'static str,
    /// The files that were changed, or would be.
    pub(crate) files: Vec<Changed>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

/// A file that was changed, or would be.
#[derive(Debug, Serialize)]
pub(crate) struct Changed {
    /// Which file.
    pub(crate) file: String,
    /// What changed, as a unified diff.
    pub(crate) diff: String,
}

/// A change that has been thought out and not made.
pub(crate) struct Plan {
    tool: Tool,
    record: Record,
    files: Vec<(Document, Option<String>)>,
    notes: Vec<String>,
}

impl Plan {
    /// What sets this client up, from the text as it was before us.
    ///
    /// # Errors
    /// A file that cannot be read or understood; a program that is missing.
    pub(crate) fn to_set_up(
        tool: Tool,
        place: &Place,
        facts: &DaemonInfo,
        folders: &Folders,
    ) -> Result<Self, ErrorBody> {
        let before = Record::read(folders, tool, place)?;
        let wanted = tool.wants(place, facts, &before)?;
        let mut plan = Self::empty(tool, place);
        plan.notes = wanted.notes;
        for file in wanted.files {
            let document = Document::read(&file.path)?;
            let known = before.file(&file.path);
            if let Some(known) = known
                && known.is_still_right(&document, &file)?
            {
                let text = document.text.clone();
                plan.record.files.push(known.clone());
                plan.files.push((document, text));
                continue;
            }
            let base = match known {
                // What is taken out here is put in again at once.
                Some(known) => known.base(&document, &mut Vec::new())?,
                None => document.text.clone(),
            };
            let set = file.format.set(base.as_deref().unwrap_or_default(), &file.settings)?;
            let after = if set.done.is_empty() {
                base.clone()
            } else {
                Some(set.text)
            };
            let made = known.map_or_else(|| document.missing_folders(), |known| known.folders.clone());
            plan.record.files.push(FileRecord::new(
                &file,
                base.as_deref(),
                after.as_deref(),
                set.done,
                made,
            ));
            plan.files.push((document, after));
        }
        plan.take_back(before.files_not_in(&plan.record))?;
        Ok(plan)
    }

    /// What brings back the files as they were before us.
    ///
    /// # Errors
    /// A file that cannot be read or understood.
    pub(crate) fn to_undo(tool: Tool, place: &Place, folders: &Folders) -> Result<Self, ErrorBody> {
        let before = Record::read(folders, tool, place)?;
        let mut plan = Self::empty(tool, place);
        if before.files.is_empty() {
            plan.notes.push(format!("{} is not set up", tool.name()));
        }
        plan.take_back(before.files.iter().collect())?;
        Ok(plan)
    }

    fn empty(tool: Tool, place: &Place) -> Self {
        Self {
            tool,
            record: Record::new(tool, place),
            files: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn take_back(&mut self, files: Vec<&FileRecord>) -> Result<(), ErrorBody> {
        for known in files {
            let document = Document::read(Path::new(&known.path))?;
            let base = known.base(&document, &mut self.notes)?;
            let made = if base.is_none() {
                known.folders.clone()
            } else {
                Vec::new()
            };
            self.files.push((document.removing(made), base));
        }
        Ok(())
    }

    /// What would change.
    pub(crate) fn outcome(&self) -> Outcome {
        let changed = self.files.iter().filter(|(document, after)| document.text != *after);
        let files = changed.map(|(document, after)| Changed {
            file: document.path.display().to_string(),
            diff: patch::unified(&document.path, document.text.as_deref(), after.as_deref()),
        });
        Outcome {
            client: self.tool.name(),
            files: files.collect(),
            notes: self.notes.clone(),
        }
    }

    /// Makes the change. The way back is written first: a kill in between leaves a record of settings that are not
    /// there, which undoing passes over.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(crate) fn carry_out(self, folders: &Folders) -> Result<Outcome, ErrorBody> {
        let outcome = self.outcome();
        let keeps = !self.record.files.is_empty();
        if keeps {
            self.record.write(folders)?;
        }
        for (document, after) in &self.files {
            document.replace(after.as_deref())?;
        }
        if !keeps {
            self.record.delete(folders)?;
        }
        Ok(outcome)
    }
}

/// Brings every client that is set up in line with the registries that there are now; one line for each that changed.
/// A client that cannot be brought in line is a line too: what was asked for has been done all the same.
pub(crate) fn refresh(folders: &Folders, client: &Client) -> String {
    let records = Record::all(folders);
    if records.is_empty() {
        return String::new();
    }
    let facts = match DaemonInfo::fetch(client, folders) {
        Ok(facts) => facts,
        Err(error) => return trouble("the clients that are set up", &error),
    };
    records
        .iter()
        .map(|record| match refreshed(record, &facts, folders) {
            Ok(outcome) => said(&outcome),
            Err(error) => trouble(record.tool.name(), &error),
        })
        .collect()
}

/// Whether a client of this name is set up for this person everywhere.
pub(crate) fn is_set_up(client: &str, folders: &Folders) -> bool {
    let records = Record::all(folders);
    let mut everywhere = records.iter().filter(|record| record.place == Place::User);
    everywhere.any(|record| record.tool.name() == client)
}

/// Clients that would be set up otherwise by now. Files that a person has edited since are theirs to judge.
pub(crate) fn outdated(folders: &Folders, facts: &DaemonInfo) -> Vec<&'static str> {
    let is_outdated = |record: &&Record| {
        let plan = Plan::to_set_up(record.tool, &record.place, facts, folders);
        plan.is_ok_and(|plan| !plan.outcome().files.is_empty())
    };
    let records = Record::all(folders);
    records
        .iter()
        .filter(is_outdated)
        .map(|record| record.tool.name())
        .collect()
}

fn refreshed(record: &Record, facts: &DaemonInfo, folders: &Folders) -> Result<Outcome, ErrorBody> {
    if !record.place.is_there() {
        return Err(error::failed("the project's folder is gone"));
    }
    Plan::to_set_up(record.tool, &record.place, facts, folders)?.carry_out(folders)
}

fn said(outcome: &Outcome) -> String {
    let line = |changed: &Changed| format!("Set up {} anew: {}\n", outcome.client, changed.file);
    outcome.files.iter().map(line).collect()
}

fn trouble(what: &str, error: &ErrorBody) -> String {
    format!("note: {what} could not be set up anew: {}\n", error.message)
}
