//! `regauthctl store`.

use std::io::IsTerminal;
use std::sync::mpsc;
use std::time::Duration;

use clap::Subcommand;
use regauth_shared::request::{Nothing, StoreMove};
use regauth_shared::response::{StoreMoved, StoreShown};
use regauth_shared::{ErrorBody, ErrorKind, Request, Secret};

use super::unlock::passphrase;
use crate::client::{Client, Reply};
use crate::output::{self, Report};
use crate::token;

/// Show the store of the secrets, or move all secrets to another store
///
/// `store move` moves every token and every authority's key to the keychain or the vault while requests go on. The
/// daemon reads each secret back from the new store and compares it before it deletes any from the old one. A crash of
/// the daemon or the keychain loses nothing: afterwards one of the two stores is in use and complete. A move to the
/// present store deletes what an interrupted move left in the other. A vault under a passphrase gives its secrets to the
/// keychain only with the passphrase.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// Show the store
    Show,
    /// Move every secret to another store
    Move(MoveArguments),
}

#[derive(clap::Args)]
struct MoveArguments {
    /// The new store
    #[arg(value_parser = ["keychain", "vault"])]
    to: String,

    /// Read the passphrase of a protected vault from stdin, all of it
    #[arg(long)]
    passphrase_stdin: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl store
  regauthctl store move keychain
  regauthctl store move vault
  pass show regauth-vault | regauthctl store move keychain --passphrase-stdin";

/// Shows the store, or moves the secrets.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    match arguments.action {
        None | Some(Action::Show) => Ok(Report::from_reply(show(client)?, describe)),
        Some(Action::Move(arguments)) => Ok(Report::from_reply(move_secrets(arguments, client)?, describe_move)),
    }
}

fn show(client: &Client) -> Result<Reply<StoreShown>, ErrorBody> {
    client.call(&Request::Store(Nothing {}))
}

/// Moves the secrets. Asks for a vault's passphrase only after the daemon has reported that it needs one.
fn move_secrets(arguments: MoveArguments, client: &Client) -> Result<Reply<StoreMoved>, ErrorBody> {
    let given = arguments.passphrase_stdin.then(token::from_stdin).transpose()?;
    let given = given.map(|text| passphrase(&text)).transpose()?;
    let may_prompt = given.is_none() && std::io::stdin().is_terminal();
    let needs_passphrase = |error: &ErrorBody| match error.kind {
        ErrorKind::PresenceNeeded => true,
        ErrorKind::StoreLocked => is_vault_locked(&arguments.to, client),
        _ => false,
    };
    match move_with_progress(&arguments.to, given, client) {
        Err(error) if may_prompt && needs_passphrase(&error) => {
            let given = passphrase(&token::from_terminal("Passphrase of the vault: ")?)?;
            move_with_progress(&arguments.to, Some(given), client)
        }
        outcome => outcome,
    }
}

/// True if a locked vault, rather than a locked keychain, stopped the move.
fn is_vault_locked(to: &str, client: &Client) -> bool {
    let present = show(client).map(|reply| reply.answer.store);
    present.is_ok_and(|store| match store.state.as_str() {
        "open" => to == "vault" || store.kind == to,
        "locked" => store.kind == "vault",
        _ => false,
    })
}

/// Sends the request and shows its progress at a terminal.
fn move_with_progress(to: &str, passphrase: Option<Secret>, client: &Client) -> Result<Reply<StoreMoved>, ErrorBody> {
    let request = Request::StoreMove(StoreMove {
        to: to.to_owned(),
        passphrase,
    });
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        if std::io::stderr().is_terminal() {
            scope.spawn(move || print_progress(client, &is_done));
        }
        let moved = client.call(&request);
        drop(done);
        moved
    })
}

/// Overwrites one line with the progress until the sender is dropped.
fn print_progress(client: &Client, is_done: &mpsc::Receiver<()>) {
    while is_done.recv_timeout(PROGRESS_INTERVAL) == Err(mpsc::RecvTimeoutError::Timeout) {
        if let Some(moving) = show(client).ok().and_then(|reply| reply.answer.moving) {
            output::print_styled_to_stderr(&format!("\rMoving to the {}: {}/{}", moving.to, moving.done, moving.of));
        }
    }
    output::print_styled_to_stderr("\r\x1b[K");
}

fn describe(shown: &StoreShown) -> String {
    let store = &shown.store;
    let moving = shown.moving.as_ref().map(|moving| {
        let progress = format!("to the {}, {} of {} steps done", moving.to, moving.done, moving.of);
        ("moving", progress)
    });
    let lines = [
        ("store", store.kind.clone()),
        ("state", store.state.clone()),
        ("protection", store.protection.clone()),
    ];
    let exposure = store.exposure.clone().map(|exposure| ("exposure", exposure));
    output::key_values(lines.into_iter().chain(exposure).chain(moving)) + &output::notes(&shown.notes)
}

fn describe_move(moved: &StoreMoved) -> String {
    let notes = output::notes(&moved.notes);
    let to = &moved.store.kind;
    if *to == moved.from {
        return notes;
    }
    let number = output::count(moved.moved as u64, "secret", "secrets");
    format!(
        "Moved {number} from the {} to the {to} ({}).\n{notes}",
        moved.from, moved.store.protection
    )
}

const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
