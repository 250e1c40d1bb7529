//! `regauthctl reload`.

use regauth_shared::request::Nothing;
use regauth_shared::response::Reloaded;
use regauth_shared::{ErrorBody, Request};

use crate::client::Client;
use crate::output::{self, Report};

/// Read the configuration and the certificates again
///
/// For a configuration that was edited by hand. If it has errors, the daemon keeps the last valid one and lists the
/// errors.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {}

const EXAMPLES: &str = "\
Examples:
  regauthctl reload";

/// Reloads the configuration.
pub(crate) fn run(_: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.call(&Request::Reload(Nothing {}))?;
    Ok(Report::from_reply(reply, |reloaded: &Reloaded| {
        let registries = output::count(reloaded.registries as u64, "registry", "registries");
        format!(
            "Reloaded; regauthd serves {registries} now.\n{}",
            output::notes(&reloaded.notes)
        )
    }))
}
