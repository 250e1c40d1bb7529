//! `regauthctl unlock`.

use std::io::IsTerminal;

use regauth_shared::request::{Nothing, Unlock};
use regauth_shared::response::{Status, Unlocked};
use regauth_shared::{ErrorBody, Request, Secret};

use crate::client::Client;
use crate::output::{self, Report};
use crate::{error, terminal, token};

/// Open a locked store
///
/// A keychain asks in a window of its own. For a vault that is protected by a passphrase, the passphrase is asked for
/// here, without echo.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Read the vault's passphrase from stdin, all of it
    #[arg(long)]
    passphrase_stdin: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl unlock
  pass show regauth-vault | regauthctl unlock --passphrase-stdin";

/// Unlocks the store.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let passphrase = passphrase(&arguments, client)?;
    let reply = client.ask(&Request::Unlock(Unlock { passphrase }))?;
    Ok(Report::new(reply, words))
}

/// Without a terminal or a flag there is none: the daemon knows whether it needs one, and says so.
fn passphrase(arguments: &Arguments, client: &Client) -> Result<Option<Secret>, ErrorBody> {
    let text = if std::io::stdin().is_terminal() {
        let store = client.ask::<Status>(&Request::Status(Nothing {}))?.answer.store;
        if store.kind != "vault" || store.state != "locked" {
            return Ok(None);
        }
        terminal::ask("Passphrase of the vault: ")?
    } else if arguments.passphrase_stdin {
        token::from_stdin()?
    } else {
        return Ok(None);
    };
    // The rules are those of a token, and so are the words of the error.
    let in_our_words = |invalid: String| error::usage(invalid.replace("token", "passphrase"));
    Secret::parse(&text)
        .map(Some)
        .map_err(|invalid| in_our_words(invalid.to_string()))
}

fn words(unlocked: &Unlocked) -> String {
    let store = &unlocked.store;
    let ready = output::count(unlocked.ready as u64, "registry", "registries");
    format!("The {} is {}; {ready} can be served.\n", store.kind, store.state)
}
