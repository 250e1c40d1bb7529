//! `regauthctl unlock`.

use std::io::IsTerminal;

use regauth_shared::request::{Nothing, Unlock};
use regauth_shared::response::{Status, Unlocked};
use regauth_shared::{ErrorBody, ErrorKind, Request, Secret, passphrase as rule};

use crate::client::{Client, Reply};
use crate::output::{self, Report};
use crate::{error, token};

/// Open a locked store
///
/// A keychain opens a window of its own. For a vault with a passphrase, this command asks for it without echo.
///
/// --set-passphrase sets or changes the vault's passphrase, of at least 12 characters. A vault that has one needs the
/// present one, also if it is open. The command makes a new key: copies of the old one open no later vault. From then on
/// the vault is locked after every start of the daemon until this command opens it. Without a passphrase, every program
/// that can read the daemon's files can read the tokens.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Read the vault's passphrase from stdin, all of it. With --set-passphrase that is the new one, after a line with the
    /// present one if there is one
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
  regauthctl unlock --set-passphrase
  (pass show old; pass show new) | \\
      regauthctl unlock --set-passphrase --passphrase-stdin";

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
    let reply = send(request, client)?;
    Ok(Report::from_reply(reply, |unlocked| {
        describe(unlocked, arguments.set_passphrase)
    }))
}

/// Sends the request. If the daemon needs the present passphrase for a new one, asks for it at the terminal and sends the
/// request again.
fn send(request: Unlock, client: &Client) -> Result<Reply<Unlocked>, ErrorBody> {
    let (set_passphrase, is_complete) = (request.set_passphrase.clone(), request.passphrase.is_some());
    match client.call(&Request::Unlock(request)) {
        Err(error) if error.kind == ErrorKind::PresenceNeeded && !is_complete => {
            if !std::io::stdin().is_terminal() {
                return Err(error.hint(TWO_LINES));
            }
            let present = passphrase(&token::from_terminal("Present passphrase of the vault: ")?)?;
            client.call(&Request::Unlock(Unlock {
                passphrase: Some(present),
                set_passphrase,
            }))
        }
        answered => answered,
    }
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
    match given.then(token::from_stdin).transpose()? {
        Some(text) => from_text(set, &text),
        None => Ok(Unlock::default()),
    }
}

/// Reads one passphrase, or the present and the new one in two lines.
fn from_text(set: bool, text: &str) -> Result<Unlock, ErrorBody> {
    let (present, new) = match text.trim_end_matches(['\r', '\n']).split_once('\n') {
        Some((present, new)) if set => (Some(present), Some(new)),
        _ if set => (None, Some(text)),
        _ => (Some(text), None),
    };
    Ok(Unlock {
        passphrase: present.map(passphrase).transpose()?,
        set_passphrase: new.map(passphrase).transpose()?,
    })
}

/// Parses a passphrase by the rules of a token.
pub(super) fn passphrase(text: &str) -> Result<Secret, ErrorBody> {
    Secret::parse(text).map_err(|invalid| {
        error::usage(invalid.to_string().replace("token", "passphrase"))
            .hint("nothing was sent; a passphrase is one line of text")
    })
}

const TWO_LINES: &str = "nothing was changed; repeat it at a terminal, which asks for the passphrase, or pipe in two lines, the \
                         present passphrase and the new one: regauthctl unlock --set-passphrase --passphrase-stdin";

fn describe(unlocked: &Unlocked, set: bool) -> String {
    let store = &unlocked.store;
    let ready = output::count(unlocked.ready as u64, "registry", "registries");
    let mut text = format!("The {} is {}; {ready} can be served.\n", store.kind, store.state);
    if set {
        text += "It has the new passphrase; run `regauthctl unlock` after every start of the daemon.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_passphrase_may_follow_a_line_with_the_present_one() {
        let read = |set, text| {
            let unlock = from_text(set, text).ok()?;
            let [present, new] = [unlock.passphrase, unlock.set_passphrase].map(|secret| {
                let secret = secret.as_ref().map(Secret::expose);
                secret.unwrap_or_default().to_owned()
            });
            Some((present, new))
        };
        let both = |present: &str, new: &str| Some((present.to_owned(), new.to_owned()));
        assert_eq!(read(true, "new one\n"), both("", "new one"));
        assert_eq!(read(true, "old\nnew one\n"), both("old", "new one"));
        assert_eq!(read(true, "old\r\nnew one\r\n"), both("old", "new one"));
        assert_eq!(read(true, "old\nnew\none"), None);
        assert_eq!(read(true, "\nnew one"), None);
        assert_eq!(read(false, "old\n"), both("old", ""));
        assert_eq!(read(false, "old\nnew"), None);
    }
}
