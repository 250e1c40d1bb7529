//! `regauthctl deny`.

use regauth_shared::request::ByName;
use regauth_shared::{ErrorBody, RegistryName, Request};

use super::allow;
use crate::client::Client;
use crate::output::Report;

/// Close a registry for writes at once
///
/// Ends what `regauthctl allow` opened. A write that is under way finishes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl deny corp";

/// Closes the registry.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.ask(&Request::Deny(ByName { name: arguments.name }))?;
    Ok(Report::new(reply, allow::words))
}
