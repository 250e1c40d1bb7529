//! `regauthctl rotate`.

use regauth_shared::request::{ByName, Rotate};
use regauth_shared::response::{RegistryView, Rotated};
use regauth_shared::{ErrorBody, RegistryName, Request};

use super::registry;
use crate::client::Client;
use crate::output::Report;
use crate::token::TokenFlags;

/// Replace a registry's token
///
/// Asks for the new token without echo and lets the daemon verify it first: a token that the registry rejects changes
/// nothing. Requests under way finish with the old token; when this command has returned, no new request uses it. No
/// client notices.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,

    /// Replace the token without asking the registry about the new one
    #[arg(long)]
    no_verify: bool,

    #[command(flatten)]
    token: TokenFlags,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl rotate corp
  pass show corp | regauthctl rotate corp --token-stdin
  regauthctl rotate corp --token-env CORP_TOKEN";

/// Rotates the token.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let token = arguments.token.read(|| prompt(&arguments.name, client))?;
    let reply = client.ask(&Request::Rotate(Rotate {
        name: arguments.name,
        token,
        verify: !arguments.no_verify,
    }))?;
    Ok(Report::new(reply, words))
}

/// Nobody should paste a token for a registry that does not exist.
fn prompt(name: &RegistryName, client: &Client) -> Result<String, ErrorBody> {
    let view: RegistryView = client.ask(&Request::Show(ByName { name: name.clone() }))?.answer;
    let scheme = registry::scheme(&view.scheme, view.username.as_deref());
    Ok(format!("New token for {name} ({scheme}): "))
}

fn words(rotated: &Rotated) -> String {
    format!(
        "Rotated {} to generation {}; {}.\n",
        rotated.name,
        rotated.generation,
        registry::verified(rotated.verified)
    )
}
