//! `regauthctl setup`.

use std::path::PathBuf;

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

use crate::client::Client;
use crate::error;
use crate::facts::Facts;
use crate::output::{self, Report};
use crate::setup::{SetupOutcome, SetupPlan, SetupTarget, Tool};

/// Make a client use the proxy, or undo it exactly
///
/// Edits the client's own configuration with your comments and their order kept. No file gets a secret. Doing it twice
/// changes nothing; registries that are added or removed later are put in or taken out by themselves. What was there
/// before is remembered: --undo brings back the file byte for byte, or, where you have edited it since, takes out just
/// what regauth had put in.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Which client
    #[arg(value_enum)]
    client: Tool,

    /// In the project of the current folder instead of for you everywhere
    #[arg(long)]
    project: bool,

    /// Show what would change, as a diff, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Bring back what was there before
    #[arg(long)]
    undo: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl setup cargo
  regauthctl setup git --dry-run
  regauthctl setup cargo --undo
  regauthctl setup shell --project";

/// Sets the client up.
pub(crate) fn run(arguments: Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let target = if arguments.project {
        SetupTarget::Project(here()?)
    } else {
        SetupTarget::User
    };
    let plan = if arguments.undo {
        SetupPlan::undo(arguments.client, &target, folders)?
    } else {
        SetupPlan::set_up(arguments.client, &target, &Facts::gather(client, folders)?, folders)?
    };
    if arguments.dry_run {
        let outcome = plan.outcome();
        return Report::of(&outcome, diffs(&outcome));
    }
    let outcome = plan.carry_out(folders)?;
    Report::of(&outcome, words(&outcome, arguments.undo))
}

fn here() -> Result<PathBuf, ErrorBody> {
    std::env::current_dir().map_err(error::io("cannot tell which folder this is"))
}

fn words(outcome: &SetupOutcome, undone: bool) -> String {
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
