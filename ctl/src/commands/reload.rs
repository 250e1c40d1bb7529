//! `regauthctl reload`.

use regauth_shared::response::Reloaded;
use regauth_shared::{ErrorBody, Request, request};

use super::agreement;
use crate::client::{Client, Reply};
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
    let (reply, is_shown) = reload_as_shown(client)?;
    Ok(Report::from_reply(reply, |reloaded: &Reloaded| {
        let registries = output::count(reloaded.registries as u64, "registry", "registries");
        let changes = if is_shown { String::new() } else { changes(reloaded) };
        let notes = output::notes(&reloaded.notes);
        format!("Reloaded; regauthd serves {registries} now.\n{changes}{notes}")
    }))
}

/// Reloads. At a terminal where polkit or macOS asks, the changes are shown before, and others are an error. Returns true if
/// there were any to show.
///
/// # Errors
/// Those of the daemon.
pub(crate) fn reload_as_shown(client: &Client) -> Result<(Reply<Reloaded>, bool), ErrorBody> {
    let mut request = request::Reload::default();
    let mut is_shown = false;
    // A failed check has nothing to show, and the reload itself fails likewise.
    if client.will_ask_at_terminal(&Request::Reload(request::Reload::default()))?
        && let Ok(checked) = client.call::<Reloaded>(&check())
    {
        let text = changes(&checked.answer);
        output::print_to_stderr(&text);
        is_shown = !text.is_empty();
        request.reviewed = checked.answer.review;
    }
    Ok((client.call(&Request::Reload(request))?, is_shown))
}

fn changes(reloaded: &Reloaded) -> String {
    let listed = agreement::table(&reloaded.changes) + &agreement::settings(&reloaded.settings);
    if listed.is_empty() {
        listed
    } else {
        format!("Changes:\n{listed}")
    }
}

fn check() -> Request {
    Request::Reload(request::Reload {
        check: true,
        reviewed: None,
    })
}
