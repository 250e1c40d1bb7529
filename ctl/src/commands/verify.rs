//! `regauthctl verify`.

use regauth_shared::request::Verify;
use regauth_shared::response::{VerdictResult, Verified};
use regauth_shared::{ErrorBody, RegistryName, Request, exit_code};

use crate::client::Client;
use crate::output::{self, Report};

/// Verify the tokens against their registries
///
/// One line a registry. Exits with 0 if all tokens are accepted, 4 if one is rejected, 5 if one is missing or in a
/// locked store, 1 if an answer does not tell: `unclear`, `public` if the registry serves everybody, with any token
/// or none, or `inconclusive` if it has no page there, for anybody.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// One registry; all of them without it
    name: Option<RegistryName>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl verify
  regauthctl verify corp";

/// Verifies the tokens.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.call(&Request::Verify(Verify { name: arguments.name }))?;
    let exit_code = worst(&reply.answer);
    Ok(Report::from_reply(reply, describe).with_exit_code(exit_code))
}

fn worst(verified: &Verified) -> u8 {
    let any = |result| verified.registries.iter().any(|verdict| verdict.result == result);
    if any(VerdictResult::Rejected) {
        exit_code::TOKEN_REJECTED
    } else if any(VerdictResult::NoToken) {
        exit_code::STORE
    } else if verified
        .registries
        .iter()
        .all(|verdict| verdict.result == VerdictResult::Accepted)
    {
        exit_code::DONE
    } else {
        exit_code::FAILED
    }
}

fn describe(verified: &Verified) -> String {
    if verified.registries.is_empty() {
        return "There are no registries to verify.\n".to_owned();
    }
    let rows = verified.registries.iter().map(|verdict| {
        let result = match verdict.result {
            VerdictResult::Accepted => "accepted",
            VerdictResult::Rejected => "rejected",
            VerdictResult::Unclear => "unclear",
            VerdictResult::Public => "public",
            VerdictResult::Inconclusive => "inconclusive",
            VerdictResult::NoToken => "no token",
            _ => "unknown",
        };
        vec![verdict.name.to_string(), result.to_owned(), verdict.detail.clone()]
    });
    let hints = verified.registries.iter().filter_map(|verdict| {
        let hint = verdict.hint.as_ref()?;
        Some(format!("hint for {}: {hint}\n", verdict.name))
    });
    output::table(&rows.collect::<Vec<_>>()) + &hints.collect::<String>()
}
