//! `regauthctl add-scope`.

use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, RegistryName, Request, request};

use crate::client::Client;
use crate::output::Report;

/// Make a registry cover more URLs: its token is sent there, too
///
/// For downloads or an API on another host, and for a second group of a git host. The registry covers all URLs below
/// the scope, by whole path segments.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,

    /// The new scopes, https://host/path/
    #[arg(required = true, value_name = "URL")]
    scopes: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl add-scope corp https://downloads.corp.example/crates/";

/// Adds the scopes.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.call(&Request::AddScope(request::AddScope {
        name: arguments.name,
        scopes: arguments.scopes,
    }))?;
    Ok(Report::from_reply(reply, describe))
}

fn describe(view: &RegistryView) -> String {
    let scopes: String = view.scopes.iter().map(|scope| format!("  {scope}\n")).collect();
    format!("{} covers:\n{scopes}", view.name)
}
