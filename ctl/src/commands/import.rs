//! `regauthctl import`. What it says is in [`import_words`](super::import_words).

use std::path::PathBuf;

use regauth_shared::paths::Folders;
use regauth_shared::request::{AddRegistry, Rotate};
use regauth_shared::response::{RegistryAdded, Rotated};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request, exit_code};

use super::add_registry::readable;
use super::import_words::{Imported, Line, State, forgotten, table, undone, words};
use crate::client::Client;
use crate::import::{self, FoundToken, ImportStatus, TokenTarget, backup};
use crate::output::{Report, print_to_stderr};
use crate::{error, interview, setup};

/// Find tokens in clients' files and give them to regauth
///
/// Looks into cargo's credentials.toml, git's configuration and .git-credentials, .netrc, pip.conf and .npmrc, and shows
/// what it found: never a token, but its kind and length. What you pick is verified with its registry, stored and served,
/// as by add-registry. On a terminal it asks; elsewhere --all or --only says which.
///
/// Then it offers to take these tokens out of the files. A copy of each file is kept below regauth's state folder,
/// readable by you alone: it holds the tokens in plain text, as the file did. --undo puts the files back, byte for byte;
/// --forget-backup deletes the copies, once your builds work.
///
/// Doing it twice doubles nothing: a token that regauth has already is left as it is, and another one for the same place
/// replaces it only with --rotate.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Take all that is found
    #[arg(long, conflicts_with_all = ["only", "undo", "forget_backup"])]
    all: bool,

    /// Take this one; can be given several times, or with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with_all = ["undo", "forget_backup"])]
    only: Vec<RegistryName>,

    /// Show what is found, and change nothing
    #[arg(long, conflicts_with_all = ["undo", "forget_backup"])]
    dry_run: bool,

    /// Where regauth has another token for the same place, replace it by the one that is found
    #[arg(long)]
    rotate: bool,

    /// Take the tokens out of the files they were found in
    #[arg(long, conflicts_with = "keep_originals")]
    remove_originals: bool,

    /// Leave the files as they are, and do not ask
    #[arg(long)]
    keep_originals: bool,

    /// Put the files back as they were
    #[arg(long, conflicts_with = "forget_backup")]
    undo: bool,

    /// Delete the copies that --undo needs
    #[arg(long)]
    forget_backup: bool,

    /// A PEM file of extra roots that the registries' certificates may chain to
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,

    /// Store the tokens without asking their registries about them
    #[arg(long)]
    no_verify: bool,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl import
  regauthctl import --dry-run
  regauthctl import --all --remove-originals
  regauthctl import --only corp,git-corp-example --keep-originals
  regauthctl import --undo
  regauthctl import --forget-backup";

/// Finds, shows, takes.
pub(crate) fn run(arguments: &Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    if arguments.undo {
        let outcome = backup::restore(folders)?;
        return Report::of(&outcome, undone(&outcome));
    }
    if arguments.forget_backup {
        let outcome = backup::delete(folders)?;
        return Report::of(&outcome, forgotten(&outcome));
    }
    let (mut found, notes) = import::discover();
    let statuses = match import::compare_with_daemon(&mut found, client) {
        // What there is can be seen without a daemon.
        Err(error) if arguments.dry_run && error.kind == ErrorKind::Unreachable => vec![ImportStatus::New; found.len()],
        statuses => statuses?,
    };
    let mut lines: Vec<Line> = found
        .iter()
        .zip(&statuses)
        .map(|(found, status)| Line::new(found, status))
        .collect();
    let chosen = chosen(arguments, &lines)?;
    for at in &chosen {
        if let (Some(found), Some(line)) = (found.get(*at), lines.get_mut(*at)) {
            take(arguments, found, line, client)?;
        }
    }
    let taken = |at: &usize| lines.get(*at).is_some_and(|line| line.state.is_in_regauth());
    let taken: Vec<&FoundToken> = chosen
        .iter()
        .filter(|at| taken(at))
        .filter_map(|at| found.get(*at))
        .collect();
    let originals = remove(arguments, &taken, folders)?;
    let worst = worst(&chosen, &lines);
    // After the files are what they are going to be: setup edits some of them too.
    let refreshed = match lines.iter().any(|line| line.state == State::Added) {
        true => setup::refresh(folders, client),
        false => String::new(),
    };
    let imported = Imported {
        found: lines,
        originals,
        notes,
    };
    let text = words(&imported, arguments.dry_run, folders);
    Ok(Report::of(&imported, text)?.and(&refreshed).exit_code(worst))
}

/// The first that was chosen and is not in regauth says how the program ends.
fn worst(chosen: &[usize], lines: &[Line]) -> u8 {
    let code = |line: &Line| match (&line.error, line.state) {
        (Some(error), _) => Some(error.kind.exit_code()),
        (None, State::Differs | State::Otherwise) => Some(exit_code::EXISTS),
        (None, _) => None,
    };
    let mut codes = chosen.iter().filter_map(|at| code(lines.get(*at)?));
    codes.next().unwrap_or(exit_code::DONE)
}

/// Which of them, by the arguments or by a person.
fn chosen(arguments: &Arguments, lines: &[Line]) -> Result<Vec<usize>, ErrorBody> {
    if arguments.dry_run || lines.is_empty() {
        return Ok(Vec::new());
    }
    if arguments.all {
        return Ok((0..lines.len()).collect());
    }
    if !arguments.only.is_empty() {
        let strange = arguments
            .only
            .iter()
            .find(|name| lines.iter().all(|line| line.name != **name));
        if let Some(name) = strange {
            return Err(not_found(name, lines));
        }
        let is_named = |at: &usize| lines.get(*at).is_some_and(|line| arguments.only.contains(&line.name));
        return Ok((0..lines.len()).filter(is_named).collect());
    }
    if !interview::is_possible() {
        return Err(error::usage("there is no terminal to ask on which tokens to take")
            .hint("`regauthctl import --dry-run` shows what there is; --all or --only NAME says which"));
    }
    print_to_stderr(&table(lines));
    let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
    interview::some_of(
        "Which of these shall regauth take? (numbers, names, all, or nothing) ",
        &names,
    )
}

fn not_found(name: &RegistryName, lines: &[Line]) -> ErrorBody {
    let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
    ErrorBody::new(ErrorKind::NotFound, format!("nothing of the name `{name}` was found"))
        .hint(format!("there are: {}", names.join(", ")))
}

/// Adds or rotates one. What the daemon refuses is noted, and the others go on; without a daemon nothing does.
fn take(arguments: &Arguments, found: &FoundToken, line: &mut Line, client: &Client) -> Result<(), ErrorBody> {
    let outcome = match line.state {
        State::New => add(arguments, found, client).map(|()| State::Added),
        State::Differs if replaces(arguments, line)? => rotate(arguments, found, line, client).map(|()| State::Rotated),
        state => Ok(state),
    };
    match outcome {
        Ok(state) => line.state = state,
        Err(error) if error.kind == ErrorKind::Unreachable => return Err(error),
        Err(error) => (line.state, line.error) = (State::Failed, Some(error)),
    }
    Ok(())
}

fn replaces(arguments: &Arguments, line: &Line) -> Result<bool, ErrorBody> {
    let asked = !arguments.rotate && !arguments.all && arguments.only.is_empty() && interview::is_possible();
    if asked {
        let name = &line.name;
        return interview::agrees(&format!(
            "regauth has another token for {name}. Replace it by the one found?"
        ));
    }
    Ok(arguments.rotate)
}

fn add(arguments: &Arguments, found: &FoundToken, client: &Client) -> Result<(), ErrorBody> {
    let (index, scopes) = match &found.target {
        TokenTarget::Index(index) => (Some(index.clone()), Vec::new()),
        TokenTarget::Scope(scope) => (None, vec![scope.clone()]),
    };
    let request = AddRegistry {
        name: found.name.clone(),
        index,
        scopes,
        kind: Some(found.kind.to_owned()),
        scheme: Some(found.scheme.name().to_owned()),
        username: found.scheme.username().map(str::to_owned),
        writes: None,
        ca_file: arguments.ca_file.as_deref().map(readable).transpose()?,
        source: None,
        source_command: None,
        credential_of: None,
        token: Some(found.secret.clone()),
        verify: !arguments.no_verify,
    };
    client
        .ask::<RegistryAdded>(&Request::AddRegistry(Box::new(request)))
        .map(drop)
}

fn rotate(arguments: &Arguments, found: &FoundToken, line: &Line, client: &Client) -> Result<(), ErrorBody> {
    let request = Request::Rotate(Rotate {
        name: line.name.clone(),
        token: Some(found.secret.clone()),
        verify: !arguments.no_verify,
    });
    client.ask::<Rotated>(&request).map(drop)
}

/// Takes out of their files what regauth has got. The files are read once more: somebody may have thought for a while.
fn remove(arguments: &Arguments, taken: &[&FoundToken], folders: &Folders) -> Result<backup::BackupOutcome, ErrorBody> {
    let keep = || backup::BackupOutcome {
        folder: backup::existing_folder(folders),
        ..backup::BackupOutcome::default()
    };
    if taken.is_empty() || arguments.keep_originals || !(arguments.remove_originals || agreed(arguments, folders)?) {
        return Ok(keep());
    }
    let (now, _) = import::discover();
    let is_taken = |found: &&FoundToken| taken.iter().any(|taken| taken.is_same(found));
    let now: Vec<&FoundToken> = now.iter().filter(is_taken).collect();
    backup::remove_tokens(&now, folders)
}

fn agreed(arguments: &Arguments, folders: &Folders) -> Result<bool, ErrorBody> {
    if arguments.all || !arguments.only.is_empty() || !interview::is_possible() {
        return Ok(false);
    }
    interview::agrees(&format!(
        "Take them out of these files? Copies stay in {}, readable by you alone, until `regauthctl import \
         --forget-backup`.",
        backup::folder(folders).display()
    ))
}
