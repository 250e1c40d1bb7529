//! `regauthctl stop`.

use std::time::Duration;

use regauth_shared::paths::Folders;
use regauth_shared::request::Nothing;
use regauth_shared::response::{SocketOrigin, Status, Stopping};
use regauth_shared::{ErrorBody, Request};

use crate::client::{Client, Reply};
use crate::output::{self, Report};
use crate::setup;

/// Drain and end the daemon
///
/// The daemon accepts no new connections, lets requests in progress finish, and ends. Without --wait this command
/// prints the number of open connections and returns; another daemon may be started at once. Stop a daemon of a service
/// manager with the service manager.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Wait until the daemon has ended
    #[arg(long)]
    wait: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl stop
  regauthctl stop --wait";

/// Stops the daemon.
pub(crate) fn run(arguments: Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let warning = warning(client, folders)?;
    let report = if arguments.wait {
        Report::from_reply(stop_and_wait(client)?, |stopping: &Stopping| {
            format!("regauthd (process {}) has ended.\n", stopping.pid)
        })
    } else {
        Report::from_reply(client.call(&Request::Stop(Nothing {}))?, draining)
    };
    Ok(report.with_lines(&warning))
}

/// Note about clients that get no answer from here on. A service manager keeps the port open, and the next connection
/// starts the daemon again.
fn warning(client: &Client, folders: &Folders) -> Result<String, ErrorBody> {
    let note = setup::dead_port_note(folders);
    if note.is_empty() {
        return Ok(note);
    }
    let status: Status = client.call(&Request::Status(Nothing {}))?.answer;
    Ok(match status.sockets.proxy {
        SocketOrigin::Passed => String::new(),
        _ => note,
    })
}

/// Stops the daemon and waits for its end.
///
/// # Errors
/// No daemon answers, or it has not ended in time.
pub(super) fn stop_and_wait(client: &Client) -> Result<Reply<Stopping>, ErrorBody> {
    client.call_and_wait_for_exit(&Request::Stop(Nothing {}), |stopping: &Stopping| {
        output::print_to_stderr(&draining(stopping));
        stopping.at_most.map_or(DEFAULT_DRAIN_TIMEOUT, Duration::from_secs) + EXIT_MARGIN
    })
}

fn draining(stopping: &Stopping) -> String {
    let connections = output::count(stopping.connections, "connection", "connections");
    let limit = stopping
        .at_most
        .map_or_else(String::new, |seconds| format!(", for at most {seconds} s"));
    format!(
        "regauthd (process {}) drains {connections}{limit}, and ends.\n",
        stopping.pid
    )
}

/// For a daemon without a limit of its own.
const DEFAULT_DRAIN_TIMEOUT: Duration = Duration::from_secs(600);
/// Time to end after the drain.
const EXIT_MARGIN: Duration = Duration::from_secs(10);
