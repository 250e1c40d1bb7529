//! `regauthctl rotate`.

use std::collections::BTreeSet;

use regauth_shared::request::{ByName, Rotate};
use regauth_shared::response::{RegistryView, Rotated};
use regauth_shared::{ErrorBody, RegistryName, Request, Secret};

use super::registry_text;
use crate::client::Client;
use crate::output::{self, Report};
use crate::paste;
use crate::token::{TokenFlags, TokenPrompt};

/// Replace a registry's token
///
/// Asks for the new token without echo and lets the daemon verify it first: a token that the registry rejects changes
/// nothing. Requests that wait for the registry's response finish with the old token, for up to 10 s; if some still wait
/// then, a note says how many. After this command has returned, the old token is not sent again. Clients need no restart.
///
/// For a token from a file or a program, the daemon reads the file or runs the program again.
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
    let name = arguments.name.clone();
    // Before the prompt, so that nobody pastes a token for a registry that does not exist.
    let view: RegistryView = client.call(&Request::Show(ByName { name }))?.answer;
    let token = new_token(&arguments, &view)?;
    let login = token
        .as_ref()
        .and_then(|token| paste::login(token.expose(), &view.scheme));
    let reply = client.call(&Request::Rotate(Rotate {
        name: arguments.name,
        token,
        verify: !arguments.no_verify,
    }));
    let reply = reply.map_err(|error| paste::with_login_hint(error, login))?;
    Ok(Report::from_reply(reply, describe))
}

/// Rotates to a token that the person types or the flags name.
pub(super) fn with_token(
    name: RegistryName,
    no_verify: bool,
    token: TokenFlags,
    client: &Client,
) -> Result<Report, ErrorBody> {
    let arguments = Arguments { name, no_verify, token };
    run(arguments, client)
}

/// Reads the new token; `None` if the registry has another source than the store.
fn new_token(arguments: &Arguments, view: &RegistryView) -> Result<Option<Secret>, ErrorBody> {
    if arguments.token.is_given() || view.source == "store" {
        return arguments.token.read(|| Ok(prompt(view))).map(Some);
    }
    Ok(None)
}

fn prompt(view: &RegistryView) -> TokenPrompt {
    let scheme = registry_text::scheme(&view.scheme, view.username.as_deref());
    TokenPrompt {
        text: format!("New token for {} ({scheme}){}: ", view.name, destinations(view)),
        scheme: view.scheme.clone(),
    }
}

/// Hosts that get the token. A person reads them before typing it: a program may have added a registry of that name.
fn destinations(view: &RegistryView) -> String {
    let authority = |scope: &String| scope.split("://").nth(1)?.split('/').next().map(str::to_owned);
    let hosts: BTreeSet<String> = view.scopes.iter().filter_map(authority).collect();
    let hosts: Vec<String> = hosts.into_iter().collect();
    format!(", for {}", hosts.join(" and "))
}

fn describe(rotated: &Rotated) -> String {
    format!(
        "Rotated {} to generation {}; {}.\n",
        rotated.name,
        rotated.generation,
        registry_text::verification(rotated.verified, rotated.public)
    ) + &output::notes(&rotated.notes)
}
