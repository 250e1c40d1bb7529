//! `regauthctl service`.

use clap::Subcommand;
use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, exit_code};

use crate::client::Client;
use crate::company;
use crate::daemon_info::DaemonInfo;
use crate::error;
use crate::output::{self, Report};
use crate::service::{Health, Installation, ServiceOutcome, ServiceState, ServiceStep};
use crate::setup;

/// Run the daemon as a service of systemd or launchd
///
/// The service manager listens for the daemon and starts it at the first connection. While the daemon restarts or is
/// upgraded, connections wait and none is refused. Without --system the daemon is yours, with your keychain, while you
/// are logged in. With --system it is the machine's: it keeps tokens in a vault and serves the bearers of grants
/// (`regauthctl --system grant`). A second install changes nothing. Uninstalling removes the files that installing
/// wrote; registries and tokens stay.
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
    /// Write the service's files, enable it and start it
    Install {
        /// Show the steps without doing them
        #[arg(long)]
        dry_run: bool,
    },
    /// Stop the daemon and remove the service's files
    Uninstall {
        /// Show the steps without doing them
        #[arg(long)]
        dry_run: bool,
    },
    /// Show the service's state; exits with 6 if it is not installed, with 1 if it does not serve
    Status,
}

/// Installs, uninstalls or shows the service.
pub(crate) fn run(
    arguments: &Arguments,
    system: bool,
    client: &Client,
    folders: &Folders,
) -> Result<Report, ErrorBody> {
    if folders.home.is_some() {
        return Err(
            error::usage("a service keeps its files in the platform's own folders, not in --home")
                .hint("leave out --home and REGAUTH_HOME"),
        );
    }
    let installation = if system {
        Installation::System
    } else {
        Installation::User
    };
    match arguments.action {
        Action::Install { dry_run: true } => dry_run(installation.plan_install(|| client.ping().is_ok())?.outcome()),
        Action::Uninstall { dry_run: true } => dry_run(installation.plan_uninstall()?.outcome()),
        Action::Install { dry_run: false } => {
            let outcome = installation.plan_install(|| client.ping().is_ok())?.carry_out()?;
            client.ping().map_err(|error| no_answer(installation, error))?;
            // A service has the service manager's environment, so the company's proxy and roots in ours are not in it.
            if let Ok(info) = DaemonInfo::fetch(client, folders) {
                company::warn_of_replaced_variables(&info);
            }
            let text = format!(
                "regauthd runs as a service now; connections start it from here on.\n{}",
                steps(&outcome, "")
            );
            Report::from_value(&outcome, text)
        }
        Action::Uninstall { dry_run: false } => {
            let outcome = installation.plan_uninstall()?.carry_out()?;
            let text = steps(&outcome, "") + &setup::dead_port_note(folders);
            Report::from_value(&outcome, text)
        }
        Action::Status => {
            let state = installation.state()?;
            let code = match state.health {
                Health::Serving => exit_code::DONE,
                Health::Failing | Health::Stopped => exit_code::FAILED,
                Health::Absent => exit_code::NOT_FOUND,
            };
            Ok(Report::from_value(&state, describe(&state))?.with_exit_code(code))
        }
    }
}

fn dry_run(outcome: ServiceOutcome) -> Result<Report, ErrorBody> {
    let text = steps(&outcome, "would ");
    Report::from_value(&outcome, text)
}

fn no_answer(installation: Installation, error: ErrorBody) -> ErrorBody {
    let hint = error.hint.unwrap_or_else(|| installation.fix_hint());
    error::failed(format!("the service is installed, but {}", error.message)).hint(hint)
}

fn steps(outcome: &ServiceOutcome, would: &str) -> String {
    let line = |step: &ServiceStep| match step {
        ServiceStep::Write { file, .. } => format!("  {would}write {}\n", file.display()),
        ServiceStep::Remove { file, .. } => format!("  {would}remove {}\n", file.display()),
        ServiceStep::Folder { folder, mode } => format!("  {would}make {}, {mode:04o}\n", folder.display()),
        ServiceStep::Run { command } => format!("  {would}run {}\n", command.join(" ")),
        ServiceStep::Pipe { from, to } => format!("  {would}run {} | {}\n", from.join(" "), to.join(" ")),
    };
    let lines: String = outcome.steps.iter().map(line).collect();
    lines + &output::notes(&outcome.notes)
}

fn describe(state: &ServiceState) -> String {
    let heading = ["UNIT", "ENABLED", "STATE", "FILE"].map(str::to_owned).to_vec();
    let row = |unit: &crate::service::Unit| {
        let file = unit.file.clone().unwrap_or_else(|| "-".to_owned());
        vec![unit.name.clone(), unit.enabled.clone(), unit.active.clone(), file]
    };
    let rows: Vec<_> = std::iter::once(heading).chain(state.units.iter().map(row)).collect();
    let install = match state.installation {
        Installation::User => "`regauthctl service install`",
        Installation::System => "`sudo regauthctl service install --system`",
    };
    let verdict = match state.health {
        Health::Serving => "connections reach regauthd, or start it".to_owned(),
        Health::Failing => "installed, but it does not serve".to_owned(),
        Health::Stopped => format!("installed, but its sockets are closed; {install} starts it"),
        Health::Absent => format!("not installed; {install} installs it"),
    };
    let mut text = format!("{}: {verdict}.\n{}", state.manager, output::table(&rows));
    if let Some(problem) = state.diagnose() {
        let hint = problem.hint.unwrap_or_default();
        text += &format!("\nproblem: {}\nhint: {hint}\n", problem.message);
    }
    text
}
