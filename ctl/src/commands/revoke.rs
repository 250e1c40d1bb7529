//! `regauthctl revoke`.

use regauth_shared::request::Revoke;
use regauth_shared::response::Revoked;
use regauth_shared::{ErrorBody, Request};

use super::grant::registries;
use crate::client::Client;
use crate::output::Report;

/// End a grant at once
///
/// The daemon closes all connections of its bearers.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The grant's id, as `regauthctl grants` lists it
    id: String,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl revoke 3f9a1c2e";

/// Revokes the grant.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.call(&Request::Revoke(Revoke { id: arguments.id }))?;
    Ok(Report::from_reply(reply, describe))
}

fn describe(revoked: &Revoked) -> String {
    let grant = &revoked.grant;
    format!("Grant {} for {} is revoked.\n", grant.id, registries(grant))
}
