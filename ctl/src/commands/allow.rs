//! `regauthctl allow`.

use regauth_shared::request::Allow;
use regauth_shared::response::WritesChanged;
use regauth_shared::{ErrorBody, RegistryName, Request};

use crate::client::Client;
use crate::duration;
use crate::output::Report;
use crate::relative_time::absolute_and_relative;

/// Allow writes to a registry for a limited time
///
/// regauthd refuses writes such as `cargo publish` and `git push` until you allow them: a build script can use the
/// proxy too. They close by themselves when the time is over, or at once with `regauthctl deny`.
///
/// polkit or macOS may have you confirm it: always with a guarded daemon, and with yours as `presence` in config.toml says.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,

    /// Duration: a number with s, m or h
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = duration::positive_seconds)]
    seconds: u64,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl allow corp
  regauthctl allow corp --for 30m";

/// Allows the writes.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.call(&Request::Allow(Allow {
        name: arguments.name,
        seconds: arguments.seconds,
    }))?;
    Ok(Report::from_reply(reply, describe))
}

/// Formats the answer to `allow` and to `deny`.
pub(super) fn describe(changed: &WritesChanged) -> String {
    match &changed.open_until {
        Some(until) => format!(
            "Writes to {} are open until {}.\n",
            changed.name,
            absolute_and_relative(until)
        ),
        None => format!("Writes to {} are closed.\n", changed.name),
    }
}
