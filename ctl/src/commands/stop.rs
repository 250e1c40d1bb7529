//! `regauthctl stop`.

use std::time::Duration;

use regauth_shared::request::Nothing;
use regauth_shared::response::Stopping;
use regauth_shared::{ErrorBody, Request};

use crate::client::Client;
use crate::output::{self, Report};

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
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let request = Request::Stop(Nothing {});
    if !arguments.wait {
        return Ok(Report::from_reply(client.call(&request)?, draining));
    }
    let reply = client.call_and_wait_for_exit(&request, |stopping: &Stopping| {
        output::print_to_stderr(&draining(stopping));
        stopping.at_most.map_or(DEFAULT_DRAIN_TIMEOUT, Duration::from_secs) + EXIT_MARGIN
    })?;
    Ok(Report::from_reply(reply, |stopping: &Stopping| {
        format!("regauthd (process {}) has ended.\n", stopping.pid)
    }))
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
