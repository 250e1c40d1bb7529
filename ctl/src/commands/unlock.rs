//! `regauthctl unlock`.

use std::io::IsTerminal;

use regauth_shared::request::{Nothing, Unlock};
use regauth_shared::response::{Status, Unlocked};
use regauth_shared::{ErrorBody, Request, Secret, passphrase as rule};

use crate::client::Client;
use crate::output::{self, Report};
use crate::{error, token};

/// Open a locked store
///
/// A keychain opens a window of its own. For a vault with a passphrase, this command asks for it without echo.
///
/// --set-passphrase sets or changes the vault's passphrase, of at least 12 characters. It makes a new key: copies of the
/// old one open no later vault. From then on the vault is locked after every start of the daemon until this command
/// opens it. Without a passphrase, every program that can read the daemon's files can read the tokens.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Read the vault's passphrase from stdin, all of it
    #[arg(long)]
    passphrase_stdin: bool,

    /// Set or change the vault's passphrase
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
        (true, set) => from_prompts(set, client)?,
        (false, true) if !arguments.passphrase_stdin => {
            return Err(error::usage("cannot ask for the passphrase without a terminal")
                .hint("pipe the passphrase in with --passphrase-stdin"));
        }
        (false, set) => from_stdin(set, arguments.passphrase_stdin)?,
    };
    let reply = client.call(&Request::Unlock(request))?;
    Ok(Report::from_reply(reply, |unlocked| {
        describe(unlocked, arguments.set_passphrase)
    }))
}

/// Prompts for the passphrases that are needed; for a new one twice.
fn from_prompts(set: bool, client: &Client) -> Result<Unlock, ErrorBody> {
    let mut request = Unlock::default();
    let store = client.call::<Status>(&Request::Status(Nothing {}))?.answer.store;
    let is_vault = store.kind == "vault";
    if is_vault && store.state == "locked" {
        request.passphrase = Some(passphrase(&token::from_terminal("Passphrase of the vault: ")?)?);
    }
    if set && !is_vault {
        return Err(
            error::refused(format!("the {} cannot have a passphrase of regauth", store.kind))
                .hint("only a vault can; `regauthctl status` shows what protects the secrets"),
        );
    }
    if set {
        let first = passphrase(&token::from_terminal("New passphrase of the vault: ")?)?;
        rule::check(&first).map_err(|weak| error::usage(weak.to_string()).hint(rule::HINT))?;
        if *token::from_terminal("The same again: ")? != first.expose() {
            return Err(error::usage("the two passphrases differ").hint("nothing was changed; repeat"));
        }
        request.set_passphrase = Some(first);
    }
    Ok(request)
}

/// Reads the passphrase from stdin if the flag asks for it. Otherwise the daemon reports whether it needs one.
fn from_stdin(set: bool, given: bool) -> Result<Unlock, ErrorBody> {
    let text = given.then(token::from_stdin).transpose()?;
    let secret = text.map(|text| passphrase(&text)).transpose()?;
    let (passphrase, set_passphrase) = if set { (None, secret) } else { (secret, None) };
    Ok(Unlock {
        passphrase,
        set_passphrase,
    })
}

/// Parses a passphrase by the rules of a token.
pub(super) fn passphrase(text: &str) -> Result<Secret, ErrorBody> {
    Secret::parse(text).map_err(|invalid| {
        error::usage(invalid.to_string().replace("token", "passphrase"))
            .hint("nothing was sent; a passphrase is one line of text")
    })
}

fn describe(unlocked: &Unlocked, set: bool) -> String {
    let store = &unlocked.store;
    let ready = output::count(unlocked.ready as u64, "registry", "registries");
    let mut text = format!("The {} is {}; {ready} can be served.\n", store.kind, store.state);
    if set {
        text += "It has the new passphrase; run `regauthctl unlock` after every start of the daemon.\n";
    }
    text
}
