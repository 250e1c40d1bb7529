//! `regauthctl status`.

use regauth_shared::request::Nothing;
use regauth_shared::response::Status;
use regauth_shared::{ErrorBody, Request};

use crate::client::Client;
use crate::moment;
use crate::output::{self, Report};

/// Show whether the daemon runs and how it is doing
///
/// Where it listens, which bundle clients must trust, what keeps the secrets, and what is wrong now with what to do
/// about it. Exits with 3 if no daemon answers.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {}

const EXAMPLES: &str = "\
Examples:
  regauthctl status
  regauthctl status --json";

/// Shows the daemon's state.
pub(crate) fn run(_: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    Ok(Report::new(client.ask(&Request::Status(Nothing {}))?, words))
}

fn clients(word: &str) -> &str {
    match word {
        "same-user" => "this user's processes; others need a grant",
        "grants" => "everyone needs a grant",
        other => other,
    }
}

fn words(status: &Status) -> String {
    let store = &status.store;
    let mut text = format!(
        "regauthd {} runs as process {}, started {}.\n",
        status.version,
        status.pid,
        moment::relative(&status.started)
    );
    text += &output::pairs([
        ("listens on", status.listen.clone()),
        ("proxy", status.proxy.clone()),
        ("clients", clients(&status.clients).to_owned()),
        ("bundle", status.bundle.clone()),
        ("config", status.config.clone()),
        (
            "store",
            format!("{}, {} ({})", store.kind, store.state, store.protection),
        ),
        ("registries", status.registries.to_string()),
        ("connections", format!("{} open", status.connections)),
        ("requests", format!("{} since it started", status.requests)),
    ]);
    for problem in &status.problems {
        text += &format!("\nproblem: {}\nhint: {}\n", problem.message, problem.hint);
    }
    text
}
