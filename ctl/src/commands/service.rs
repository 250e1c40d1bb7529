//! `regauthctl service`.

use clap::Subcommand;
use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, exit_code};

use crate::client::Client;
use crate::error;
use crate::output::{self, Report};
use crate::service::{Outcome, Scope, State, Step};

/// Have systemd or launchd keep the daemon
///
/// They listen for the daemon and start it at the first connection; when it ends or is upgraded, connections wait and
/// none is refused. Without --system it is yours, with your keychain, while you are logged in. With --system it is the
/// machine's: it keeps tokens in a vault and serves the bearers of grants (`regauthctl --system grant`). Doing it twice
/// changes nothing. Uninstalling removes what installing has written; your registries and tokens stay.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl service install
  regauthctl service install --dry-run
  regauthctl service status --json
  regauthctl service uninstall

  sudo regauthctl service install --system";

#[derive(Subcommand)]
enum Action {
    /// Write what the platform wants, enable it and start it
    Install {
        /// Show what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Stop the daemon and remove what installing has written
    Uninstall {
        /// Show what would be done, and do nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Show what the platform knows of it; exits with 6 when it is not installed
    Status,
}

/// Installs, uninstalls or looks.
pub(crate) fn run(
    arguments: &Arguments,
    system: bool,
    client: &Client,
    folders: &Folders,
) -> Result<Report, ErrorBody> {
    if folders.home.is_some() {
        return Err(error::usage("a service keeps its files in the platform's own folders")
            .hint("leave out --home and REGAUTH_HOME"));
    }
    let scope = if system { Scope::System } else { Scope::User };
    match arguments.action {
        Action::Install { dry_run: true } => would(scope.to_install()?.outcome()),
        Action::Uninstall { dry_run: true } => would(scope.to_uninstall()?.outcome()),
        Action::Install { dry_run: false } => {
            let outcome = scope.to_install()?.carry_out()?;
            client.greet().map_err(|error| unanswered(scope, error))?;
            let text = format!(
                "regauthd runs as a service now; connections start it from here on.\n{}",
                steps(&outcome, "")
            );
            Report::of(&outcome, text)
        }
        Action::Uninstall { dry_run: false } => {
            let outcome = scope.to_uninstall()?.carry_out()?;
            let text = steps(&outcome, "");
            Report::of(&outcome, text)
        }
        Action::Status => {
            let state = scope.state()?;
            let code = if state.installed {
                exit_code::DONE
            } else {
                exit_code::NOT_FOUND
            };
            Ok(Report::of(&state, words(&state))?.exit_code(code))
        }
    }
}

fn would(outcome: Outcome) -> Result<Report, ErrorBody> {
    let text = steps(&outcome, "would ");
    Report::of(&outcome, text)
}

fn unanswered(scope: Scope, error: ErrorBody) -> ErrorBody {
    let log = match scope {
        _ if cfg!(target_os = "macos") => "its log says why: regauthd.log, in ~/Library/Logs or the machine's folder",
        Scope::User => "its log says why: journalctl --user --unit regauthd",
        Scope::System => "its log says why: journalctl --unit regauthd",
    };
    error::failed(format!(
        "the service is installed, but regauthd does not answer: {}",
        error.message
    ))
    .hint(log)
}

fn steps(outcome: &Outcome, would: &str) -> String {
    let line = |step: &Step| match step {
        Step::Write { file, .. } => format!("  {would}write {}\n", file.display()),
        Step::Remove { file, .. } => format!("  {would}remove {}\n", file.display()),
        Step::Folder { folder, mode } => format!("  {would}make {}, {mode:04o}\n", folder.display()),
        Step::Run { command } => format!("  {would}run {}\n", command.join(" ")),
        Step::Pipe { from, to } => format!("  {would}run {} | {}\n", from.join(" "), to.join(" ")),
    };
    let lines: String = outcome.steps.iter().map(line).collect();
    lines + &output::notes(&outcome.notes)
}

fn words(state: &State) -> String {
    let heading = ["UNIT", "ENABLED", "STATE", "FILE"].map(str::to_owned).to_vec();
    let row = |unit: &crate::service::Unit| {
        let file = unit.file.clone().unwrap_or_else(|| "-".to_owned());
        vec![unit.name.clone(), unit.enabled.clone(), unit.active.clone(), file]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(state.units.iter().map(row)).collect();
    let verdict = match (state.installed, state.scope) {
        (true, _) => "connections reach regauthd, or start it",
        (false, Scope::User) => "not installed; `regauthctl service install` does that",
        (false, Scope::System) => "not installed; `sudo regauthctl service install --system` does that",
    };
    format!("{}: {verdict}.\n{}", state.manager, output::table(&rows))
}
