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
///
/// --set-passphrase puts the vault under a passphrase, or changes it. From then on the vault is locked after every start
/// of the daemon until this command opens it; without a passphrase, whoever can read the daemon's files can read the
/// tokens.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Read the vault's passphrase from stdin, all of it
    #[arg(long)]
    passphrase_stdin: bool,

    /// Choose the vault's passphrase
    #[arg(long)]
    set_passphrase: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl unlock
  pass show regauth-vault | regauthctl unlock --passphrase-stdin
  regauthctl unlock --set-passphrase";

/// Unlocks the store.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let request = match (std::io::stdin().is_terminal(), arguments.set_passphrase) {
        (true, set) => asked(set, client)?,
        (false, true) if !arguments.passphrase_stdin => {
            return Err(error::usage("there is no terminal to ask for the passphrase on")
                .hint("pipe the passphrase in with --passphrase-stdin"));
        }
        (false, set) => piped(set, arguments.passphrase_stdin)?,
    };
    let reply = client.ask(&Request::Unlock(request))?;
    Ok(Report::new(reply, |unlocked| words(unlocked, arguments.set_passphrase)))
}

/// At a terminal a person is asked for what is needed, and for a new passphrase twice.
fn asked(set: bool, client: &Client) -> Result<Unlock, ErrorBody> {
    let mut request = Unlock::default();
    let store = client.ask::<Status>(&Request::Status(Nothing {}))?.answer.store;
    let is_vault = store.kind == "vault";
    if is_vault && store.state == "locked" {
        request.passphrase = Some(passphrase(&terminal::ask("Passphrase of the vault: ")?)?);
    }
    if set && !is_vault {
        return Err(
            error::refused(format!("the {} cannot be put under a passphrase of ours", store.kind))
                .hint("only the vault can; `regauthctl status` says what protects the secrets"),
        );
    }
    if set {
        let first = passphrase(&terminal::ask("New passphrase of the vault: ")?)?;
        if *terminal::ask("The same again: ")? != first.expose() {
            return Err(error::usage("the two passphrases differ").hint("nothing was changed; repeat"));
        }
        request.set_passphrase = Some(first);
    }
    Ok(request)
}

/// Without a terminal or a flag there is none: the daemon knows whether it needs one, and says so.
fn piped(set: bool, given: bool) -> Result<Unlock, ErrorBody> {
    let text = given.then(token::from_stdin).transpose()?;
    let secret = text.map(|text| passphrase(&text)).transpose()?;
    let (passphrase, set_passphrase) = if set { (None, secret) } else { (secret, None) };
    Ok(Unlock {
        passphrase,
        set_passphrase,
    })
}

/// The rules are those of a token, and so are the words of the error.
pub(super) fn passphrase(text: &str) -> Result<Secret, ErrorBody> {
    Secret::parse(text).map_err(|invalid| {
        error::usage(invalid.to_string().replace("token", "passphrase"))
            .hint("nothing was sent; a passphrase is one line of printable ASCII")
    })
}

fn words(unlocked: &Unlocked, set: bool) -> String {
    let store = &unlocked.store;
    let ready = output::count(unlocked.ready as u64, "registry", "registries");
    let mut text = format!("The {} is {}; {ready} can be served.\n", store.kind, store.state);
    if set {
        text += "It has the new passphrase: after every start of the daemon, `regauthctl unlock` opens it.\n";
    }
    text
}
