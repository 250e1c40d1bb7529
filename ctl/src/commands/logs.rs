//! `regauthctl logs`.

use std::os::unix::process::CommandExt;
use std::process::Command;

use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::Status;
use regauth_shared::{ErrorBody, Request};
use serde::Serialize;

use crate::client::{Client, Reply};
use crate::error;
use crate::output::Report;
use crate::service::{Installation, LogDestination, log_of_process};

/// Show the daemon's log
///
/// Reads it where the daemon writes it: the systemd journal of a service, the file of launchd, or the file that the
/// daemon's standard error is. Elsewhere it says where the log goes. The logs of the guarded daemon and of the machine's are
/// for root and the readers of the system's journal. `regauthctl log` shows and changes the level.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Show new lines as they come, until Ctrl-C
    #[arg(short, long)]
    follow: bool,

    /// Number of lines
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100)]
    lines: u32,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl logs
  regauthctl logs -f
  regauthctl logs -n 20 --json
  sudo regauthctl logs
  sudo regauthctl logs --system";

/// Lines of the log, for `--json`.
#[derive(Serialize)]
struct Lines {
    /// `journal`, or the path of the file.
    source: String,
    lines: Vec<String>,
}

/// Shows the log with `journalctl` or `tail`, which replace this process.
pub(crate) fn run(
    arguments: &Arguments,
    json: bool,
    system: bool,
    client: &Client,
    folders: &Folders,
) -> Result<Report, ErrorBody> {
    let place = place(system, client, folders)?;
    if json && arguments.follow {
        return Err(error::usage("--json prints one document, and --follow never ends").hint("leave out one of them"));
    }
    let mut command = command(&place, arguments);
    let program = command.get_program().to_string_lossy().into_owned();
    let cannot_run = error::io(format!("cannot run {program}"));
    if !json {
        return Err(cannot_run(command.exec()));
    }
    let output = command.output().map_err(cannot_run)?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        return Err(error::failed(format!("{program} failed: {}", why.trim())));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = Lines {
        source: match &place {
            LogDestination::Journal(_) => "journal".to_owned(),
            LogDestination::File(path) => path.display().to_string(),
        },
        lines: text.lines().map(str::to_owned).collect(),
    };
    Report::from_value(&lines, String::new())
}

/// A service's log first: asking its daemon could start it.
fn place(system: bool, client: &Client, folders: &Folders) -> Result<LogDestination, ErrorBody> {
    let installation = if system || client.is_guarded() {
        Installation::System
    } else {
        Installation::User
    };
    let is_service = folders.home.is_none() && installation.state().is_ok_and(|state| state.installed);
    if is_service && let Some(place) = installation.log_destination() {
        return match installation {
            Installation::System if !place.is_readable() => Err(no_permission(client)),
            _ => Ok(place),
        };
    }
    let status: Reply<Status> = client.call(&Request::Status(Nothing {}))?;
    let other_user = client.is_of_system() && !rustix::process::getuid().is_root();
    log_of_process(status.answer.pid).map_err(|place| {
        if other_user {
            return no_permission(client);
        }
        error::failed(format!(
            "regauthd writes its log to {place}, where regauthctl cannot read it"
        ))
        .hint("start it with its log in a file: regauthd 2>>regauthd.log; a service logs to the journal")
    })
}

/// Error for the log of a daemon with a user of its own.
fn no_permission(client: &Client) -> ErrorBody {
    error::failed("no permission to read the log of this machine's regauthd: it is about all of its users")
        .hint(client.as_root("logs"))
}

fn command(place: &LogDestination, arguments: &Arguments) -> Command {
    let mut command;
    match place {
        LogDestination::Journal(selection) => {
            command = Command::new("journalctl");
            command.args(selection).arg("--no-pager");
            command.arg(format!("--lines={}", arguments.lines));
            command.args(arguments.follow.then_some("--follow"));
        }
        LogDestination::File(path) => {
            command = Command::new("tail");
            command.args(["-n", &arguments.lines.to_string()]);
            // -F goes on with a new file of the name after a rotation.
            command.args(arguments.follow.then_some("-F")).arg("--").arg(path);
        }
    }
    command
}
