//! `regauthctl allow`.

use regauth_shared::request::Allow;
use regauth_shared::response::WritesChanged;
use regauth_shared::{ErrorBody, RegistryName, Request};

use crate::client::Client;
use crate::output::Report;
use crate::relative_time::absolute_and_relative;

/// Allow writes to a registry for a limited time
///
/// regauthd refuses writes such as `cargo publish` and `git push` until you allow them: a build script can use the
/// proxy too. They close by themselves when the time is over, or at once with `regauthctl deny`.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,

    /// Duration: a number with s, m or h
    #[arg(long = "for", value_name = "TIME", default_value = "5m", value_parser = seconds)]
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

/// Parses a duration such as `90s`, `5m` or `1h` into seconds.
pub(super) fn seconds(text: &str) -> Result<u64, String> {
    let units = [("s", 1), ("m", 60), ("h", 3_600)];
    let parsed = units.iter().find_map(|(unit, seconds)| {
        let number: u64 = text.strip_suffix(unit)?.parse().ok()?;
        number.checked_mul(*seconds)
    });
    match parsed {
        Some(seconds) if seconds > 0 => Ok(seconds),
        _ => Err("a time is a number with a unit: 90s, 5m, 1h".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requires_a_positive_number_and_a_unit() {
        assert_eq!(seconds("90s"), Ok(90));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("2h"), Ok(7200));
        for bad in ["", "5", "m", "0m", "-5m", "5 m", "5d", "18446744073709551615h"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
    }
}
