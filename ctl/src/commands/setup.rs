//! `regauthctl setup`: one client, all of them, or the list of them.

use std::path::PathBuf;

use clap::ArgGroup;
use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, exit_code};
use serde::Serialize;

use super::setup_gateway::{self, GatewayFlags};
use super::setup_list;
use crate::client::Client;
use crate::company;
use crate::daemon_info::DaemonInfo;
use crate::error;
use crate::output::{self, Report};
use crate::setup::{self, SetupOutcome, SetupPlan, SetupTarget, Tool};

/// Make clients use the proxy, or undo it exactly
///
/// Without a client, lists the clients that were found, which of them are set up, and the next step. --all sets up every
/// client that was found.
///
/// Edits the client's own configuration and keeps your comments and their order. No file gets a secret. A second run
/// changes nothing; adding or removing a registry later updates the files. --undo restores a file byte for byte or, if
/// you have edited it since, removes only regauth's settings.
///
/// With --gateway, all clients of this user go through a team's gateway, and no daemon is needed: your shell's profile gets a
/// line that sets the environment. Each new shell reads the token from --token-file or --token-env. Without these, setup asks
/// for the token and keeps it in a file that only you can read.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, group = ArgGroup::new("which"))]
pub(crate) struct Arguments {
    /// The client
    #[arg(value_parser = setup::parser(), group = "which")]
    client: Option<Tool>,

    /// Set up every client that was found; with --undo, undo every setup, also those of projects
    #[arg(long, group = "which")]
    all: bool,

    /// Set it up for the project in the current folder instead of for your user
    #[arg(long, requires = "which", conflicts_with = "gateway")]
    project: bool,

    /// Show the changes as a diff and change nothing
    #[arg(long, requires = "which")]
    dry_run: bool,

    /// Give regauthd the company's proxy and CA file that the client had: writes `[upstream] proxy` and `ca-file` into
    /// config.toml, unless they are set
    #[arg(long, conflicts_with_all = ["undo", "dry_run", "gateway"], requires = "which")]
    carry_over: bool,

    /// Restore the files
    #[arg(long, requires = "which")]
    undo: bool,

    #[command(flatten)]
    gateway: GatewayFlags,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl setup
  regauthctl setup cargo
  regauthctl setup --all --dry-run
  regauthctl setup --all
  regauthctl setup git --dry-run
  regauthctl setup maven
  regauthctl setup pip --carry-over
  regauthctl setup cargo --undo
  regauthctl setup --all --undo
  regauthctl setup shell --project
  regauthctl setup --gateway https://gateway:9443 --bundle bundle.pem \\
      --gateway-ca root.pem --token-file ~/.config/grant
  regauthctl setup --gateway --undo";

/// Results for all clients.
#[derive(Serialize)]
struct AllOutcomes {
    clients: Vec<ClientOutcome>,
}

/// Result for one client. A failure does not stop the others.
#[derive(Serialize)]
#[serde(untagged)]
enum ClientOutcome {
    Done(SetupOutcome),
    Failed {
        #[serde(rename = "client")]
        tool: &'static str,
        error: ErrorBody,
    },
}

/// Sets the client up, or undoes it.
pub(crate) fn run(arguments: &Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    match arguments.client {
        Some(tool) => {
            let target = arguments.target()?;
            let outcome = arguments.set_up_or_undo(tool, &target, client, folders)?;
            let text = arguments.describe(&outcome) + &output::notes(&outcome.notes);
            Report::from_value(&outcome, text)
        }
        None if arguments.all => run_all(arguments, client, folders),
        None if arguments.gateway.is_given() => {
            let plan = setup_gateway::plan(&arguments.gateway, arguments.undo, arguments.dry_run, folders)?;
            let outcome = arguments.finish(plan, folders)?;
            let text = arguments.describe(&outcome) + &output::notes(&outcome.notes);
            Report::from_value(&outcome, text)
        }
        None => setup_list::run(client, folders),
    }
}

fn run_all(arguments: &Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let target = arguments.target()?;
    let of_target = |recorded: &(Tool, SetupTarget)| !arguments.project || recorded.1 == target;
    let all: Vec<_> = if arguments.undo {
        setup::recorded(folders).into_iter().filter(of_target).collect()
    } else {
        client.ping()?;
        Tool::found().map(|tool| (tool, target.clone())).collect()
    };
    let outcome = |(tool, target): &(Tool, SetupTarget)| match arguments.set_up_or_undo(*tool, target, client, folders)
    {
        Ok(outcome) => ClientOutcome::Done(outcome),
        Err(error) => ClientOutcome::Failed {
            tool: tool.name(),
            error,
        },
    };
    let outcomes = AllOutcomes {
        clients: all.iter().map(outcome).collect(),
    };
    let failed = |outcome: &ClientOutcome| matches!(outcome, ClientOutcome::Failed { .. });
    let exit_code = if outcomes.clients.iter().any(failed) {
        exit_code::FAILED
    } else {
        exit_code::DONE
    };
    let text = arguments.describe_all(&outcomes.clients);
    Ok(Report::from_value(&outcomes, text)?.with_exit_code(exit_code))
}

impl Arguments {
    fn target(&self) -> Result<SetupTarget, ErrorBody> {
        if self.project {
            current_folder().map(SetupTarget::Project)
        } else {
            Ok(SetupTarget::User)
        }
    }

    fn set_up_or_undo(
        &self,
        tool: Tool,
        target: &SetupTarget,
        client: &Client,
        folders: &Folders,
    ) -> Result<SetupOutcome, ErrorBody> {
        let plan = if self.undo {
            SetupPlan::undo(tool, target, folders)?
        } else {
            self.plan(tool, target, client, folders)?
        };
        self.finish(plan, folders)
    }

    fn finish(&self, plan: SetupPlan, folders: &Folders) -> Result<SetupOutcome, ErrorBody> {
        if self.dry_run {
            Ok(plan.outcome())
        } else {
            plan.carry_out(folders)
        }
    }

    fn plan(
        &self,
        tool: Tool,
        target: &SetupTarget,
        client: &Client,
        folders: &Folders,
    ) -> Result<SetupPlan, ErrorBody> {
        setup::gateway::refuse_beside_gateway(folders)?;
        let info = DaemonInfo::fetch(client, folders)?;
        let mut plan = SetupPlan::set_up(tool, target, &info, folders)?;
        let replaced = plan.replaced(&info);
        if self.carry_over {
            let notes = company::carry_over(&replaced, &info, client)?;
            notes.into_iter().for_each(|note| plan.note(note));
        } else {
            let command = format!("`{}` gives it to regauthd", carry_over_command(tool, self.project));
            let missing = replaced
                .iter()
                .filter_map(|setting| setting.missing(&info, Some(&command)));
            missing.for_each(|missing| plan.note(format!("{}; {}", missing.problem, missing.remedy)));
        }
        Ok(plan)
    }

    /// Text about one client, without its notes.
    fn describe(&self, outcome: &SetupOutcome) -> String {
        if self.dry_run {
            let diffs: String = outcome.files.iter().map(|changed| changed.diff.as_str()).collect();
            return match diffs.is_empty() {
                true => "Nothing would change.\n".to_owned(),
                false => diffs,
            };
        }
        let mut text = match (outcome.files.is_empty(), self.undo) {
            (true, _) => format!("Nothing to change for {}.\n", outcome.tool),
            (false, true) => format!("{} is as it was before:\n", outcome.tool),
            (false, false) => format!("{} is set up:\n", outcome.tool),
        };
        for changed in &outcome.files {
            text += &format!("  {}\n", changed.file);
        }
        text
    }

    /// Text about all clients; a note that several have is printed once.
    fn describe_all(&self, outcomes: &[ClientOutcome]) -> String {
        let mut text = String::new();
        let mut notes: Vec<String> = Vec::new();
        for outcome in outcomes {
            match outcome {
                ClientOutcome::Done(outcome) if self.dry_run && outcome.files.is_empty() => {}
                ClientOutcome::Done(outcome) => text += &self.describe(outcome),
                ClientOutcome::Failed { tool, error } => {
                    let hint = error.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
                    text += &format!("{tool} was left as it is: {}{hint}\n", error.message);
                }
            }
            if let ClientOutcome::Done(outcome) = outcome {
                notes.extend(
                    outcome
                        .notes
                        .iter()
                        .filter(|note| !notes.contains(note))
                        .cloned()
                        .collect::<Vec<_>>(),
                );
            }
        }
        if text.is_empty() {
            text = match (self.dry_run, self.undo) {
                (true, _) => "Nothing would change.\n",
                (false, true) => "No client is set up.\n",
                (false, false) => "No client was found.\n",
            }
            .to_owned();
        }
        text + &output::notes(&notes)
    }
}

fn carry_over_command(tool: Tool, project: bool) -> String {
    let project = if project { " --project" } else { "" };
    format!("regauthctl setup {}{project} --carry-over", tool.name())
}

fn current_folder() -> Result<PathBuf, ErrorBody> {
    std::env::current_dir().map_err(error::io("cannot find the current folder"))
}
