//! `regauthctl audit`.

use std::io;
use std::path::{Path, PathBuf};

use regauth_shared::audit::Link;
use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::Status;
use regauth_shared::{ErrorBody, ErrorKind, Request, exit_code};
use rustix::fs::Access;

use crate::audit::{self, Filter, Format, Record, Selection, Verification};
use crate::client::Client;
use crate::error;
use crate::output::{self, Report};

/// Show, verify or export the audit record
///
/// The daemon records what its verbs change, writes, refusals and each program's first use of a registry, or every request
/// with `audit = "all"` in config.toml. Each line holds the hash of the line before, so a change shows. The record never
/// holds a token, a query or a header. These commands read its files and need no daemon, except for
/// the users of a guarded daemon, which opens its files for them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,

    #[command(flatten)]
    filter: Filter,

    /// Show the newest N; 0 shows all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: usize,
}

#[derive(clap::Subcommand)]
enum Action {
    Verify(VerifyArguments),
    Export(ExportArguments),
}

/// Find changed, missing and misplaced lines
///
/// Compares each line with its hash in the next line, across all files, and the last line with the daemon that wrote it.
/// Exits with 1 if a line is changed or missing. While the daemon does not run, a program that can write the files can
/// replace the whole record, and nothing here shows that: note the last line's hash elsewhere, or export the record.
#[derive(clap::Args)]
#[command(after_help = VERIFY_EXAMPLES)]
struct VerifyArguments {
    /// Folder of a copy of the record, instead of the daemon's own
    folder: Option<PathBuf>,
}

/// Print the record for another program, one JSON object a line
#[derive(clap::Args)]
#[command(after_help = EXPORT_EXAMPLES)]
struct ExportArguments {
    /// jsonl prints the lines as they are; ocsf prints events of OCSF 1.5.0, classes HTTP Activity and API Activity
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,

    #[command(flatten)]
    filter: Filter,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl audit --since 2h
  regauthctl audit --registry corp --program curl
  regauthctl audit --refused --since 7d --json
  regauthctl audit verify
  regauthctl audit export --format ocsf --since 1d
  sudo regauthctl audit";

const VERIFY_EXAMPLES: &str = "\
Examples:
  regauthctl audit verify
  regauthctl audit verify /srv/archive/audit --json";

const EXPORT_EXAMPLES: &str = "\
Examples:
  regauthctl audit export
  regauthctl audit export --format ocsf --since 1d";

/// Shows, verifies or exports the record.
pub(crate) fn run(arguments: Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let folder = folders.audit();
    match arguments.action {
        None => {
            let limit = if arguments.limit == 0 {
                usize::MAX
            } else {
                arguments.limit
            };
            let selection = audit::select(own_record(&folder, "audit", client)?, &arguments.filter, limit)?;
            let text = describe(&selection);
            Report::from_value(&selection, text)
        }
        Some(Action::Verify(VerifyArguments { folder: Some(copy) })) => {
            report(&audit::verify(Record::open(&copy)?, None)?)
        }
        Some(Action::Verify(VerifyArguments { folder: None })) => {
            // The daemon is asked first: what it has written by then must be in the files.
            let last = last_line(client);
            report(&audit::verify(own_record(&folder, "audit verify", client)?, last)?)
        }
        Some(Action::Export(export)) => {
            let record = own_record(&folder, "audit export", client)?;
            match audit::export(record, &export.filter, export.format, io::stdout().lock())? {
                0 => Ok(Report::silent(exit_code::DONE)),
                unreadable => Err(
                    error::failed(format!("{unreadable} lines of the record cannot be read"))
                        .hint("`regauthctl audit verify` names them; all others were exported"),
                ),
            }
        }
    }
}

/// The daemon's record. One of a daemon with a user of its own is opened by that daemon.
fn own_record(folder: &Path, words: &str, client: &Client) -> Result<Record, ErrorBody> {
    let is_readable = rustix::fs::access(folder, Access::READ_OK | Access::EXEC_OK).is_ok();
    if is_readable || !client.is_of_system() || rustix::process::geteuid().is_root() {
        return Record::open(folder);
    }
    let files = client.audit_files().map_err(|error| match error.kind {
        // Root needs no daemon.
        ErrorKind::Unreachable => error.hint(client.as_root(words)),
        _ => error,
    })?;
    Ok(Record::of(files))
}

/// Last line that the daemon has written, if one runs.
fn last_line(client: &Client) -> Option<Link> {
    let status = client.call::<Status>(&Request::Status(Nothing {})).ok()?;
    Some(status.answer.audit?.last)
}

fn describe(selection: &Selection) -> String {
    if selection.rows.is_empty() {
        return "No event of the record fits.\n".to_owned();
    }
    let heading = ["TIME", "REGISTRY", "CLIENT", "EVENT"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(selection.rows.iter().cloned());
    let mut text = output::table(&rows);
    if selection.earlier > 0 {
        let earlier = output::count(selection.earlier, "earlier event", "earlier events");
        text += &format!("note: {earlier} fit too; --limit 0 shows all\n");
    }
    if selection.unreadable > 0 {
        let lines = output::count(selection.unreadable, "line", "lines");
        text += &format!("note: {lines} cannot be read; `regauthctl audit verify` names them\n");
    }
    text
}

fn report(verification: &Verification) -> Result<Report, ErrorBody> {
    let faults = verification.faults.is_empty();
    let report = Report::from_value(verification, describe_verification(verification))?;
    Ok(report.with_exit_code(if faults { exit_code::DONE } else { exit_code::FAILED }))
}

fn describe_verification(verification: &Verification) -> String {
    let lines = output::count(verification.lines, "line", "lines");
    let files = output::count(verification.files as u64, "file", "files");
    let mut text = match verification.faults.as_slice() {
        [] => format!("The audit record is whole: {lines} in {files}.\n"),
        _ => format!("The audit record is not as it was written: {lines} in {files}.\n"),
    };
    for fault in &verification.faults {
        text += &format!("{}:{}: {}\n", fault.file, fault.row, fault.message);
    }
    if let Some(last) = verification.last {
        text += &format!("Last line: {}, SHA-256 {}\n", last.line, last.hash);
    }
    if verification.incomplete_bytes > 0 {
        text += "note: the last line is incomplete, as a kill leaves it; the daemon repairs it at its next start\n";
    }
    if !verification.compared_with_daemon {
        text += "note: no daemon has confirmed the last line\n";
    }
    text
}
