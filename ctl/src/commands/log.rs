//! `regauthctl log`.

use regauth_shared::request::{Log, LogLevel};
use regauth_shared::response::LogLevels;
use regauth_shared::{ErrorBody, Request};

use crate::client::Client;
use crate::output::Report;

/// Show or change the daemon's log level
///
/// Without an argument, shows the present level. A new level holds until the daemon ends; the next start uses `--log`
/// or REGAUTH_LOG again. No level logs a token.
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

/// Shows or sets the level.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let named = |name: String| LogLevel::ALL.into_iter().find(|level| level.as_str() == name);
    let level = arguments.level.and_then(named);
    let reply = client.call(&Request::Log(Log { level }))?;
    Ok(Report::from_reply(reply, |now: &LogLevels| {
        format!("regauthd logs at level {}.\n", now.level)
    }))
}
