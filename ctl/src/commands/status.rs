//! `regauthctl status`.

use regauth_shared::request::Nothing;
use regauth_shared::response::{SocketOrigin, Status};
use regauth_shared::version::PROGRAM;
use regauth_shared::{ErrorBody, Request};

use crate::client::{Client, RESTART};
use crate::moment;
use crate::output::{self, Report};

/// Show whether the daemon runs and how it is doing
///
/// Where it listens and on whose sockets, which bundle clients must trust, what keeps the secrets, and what is wrong now with what to do
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

fn listens_on(status: &Status) -> String {
    let by_manager = match (status.sockets.proxy, status.sockets.control) {
        (SocketOrigin::Passed, SocketOrigin::Passed) => ", on sockets of the service manager's",
        (SocketOrigin::Passed, _) => ", on a socket of the service manager's",
        (_, SocketOrigin::Passed) => "; the control socket is the service manager's",
        _ => "",
    };
    format!("{}{by_manager}", status.listen)
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
        ("listens on", listens_on(status)),
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
    if status.version != PROGRAM {
        text += &format!(
            "\nproblem: this is regauthctl {PROGRAM}, and the regauthd that runs is {}\nhint: {}\n",
            status.version, RESTART
        );
    }
    for problem in &status.problems {
        text += &format!("\nproblem: {}\nhint: {}\n", problem.message, problem.hint);
    }
    text
}
