//! `regauthctl status`.

use nix::unistd::{Uid, User};
use regauth_shared::request::Nothing;
use regauth_shared::response::{SocketOrigin, Status};
use regauth_shared::version::PROGRAM;
use regauth_shared::{ErrorBody, Request};

use crate::client::{Client, RESTART_HINT};
use crate::output::{self, Report};
use crate::relative_time::relative;

/// Show the state of the daemon
///
/// Shows its addresses, the bundle that clients must trust, the store of the secrets, and each problem with the command
/// that fixes it. Exits with 3 if no daemon answers.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {}

const EXAMPLES: &str = "\
Examples:
  regauthctl status
  regauthctl status --json";

/// Shows the daemon's state.
pub(crate) fn run(_: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    Ok(Report::from_reply(client.call(&Request::Status(Nothing {}))?, describe))
}

fn mode(status: &Status) -> String {
    match &*status.mode {
        "guarded" => "guarded: as a user of its own; you, or root, confirm what widens what a token can do".to_owned(),
        "machine" => "the machine's: as a user of its own, for bearers of grants".to_owned(),
        "user" => "user: as you, so your programs can do what you can".to_owned(),
        other => other.to_owned(),
    }
}

fn presence(status: &Status) -> String {
    match (&*status.mode, &*status.presence) {
        // The line of the mode says it, or nobody is asked.
        ("guarded", _) | ("machine", "never") => String::new(),
        (_, "auto") => format!("auto: where {ASKS} can ask, it has you confirm what widens what a token can do"),
        (_, "always") => format!("always: only what {ASKS} has you confirm widens what a token can do"),
        (_, "never") => "never: programs may do what you can do with regauthctl".to_owned(),
        (_, other) => other.to_owned(),
    }
}

fn clients(status: &Status) -> String {
    match &*status.clients {
        "same-user" if status.mode == "guarded" => {
            let users: Vec<String> = status.users.iter().map(|user| user_name(*user)).collect();
            format!("processes of {}; others need a grant", users.join(", "))
        }
        "same-user" => "this user's processes; others need a grant".to_owned(),
        "grants" => "everyone needs a grant".to_owned(),
        "gateway" => "everyone needs a grant, and other machines TLS".to_owned(),
        other => other.to_owned(),
    }
}

/// Name of a user, or the id if the system knows no name.
fn user_name(user: u32) -> String {
    let found = User::from_uid(Uid::from_raw(user)).ok().flatten();
    found.map_or_else(|| format!("user {user}"), |found| found.name)
}

fn listens_on(status: &Status) -> String {
    let by_manager = match (status.sockets.proxy, status.sockets.control) {
        (SocketOrigin::Passed, SocketOrigin::Passed) => ", on sockets of the service manager's",
        (SocketOrigin::Passed, _) => ", on a socket of the service manager's",
        (_, SocketOrigin::Passed) => "; the control socket is the service manager's",
        _ => "",
    };
    let tls = status
        .listen_tls
        .as_ref()
        .map_or_else(String::new, |tls| format!(", and {tls} with TLS"));
    format!("{}{tls}{by_manager}", status.listen)
}

fn corporate_proxies(status: &Status) -> String {
    let described = status.upstream_proxies.iter().map(|proxy| {
        let only = match proxy.used_for.as_slice() {
            [scheme] => format!(" (for {scheme}:// only)"),
            _ => String::new(),
        };
        format!("{}, set by {}{only}", proxy.url, proxy.set_by)
    });
    let described: Vec<String> = described.collect();
    if described.is_empty() {
        "none".to_owned()
    } else {
        described.join("; ")
    }
}

fn audit(status: &Status) -> String {
    match &status.audit {
        None => "off".to_owned(),
        Some(audit) if audit.mode == "off" => "off".to_owned(),
        Some(audit) => {
            let required = if audit.required { ", required" } else { "" };
            let lines = if audit.last.line == 1 { "line" } else { "lines" };
            format!(
                "{}{required}, {} {lines} in {}",
                audit.mode, audit.last.line, audit.folder
            )
        }
    }
}

fn bundle(status: &Status) -> String {
    match &status.ca_file {
        Some(file) => format!("{}, with the roots of {file}", status.bundle),
        None => status.bundle.clone(),
    }
}

fn describe(status: &Status) -> String {
    let store = &status.store;
    let mut text = format!(
        "regauthd {} runs as process {}, started {}.\n",
        status.version,
        status.pid,
        relative(&status.started)
    );
    let rows = [
        ("listens on", listens_on(status)),
        ("proxy", status.proxy.clone()),
        ("mode", mode(status)),
        ("presence", presence(status)),
        ("clients", clients(status)),
        ("corporate proxy", corporate_proxies(status)),
        ("bundle", bundle(status)),
        ("config", status.config.clone()),
        (
            "store",
            format!("{}, {} ({})", store.kind, store.state, store.protection),
        ),
        ("exposure", store.exposure.clone().unwrap_or_default()),
        ("audit", audit(status)),
        (
            "metrics",
            status.metrics.clone().unwrap_or_else(|| "not over HTTP".to_owned()),
        ),
        ("registries", status.registries.to_string()),
        ("connections", format!("{} open", status.connections)),
        ("requests", format!("{} since it started", status.requests)),
    ];
    // A daemon of an older release does not say what its mode and the store's exposure are.
    text += &output::key_values(rows.into_iter().filter(|(_, value)| !value.is_empty()));
    if status.version != PROGRAM {
        text += &format!(
            "\nproblem: this is regauthctl {PROGRAM}, and the regauthd that runs is {}\nhint: {}\n",
            status.version, RESTART_HINT
        );
    }
    for problem in &status.problems {
        text += &format!("\nproblem: {}\nhint: {}\n", problem.message, problem.hint);
    }
    text
}

/// Part of the system that has a person confirm.
const ASKS: &str = if cfg!(target_os = "macos") { "macOS" } else { "polkit" };
