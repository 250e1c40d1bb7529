//! `regauthctl setup`.

use std::path::PathBuf;

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

use crate::client::Client;
use crate::company;
use crate::daemon_info::DaemonInfo;
use crate::error;
use crate::output::{self, Report};
use crate::setup::{self, SetupOutcome, SetupPlan, SetupTarget, Tool};

/// Make a client use the proxy, or undo it exactly
///
/// Edits the client's own configuration and keeps your comments and their order. No file gets a secret. A second run
/// changes nothing; adding or removing a registry later updates the files. --undo restores a file byte for byte or, if
/// you have edited it since, removes only regauth's settings.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The client
    #[arg(value_parser = setup::parser())]
    client: Tool,

    /// Set it up for the project in the current folder instead of for your user
    #[arg(long)]
    project: bool,

    /// Show the changes as a diff and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Give regauthd the company's proxy and CA file that the client had: writes `[upstream] proxy` and `ca-file` into
    /// config.toml, unless they are set
    #[arg(long, conflicts_with_all = ["undo", "dry_run"])]
    carry_over: bool,

    /// Restore the files
    #[arg(long)]
    undo: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl setup cargo
  regauthctl setup git --dry-run
  regauthctl setup maven
  regauthctl setup pip --carry-over
  regauthctl setup cargo --undo
  regauthctl setup shell --project";

/// Sets the client up, or undoes it.
pub(crate) fn run(arguments: Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let target = if arguments.project {
        SetupTarget::Project(current_folder()?)
    } else {
        SetupTarget::User
    };
    let plan = if arguments.undo {
        SetupPlan::undo(arguments.client, &target, folders)?
    } else {
        let info = DaemonInfo::fetch(client, folders)?;
        let mut plan = SetupPlan::set_up(arguments.client, &target, &info, folders)?;
        let replaced = plan.replaced(&info);
        if arguments.carry_over {
            let notes = company::carry_over(&replaced, &info, client)?;
            notes.into_iter().for_each(|note| plan.note(note));
        } else {
            let command = carry_over_command(arguments.client, arguments.project);
            let problems = replaced.iter().filter_map(|setting| setting.problem(&info));
            problems.for_each(|problem| plan.note(format!("{problem}; {command} gives it to regauthd")));
        }
        plan
    };
    if arguments.dry_run {
        let outcome = plan.outcome();
        return Report::from_value(&outcome, diffs(&outcome));
    }
    let outcome = plan.carry_out(folders)?;
    Report::from_value(&outcome, describe(&outcome, arguments.undo))
}

fn carry_over_command(tool: Tool, project: bool) -> String {
    let project = if project { " --project" } else { "" };
    format!("`regauthctl setup {}{project} --carry-over`", tool.name())
}

fn current_folder() -> Result<PathBuf, ErrorBody> {
    std::env::current_dir().map_err(error::io("cannot find the current folder"))
}

fn describe(outcome: &SetupOutcome, undone: bool) -> String {
    let mut text = match (outcome.files.is_empty(), undone) {
        (true, _) => format!("Nothing to change for {}.\n", outcome.tool),
        (false, true) => format!("{} is as it was before:\n", outcome.tool),
        (false, false) => format!("{} is set up:\n", outcome.tool),
    };
    for changed in &outcome.files {
        text += &format!("  {}\n", changed.file);
    }
    text + &output::notes(&outcome.notes)
}

fn diffs(outcome: &SetupOutcome) -> String {
    let diffs: String = outcome.files.iter().map(|changed| changed.diff.as_str()).collect();
    let nothing = if diffs.is_empty() {
        "Nothing would change.\n"
    } else {
        ""
    };
    diffs + nothing + &output::notes(&outcome.notes)
}
