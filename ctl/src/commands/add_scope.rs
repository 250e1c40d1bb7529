//! `regauthctl add-scope`.

use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, RegistryName, Request, request};

use crate::client::Client;
use crate::output::Report;
use crate::proof;
use crate::token::TokenFlags;

/// Make a registry cover more URLs: its token is sent there, too
///
/// For downloads or an API on another host, and for a second group of a git host. The registry covers all URLs below
/// the scope, by whole path segments.
///
/// A token that regauth stores was given for the registry's present scopes, so polkit has you confirm this. Where it cannot ask,
/// the command asks for the token again, or with a guarded daemon takes root.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,

    /// The new scopes, https://host/path/
    #[arg(required = true, value_name = "URL")]
    scopes: Vec<String>,

    #[command(flatten)]
    token: TokenFlags,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl add-scope corp https://downloads.corp.example/crates/
  pass show corp | regauthctl add-scope corp https://cdn.example/ --token-stdin";

/// Adds the scopes.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let owner = arguments.name.clone();
    let request = Request::AddScope(request::AddScope {
        name: arguments.name,
        scopes: arguments.scopes,
        proof: None,
    });
    let reply = proof::call(client, request, &arguments.token, &owner)?;
    Ok(Report::from_reply(reply, describe))
}

fn describe(view: &RegistryView) -> String {
    let scopes: String = view.scopes.iter().map(|scope| format!("  {scope}\n")).collect();
    format!("{} covers:\n{scopes}", view.name)
}
