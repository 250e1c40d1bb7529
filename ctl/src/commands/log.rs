//! `regauthctl log`.

use regauth_shared::request::{Log, LogLevel};
use regauth_shared::response::LogLevels;
use regauth_shared::{ErrorBody, Request};

use crate::client::Client;
use crate::output::Report;

/// Say or change how much the daemon logs
///
/// Without a level, says the present one. A level counts until the daemon ends; its next start logs what `--log` or
/// REGAUTH_LOG say there. No level shows a token.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// error, warn, info, debug or trace
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(LogLevel::ALL.map(LogLevel::as_str)))]
    level: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl log
  regauthctl log debug
  regauthctl log info";

/// Asks or sets.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let named = |name: String| LogLevel::ALL.into_iter().find(|level| level.as_str() == name);
    let level = arguments.level.and_then(named);
    let reply = client.ask(&Request::Log(Log { level }))?;
    Ok(Report::new(reply, |now: &LogLevels| {
        format!("regauthd logs {}.\n", now.level)
    }))
}
