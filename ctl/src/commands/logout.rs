//! `regauthctl logout`: deletes a registry's token and keeps the registry.

use regauth_shared::request::ByName;
use regauth_shared::response::LoggedOut;
use regauth_shared::{ErrorBody, RegistryName, Request};

use crate::client::Client;
use crate::output::{self, Report};

/// Delete a registry's token and keep the registry
///
/// Its requests are refused until `regauthctl login` stores another token. The token stays valid at the registry: revoke it
/// there.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,

    /// Accepted as by `remove-registry`: `logout` asks nothing
    #[arg(long, short, hide = true)]
    yes: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl logout corp";

/// Deletes the token.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let Arguments { name, yes: _ } = arguments;
    let reply = client.call(&Request::Logout(ByName { name }))?;
    Ok(Report::from_reply(reply, |logged_out: &LoggedOut| {
        format!(
            "Logged out of {0}; `regauthctl login {0}` stores another token.\n{1}",
            logged_out.name,
            output::notes(&logged_out.notes)
        )
    }))
}
