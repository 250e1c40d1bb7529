//! `regauthctl remove-registry`.

use regauth_shared::request::ByName;
use regauth_shared::response::RegistryRemoved;
use regauth_shared::{ErrorBody, RegistryName, Request};

use crate::client::Client;
use crate::output::{self, Report};

/// Remove a registry and delete its secret
///
/// From then on clients reach its hosts through a tunnel, without a credential.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl remove-registry corp";

/// Removes the registry.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.call(&Request::RemoveRegistry(ByName { name: arguments.name }))?;
    Ok(Report::from_reply(reply, |removed: &RegistryRemoved| {
        format!("Removed {}.\n{}", removed.name, output::notes(&removed.notes))
    }))
}
