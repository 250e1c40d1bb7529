//! `regauthctl confirm`.

use regauth_shared::request::{self, ByName};
use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, RegistryName, Request};

use crate::client::{Client, Reply};
use crate::output::{self, Report};
use crate::proof;
use crate::token::TokenFlags;

/// Take in what a changed configuration adds to the use of a registry's token
///
/// A stored token goes where it was given for, and nowhere else: its scopes, its scheme, the roots of its ca-file. If
/// config.toml says more than that, regauthd serves the registry as before and `show` lists what is new. This command
/// shows the changes, has you confirm them through polkit or asks for the registry's present token, and serves them.
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
    let reply = confirm(view, client, &arguments.token)?;
    Ok(Report::from_reply(reply, |view: &RegistryView| {
        format!("Confirmed; {} is served as it is configured.\n", view.name)
    }))
}

/// Shows the changes of a registry, and has them confirmed.
///
/// # Errors
/// Those of the daemon: `presence-needed` where nobody can be asked.
pub(super) fn confirm(
    view: &RegistryView,
    client: &Client,
    token: &TokenFlags,
) -> Result<Reply<RegistryView>, ErrorBody> {
    let name = &view.name;
    output::print_to_stderr(&format!("{name} has changed:\n{}", list(&view.changes)));
    let request = Request::Confirm(request::Confirm {
        name: name.clone(),
        changes: view.changes.clone(),
        proof: None,
    });
    proof::call(client, request, token, view.credential_of.as_ref().unwrap_or(name))
}

fn list(changes: &[String]) -> String {
    let lines = changes.iter().map(|change| output::one_line(change));
    lines.map(|change| format!("  {change}\n")).collect()
}
