//! `regauthctl top`.

use std::time::Duration;

use regauth_shared::ErrorBody;

use crate::client::Client;
use crate::output::Report;
use crate::top;

/// Watch registries and clients, live
///
/// A row a registry: requests a second, requests in flight, the registry's time and regauthd's own, bytes, refusals,
/// the token's end and the last trouble. Tab shows the clients, Enter the latest requests, and ? all keys. On a narrow
/// terminal some columns are left out; the panel below has all values of the selected row.
///
/// --once prints one frame as text, and --json one object. Their percentiles are of all requests since the daemon's
/// start.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Print one frame and exit
    #[arg(long)]
    once: bool,

    /// Seconds between two samples, 1 to 60
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl top
  regauthctl top --interval 5
  regauthctl top --once
  regauthctl top --json";

/// Shows the live view, or one frame.
pub(crate) fn run(arguments: &Arguments, json: bool, client: &Client) -> Result<Report, ErrorBody> {
    let interval = Duration::from_secs(arguments.interval);
    if arguments.once || json {
        top::once(client, interval)
    } else {
        top::run(client, interval)
    }
}
