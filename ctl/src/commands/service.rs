//! `regauthctl service`.

use std::net::SocketAddr;

use clap::Subcommand;
use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, exit_code};

use crate::client::Client;
use crate::company;
use crate::daemon_info::DaemonInfo;
use crate::error;
use crate::output::{self, Report};
use crate::prompt;
use crate::service::{
    GuardedOutcome, Guarding, Health, Installation, Proposal, ServiceOutcome, ServiceState, ServiceStep,
    is_guarded_installed,
};
use crate::setup;

/// Run the daemon as a service of systemd or launchd
///
/// The service manager listens for the daemon and starts it at the first connection. While the daemon restarts or is
/// upgraded, connections wait and none is refused. Without --system the daemon is yours, with your keychain, while you
/// are logged in. With --system it is the machine's: it keeps tokens in a vault and serves the bearers of grants
/// (`regauthctl --system grant`). With --for, on Linux, it is guarded: it has a system user of its own and serves these users without
/// grants, so that no program of theirs can read a token or send it elsewhere; their registries and tokens move along. A
/// second install changes nothing. Uninstalling removes the files that installing wrote; registries and tokens stay.
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
  regauthctl service install --listen 127.0.0.1:9002
  regauthctl service status --json
  regauthctl service uninstall

  sudo regauthctl service install --for me
  sudo regauthctl service uninstall
  sudo regauthctl service install --system";

#[derive(Subcommand)]
enum Action {
    /// Write the service's files, enable it and start it
    Install {
        /// Show the steps without doing them
        #[arg(long)]
        dry_run: bool,

        /// Listen on this address instead of 127.0.0.1:9001, such as a port of your own on a machine that others use too.
        /// Clients that are set up follow
        #[arg(long, value_name = "ADDR:PORT")]
        listen: Option<SocketAddr>,

        /// Install the guarded service for these users, and move their registries and tokens into it
        #[arg(long = "for", value_name = "USER", value_delimiter = ',')]
        users: Vec<String>,

        /// Ask for each token again, instead of reading it from the user's store
        #[arg(long, requires = "users")]
        ask: bool,

        /// Take over registries, tokens, corporate proxy and global ca-file without asking
        #[arg(long, requires = "users")]
        yes: bool,
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
    let is_of_system = match arguments.action {
        Action::Install { .. } => system,
        // Where there is a guarded daemon, root and its users have none of their own.
        Action::Uninstall { .. } | Action::Status => system || client.is_guarded() || is_guarded_and_root(),
    };
    let installation = if is_of_system {
        Installation::System
    } else {
        Installation::User
    };
    match &arguments.action {
        Action::Install { users, .. } if !users.is_empty() && system => Err(error::usage(
            "--system installs the machine's daemon, whose clients have grants, and --for a guarded one",
        )
        .hint("leave out one of them")),
        Action::Install {
            users,
            dry_run,
            ask,
            yes,
            listen: None,
        } if !users.is_empty() => install_guarded(users, *dry_run, *ask, *yes),
        Action::Install { users, .. } if !users.is_empty() => Err(error::usage(
            "--listen is for a service of your own or the machine's, and --for installs a guarded one",
        )
        .hint("leave out one of them")),
        Action::Install { dry_run, listen, .. } => install(installation, *listen, *dry_run, client, folders),
        Action::Uninstall { dry_run: true } => dry_run_report(installation.plan_uninstall()?.outcome()),
        Action::Uninstall { dry_run: false } => {
            let outcome = installation.plan_uninstall()?.carry_out()?;
            let text = steps(&outcome, "") + &setup::dead_port_note(folders);
            Report::from_value(&outcome, text)
        }
        Action::Status => status(installation),
    }
}

fn install(
    installation: Installation,
    listen: Option<SocketAddr>,
    dry_run: bool,
    client: &Client,
    folders: &Folders,
) -> Result<Report, ErrorBody> {
    if client.is_guarded() {
        return Err(error::refused("this machine's guarded regauthd serves you")
            .hint("`regauthctl status` shows it; `sudo regauthctl service uninstall` removes it"));
    }
    let plan = installation.plan_install(listen, || client.ping().is_ok())?;
    if dry_run {
        return dry_run_report(plan.outcome());
    }
    let outcome = plan.carry_out()?;
    client.ping().map_err(|error| no_answer(installation, error))?;
    // A service has the service manager's environment, so the company's proxy and roots in ours are not in it.
    if let Ok(info) = DaemonInfo::fetch(client, folders) {
        company::warn_of_replaced_variables(&info);
    }
    let text = format!(
        "regauthd runs as a service now; connections start it from here on.\n{}",
        steps(&outcome, "")
    );
    let updated = match installation {
        Installation::User => setup::refresh(folders, client),
        Installation::System => String::new(),
    };
    Ok(Report::from_value(&outcome, text)?.with_lines(&updated))
}

fn status(installation: Installation) -> Result<Report, ErrorBody> {
    let state = installation.state()?;
    let code = match state.health {
        Health::Serving => exit_code::DONE,
        Health::Failing | Health::Stopped => exit_code::FAILED,
        Health::Absent => exit_code::NOT_FOUND,
    };
    Ok(Report::from_value(&state, describe(&state))?.with_exit_code(code))
}

fn is_guarded_and_root() -> bool {
    rustix::process::geteuid().is_root() && is_guarded_installed()
}

/// Installs the guarded service. A person sees which tokens move to where before anything changes: a program may have
/// changed the user's configuration.
fn install_guarded(users: &[String], dry_run: bool, ask: bool, yes: bool) -> Result<Report, ErrorBody> {
    let mut guarding = Guarding::plan(users)?;
    let proposal = guarding.read_registries(ask)?;
    if dry_run {
        let outcome = guarding.outcome(proposal);
        let text = step_lines(&outcome.steps, "would ") + &outcome.proposal.describe("would ");
        return Report::from_value(&outcome, text);
    }
    if !proposal.is_empty() && !yes && !agrees(&proposal)? {
        return Err(error::refused("nothing was changed").hint(
            "have its user remove what is not theirs (regauthctl remove-registry NAME), or correct config.toml; then repeat",
        ));
    }
    let outcome = guarding.carry_out(proposal)?;
    let text = describe_guarded(&outcome);
    Report::from_value(&outcome, text)
}

fn agrees(proposal: &Proposal) -> Result<bool, ErrorBody> {
    if !prompt::is_interactive() {
        return Err(
            error::usage("there are registries or settings to move, and no terminal to ask whether they may")
                .hint("`--dry-run` shows them, and `--yes` moves them"),
        );
    }
    output::print_to_stderr(&format!(
        "The guarded daemon takes over, with the tokens and passwords:\n{}",
        proposal.describe("")
    ));
    prompt::confirm("Is all of it yours, and does each token go to where it belongs?")
}

fn describe_guarded(outcome: &GuardedOutcome) -> String {
    let mut text = format!(
        "regauthd is guarded now: it runs as the user regauth, and serves {}.\n{}",
        outcome.users.join(", "),
        step_lines(&outcome.steps, "")
    );
    for moved in &outcome.moved {
        text += &format!("  moved {} of {}\n", moved.name, moved.user);
    }
    for staying in &outcome.staying {
        text += &staying.describe();
    }
    text + &output::notes(&outcome.notes)
}

fn dry_run_report(outcome: ServiceOutcome) -> Result<Report, ErrorBody> {
    let text = steps(&outcome, "would ");
    Report::from_value(&outcome, text)
}

fn no_answer(installation: Installation, error: ErrorBody) -> ErrorBody {
    let hint = error.hint.unwrap_or_else(|| installation.fix_hint());
    error::failed(format!("the service is installed, but {}", error.message)).hint(hint)
}

fn steps(outcome: &ServiceOutcome, would: &str) -> String {
    step_lines(&outcome.steps, would) + &output::notes(&outcome.notes)
}

fn step_lines(steps: &[ServiceStep], would: &str) -> String {
    let line = |step: &ServiceStep| match step {
        ServiceStep::Write { file, .. } => format!("  {would}write {}\n", file.display()),
        ServiceStep::Remove { file, .. } => format!("  {would}remove {}\n", file.display()),
        ServiceStep::Folder { folder, mode } => format!("  {would}make {}, {mode:04o}\n", folder.display()),
        ServiceStep::Run { command } => format!("  {would}run {}\n", command.join(" ")),
        ServiceStep::Pipe { from, to } => format!("  {would}run {} | {}\n", from.join(" "), to.join(" ")),
    };
    steps.iter().map(line).collect()
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
