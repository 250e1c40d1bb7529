//! `regauthctl stop`.

use std::time::Duration;

use regauth_shared::request::Nothing;
use regauth_shared::response::Stopping;
use regauth_shared::{ErrorBody, Request};

use crate::client::Client;
use crate::output::{self, Report};

/// Drain and end the daemon
///
/// The daemon takes no new connections, lets requests that are under way finish, and ends. Without --wait this command
/// says how many there are and leaves it to that; another daemon may be started at once. A daemon that a service manager
/// keeps alive is better stopped there.
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
        return Ok(Report::new(client.ask(&request)?, draining));
    }
    let reply = client.ask_and_see_it_end(&request, |stopping: &Stopping| {
        output::print_to_stderr(&draining(stopping));
        stopping.at_most.map_or(LONGEST, Duration::from_secs) + MARGIN
    })?;
    Ok(Report::new(reply, |stopping: &Stopping| {
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

/// For a daemon that does not say how long it takes at most.
const LONGEST: Duration = Duration::from_secs(600);
const MARGIN: Duration = Duration::from_secs(10);
