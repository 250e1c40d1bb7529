//! `regauthctl stop`.

use regauth_shared::request::Nothing;
use regauth_shared::response::Stopping;
use regauth_shared::{ErrorBody, Request};

use crate::client::Client;
use crate::output::{self, Report};

/// Drain and end the daemon
///
/// The daemon takes no new connections, lets requests that are under way finish, and ends. This command does not wait
/// for that. A daemon that a service manager keeps alive is better stopped there.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {}

const EXAMPLES: &str = "\
Examples:
  regauthctl stop";

/// Stops the daemon.
pub(crate) fn run(_: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.ask(&Request::Stop(Nothing {}))?;
    Ok(Report::new(reply, |stopping: &Stopping| {
        let connections = output::count(stopping.connections, "connection", "connections");
        format!(
            "regauthd (process {}) ends; {connections} left to finish.\n",
            stopping.pid
        )
    }))
}
