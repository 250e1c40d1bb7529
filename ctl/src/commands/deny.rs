//! `regauthctl deny`.

use regauth_shared::request::ByName;
use regauth_shared::{ErrorBody, RegistryName, Request};

use super::allow;
use crate::client::Client;
use crate::output::Report;

/// Close writes to a registry at once
///
/// Ends `regauthctl allow` before its time is over. A write in progress finishes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl deny corp";

/// Closes the writes.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.call(&Request::Deny(ByName { name: arguments.name }))?;
    Ok(Report::from_reply(reply, allow::describe))
}
