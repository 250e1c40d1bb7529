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
use crate::{terminal, token};

/// Show what keeps the secrets, or move them all to another store
///
/// `store move` takes every token and every authority's key to the keychain or the vault while requests go on. Each is
/// read back from the new store and compared before any is deleted from the old one, and a kill in between, of the
/// daemon or of the keychain, loses nothing: after it either store is the store, whole. Asked for the store that it is
/// already, it deletes what an interrupted move left in the other.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Subcommand)]
enum What {
    /// Show what keeps the secrets
    Show,
    /// Take every secret to another store
    Move(MoveArguments),
}

#[derive(clap::Args)]
struct MoveArguments {
    /// Where to
    #[arg(value_parser = ["keychain", "vault"])]
    to: String,

    /// Read the passphrase of a vault that is under one from stdin, all of it
    #[arg(long)]
    passphrase_stdin: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl store
  regauthctl store move keychain
  regauthctl store move vault
  pass show regauth-vault | regauthctl store move vault --passphrase-stdin";

/// Shows the store, or moves everything.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    match arguments.what {
        None | Some(What::Show) => Ok(Report::new(shown(client)?, words)),
        Some(What::Move(arguments)) => Ok(Report::new(moved(arguments, client)?, words_of_move)),
    }
}

fn shown(client: &Client) -> Result<Reply<StoreShown>, ErrorBody> {
    client.ask(&Request::Store(Nothing {}))
}

/// A person at a terminal is asked for the passphrase of a vault once it turns out that there is one.
fn moved(arguments: MoveArguments, client: &Client) -> Result<Reply<StoreMoved>, ErrorBody> {
    let given = arguments.passphrase_stdin.then(token::from_stdin).transpose()?;
    let given = given.map(|text| passphrase(&text)).transpose()?;
    let may_ask = given.is_none() && std::io::stdin().is_terminal();
    match watched(&arguments.to, given, client) {
        Err(error) if may_ask && error.kind == ErrorKind::StoreLocked && is_about_the_vault(&arguments.to, client) => {
            let given = passphrase(&terminal::ask("Passphrase of the vault: ")?)?;
            watched(&arguments.to, Some(given), client)
        }
        outcome => outcome,
    }
}

/// It is the present store, which `unlock` opens, or else the one that is to be used.
fn is_about_the_vault(to: &str, client: &Client) -> bool {
    let present = shown(client).map(|reply| reply.answer.store);
    present.is_ok_and(|store| store.state == "open" && (to == "vault" || store.kind == to))
}

/// Asks for the move and, meanwhile, how far it is.
fn watched(to: &str, passphrase: Option<Secret>, client: &Client) -> Result<Reply<StoreMoved>, ErrorBody> {
    let request = Request::StoreMove(StoreMove {
        to: to.to_owned(),
        passphrase,
    });
    let (done, over) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        if std::io::stderr().is_terminal() {
            scope.spawn(move || tell(client, &over));
        }
        let moved = client.ask(&request);
        drop(done);
        moved
    })
}

/// One line that is written over, until the other end is gone.
fn tell(client: &Client, over: &mpsc::Receiver<()>) {
    while over.recv_timeout(PAUSE) == Err(mpsc::RecvTimeoutError::Timeout) {
        if let Some(moving) = shown(client).ok().and_then(|reply| reply.answer.moving) {
            output::print_to_stderr(&format!("\rMoving to the {}: {}/{}", moving.to, moving.done, moving.of));
        }
    }
    output::print_to_stderr("\r\x1b[K");
}

fn words(shown: &StoreShown) -> String {
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
    output::pairs(lines.into_iter().chain(moving)) + &output::notes(&shown.notes)
}

fn words_of_move(moved: &StoreMoved) -> String {
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

/// How often the daemon is asked how far it is.
const PAUSE: Duration = Duration::from_millis(200);
