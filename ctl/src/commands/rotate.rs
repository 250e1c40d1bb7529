//! `regauthctl rotate`.

use std::collections::BTreeSet;

use regauth_shared::request::{ByName, Rotate};
use regauth_shared::response::{RegistryView, Rotated};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request, Secret};

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
    let (token, scheme) = new_token(&arguments, client)?;
    let reply = client.call(&Request::Rotate(Rotate {
        name: arguments.name.clone(),
        token: token.clone(),
        verify: !arguments.no_verify,
    }));
    let reply = reply.map_err(|error| match (error.kind, token) {
        (ErrorKind::TokenRejected, Some(token)) => {
            let scheme = scheme.or_else(|| Some(view(&arguments.name, client).ok()?.scheme));
            let login = scheme.and_then(|scheme| paste::login(token.expose(), &scheme));
            paste::with_login_hint(error, login)
        }
        _ => error,
    })?;
    Ok(Report::from_reply(reply, describe))
}

fn view(name: &RegistryName, client: &Client) -> Result<RegistryView, ErrorBody> {
    let show = Request::Show(ByName { name: name.clone() });
    Ok(client.call(&show)?.answer)
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

/// Reads the new token; `None` if the registry has another source than the store. The scheme is known if it was needed.
///
/// Looks the registry up before it prompts, so that nobody pastes a token for a registry that does not exist.
fn new_token(arguments: &Arguments, client: &Client) -> Result<(Option<Secret>, Option<String>), ErrorBody> {
    let mut scheme = None;
    let mut show = || {
        let view = view(&arguments.name, client)?;
        scheme = Some(view.scheme.clone());
        Ok(view)
    };
    let token = if arguments.token.is_given() {
        Some(arguments.token.read(|| Ok(prompt(&show()?)))?)
    } else {
        let view = show()?;
        let is_stored = view.source == "store";
        is_stored
            .then(|| arguments.token.read(|| Ok(prompt(&view))))
            .transpose()?
    };
    Ok((token, scheme))
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
