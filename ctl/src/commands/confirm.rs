//! `regauthctl confirm`.

use regauth_shared::request::{self, ByName};
use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, RegistryName, Request};

use crate::client::Client;
use crate::output::{self, Report};
use crate::proof;
use crate::token::TokenFlags;

/// Take in what a changed configuration adds to the use of a registry's token
///
/// A stored token goes where it was given for, and nowhere else: its scopes, its scheme, the roots of its ca-file. If
/// config.toml says more than that, regauthd serves the registry as before and `show` lists what is new. This command
/// shows the changes, asks for the registry's present token, and serves them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,

    #[command(flatten)]
    token: TokenFlags,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl show corp
  regauthctl confirm corp
  pass show corp | regauthctl confirm corp --token-stdin";

/// Confirms the changes.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let name = arguments.name;
    let shown = client.call::<RegistryView>(&Request::Show(ByName { name: name.clone() }))?;
    let view = &shown.answer;
    if view.changes.is_empty() {
        return Ok(Report::from_reply(shown, |view: &RegistryView| {
            format!(
                "Nothing to confirm: {} goes where its token was given for.\n",
                view.name
            )
        }));
    }
    let changes = view.changes.clone();
    output::print_to_stderr(&format!("{name} has changed:\n{}", list(&changes)));
    let owner = view.credential_of.clone().unwrap_or_else(|| name.clone());
    let request = Request::Confirm(request::Confirm {
        name,
        changes: changes.clone(),
        proof: None,
    });
    let reply = proof::call(client, request, &arguments.token, &owner)?;
    Ok(Report::from_reply(reply, |view: &RegistryView| {
        format!("Confirmed; {} is served as it is configured.\n", view.name)
    }))
}

fn list(changes: &[String]) -> String {
    changes.iter().map(|change| format!("  {change}\n")).collect()
}
