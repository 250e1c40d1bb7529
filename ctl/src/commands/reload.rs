//! `regauthctl reload`.

use regauth_shared::response::Reloaded;
use regauth_shared::{ErrorBody, Request, request};

use super::agreement;
use crate::client::Client;
use crate::output::{self, Report};

/// Read the configuration and the certificates again
///
/// For a configuration that was edited by hand. If it has errors, the daemon keeps the last valid one and lists the
/// errors. The changes are listed, at a terminal before polkit or macOS asks you to confirm them.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {}

const EXAMPLES: &str = "\
Examples:
  regauthctl reload";

/// Reloads the configuration.
pub(crate) fn run(_: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let is_shown = client.will_ask_at_terminal(&reload(false))? && show_changes(client);
    let reply = client.call(&reload(false))?;
    Ok(Report::from_reply(reply, |reloaded: &Reloaded| {
        let registries = output::count(reloaded.registries as u64, "registry", "registries");
        let changes = if is_shown { String::new() } else { changes(reloaded) };
        let notes = output::notes(&reloaded.notes);
        format!("Reloaded; regauthd serves {registries} now.\n{changes}{notes}")
    }))
}

/// Shows the changes before they are to be confirmed. A failure to tell them is left to the reload itself.
fn show_changes(client: &Client) -> bool {
    let checked = client.call::<Reloaded>(&reload(true));
    let text = checked.map_or_else(|_| String::new(), |checked| changes(&checked.answer));
    output::show(&text);
    !text.is_empty()
}

fn changes(reloaded: &Reloaded) -> String {
    let listed = agreement::table(&reloaded.changes) + &agreement::settings(&reloaded.settings);
    if listed.is_empty() {
        listed
    } else {
        format!("Changes:\n{listed}")
    }
}

fn reload(check: bool) -> Request {
    Request::Reload(request::Reload { check })
}
