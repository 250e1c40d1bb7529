//! Updates the tools that are set up after the daemon's registries have changed.

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

use super::record::SetupRecord;
use super::{FileDiff, SetupOutcome, SetupPlan};
use crate::client::Client;
use crate::daemon_info::DaemonInfo;
use crate::error;

/// Updates every tool that is set up to the daemon's current registries, and returns one line for each changed file.
/// A failure becomes a line too, because the command that changed the registries has succeeded.
pub(crate) fn refresh(folders: &Folders, client: &Client) -> String {
    let records = SetupRecord::all_of_daemon(folders);
    if records.is_empty() {
        return String::new();
    }
    let info = match DaemonInfo::fetch(client, folders) {
        Ok(info) => info,
        Err(error) => return refresh_failure("the tools that are set up", &error),
    };
    records
        .iter()
        .map(|record| match refresh_one(record, &info, folders) {
            Ok(outcome) => refresh_report(&outcome),
            Err(error) => refresh_failure(record.tool.name(), &error),
        })
        .collect()
}

fn refresh_one(record: &SetupRecord, info: &DaemonInfo, folders: &Folders) -> Result<SetupOutcome, ErrorBody> {
    if !record.target.exists() {
        return Err(error::failed("the project's folder does not exist any more"));
    }
    SetupPlan::set_up(record.tool, &record.target, info, folders)?.carry_out(folders)
}

fn refresh_report(outcome: &SetupOutcome) -> String {
    let line = |changed: &FileDiff| format!("Updated the setup of {}: {}\n", outcome.tool, changed.file);
    outcome.files.iter().map(line).collect()
}

fn refresh_failure(subject: &str, error: &ErrorBody) -> String {
    format!("note: the setup of {subject} could not be updated: {}\n", error.message)
}
