//! `regauthctl import`: finds tokens in clients' files, sends the chosen ones to the daemon, removes them from the
//! files.
//!
//! [`import_report`](super::import_report) formats the result.

use std::path::PathBuf;

use regauth_shared::paths::Folders;
use regauth_shared::request::{AddRegistry, Rotate};
use regauth_shared::response::{RegistryAdded, Rotated};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request, exit_code};

use super::add_registry::readable;
use super::import_report::{ImportReport, State, TokenReport, describe, describe_forget, describe_undo, table};
use super::offered_locations::{self, Decision};
use crate::client::Client;
use crate::import::{self, FoundToken, ImportStatus, TokenTarget, backup};
use crate::output::{Report, print_to_stderr};
use crate::{error, prompt, setup};

/// Move tokens from clients' files into regauth
///
/// Reads cargo's credentials.toml and config.toml, git's configuration and .git-credentials, .netrc, pip.conf and .npmrc, and lists the
/// tokens by kind and length. Each token that you choose is verified with its registry, stored and served, as by
/// add-registry. A terminal prompts for the choice; elsewhere give --all or --only. These two also send a token to the
/// folders that only its index names, on the index's own host, without a question.
///
/// Then the command offers to remove these tokens from the files. It keeps a copy of each file below regauth's state
/// folder, readable by you alone: the copy has the tokens in plain text, as the file had. --undo restores the files,
/// byte for byte; --forget-backup deletes the copies, once your builds work.
///
/// A second run adds nothing twice: a token that regauth has stays unchanged, and another token for the same URL
/// replaces it only with --rotate.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Import every token found
    #[arg(long, conflicts_with_all = ["only", "undo", "forget_backup"])]
    all: bool,

    /// Import this one; can be given several times, or with commas
    #[arg(long, value_name = "NAME", value_delimiter = ',', conflicts_with_all = ["undo", "forget_backup"])]
    only: Vec<RegistryName>,

    /// List the tokens and change nothing
    #[arg(long, conflicts_with_all = ["undo", "forget_backup"])]
    dry_run: bool,

    /// Replace another token of regauth for the same URL by the one found
    #[arg(long)]
    rotate: bool,

    /// Remove the tokens from the files without asking
    #[arg(long, conflicts_with = "keep_originals")]
    remove_originals: bool,

    /// Leave the files unchanged without asking
    #[arg(long)]
    keep_originals: bool,

    /// Restore the files from the copies
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

/// Imports, undoes an import or deletes its copies.
pub(crate) fn run(arguments: &Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    if arguments.undo {
        let outcome = backup::restore(folders)?;
        return Report::from_value(&outcome, describe_undo(&outcome));
    }
    if arguments.forget_backup {
        let outcome = backup::delete(folders)?;
        return Report::from_value(&outcome, describe_forget(&outcome));
    }
    let (mut found, mut notes) = import::discover();
    let mut tokens = compare(arguments, &mut found, client)?;
    let chosen = choose(arguments, &tokens)?;
    for index in &chosen {
        if let (Some(found), Some(token)) = (found.get(*index), tokens.get_mut(*index)) {
            notes.extend(import_one(arguments, found, token, client)?);
        }
    }
    let is_imported = |index: &&usize| tokens.get(**index).is_some_and(|token| token.state.is_in_regauth());
    let imported = chosen.iter().filter(is_imported);
    let imported: Vec<&FoundToken> = imported.filter_map(|index| found.get(*index)).collect();
    let originals = remove_from_files(arguments, &imported, folders)?;
    let exit_code = exit_code(&chosen, &tokens);
    // After the removal, because `setup` edits some of the same files.
    let refreshed = match tokens.iter().any(|token| token.state == State::Added) {
        true => setup::refresh(folders, client),
        false => String::new(),
    };
    let report = ImportReport {
        found: tokens,
        originals,
        notes,
    };
    let text = describe(&report, arguments.dry_run, folders);
    Ok(Report::from_value(&report, text)?
        .with_lines(&refreshed)
        .with_exit_code(exit_code))
}

/// Compares the found tokens with the daemon's registries. `--dry-run` works without a daemon.
fn compare(arguments: &Arguments, found: &mut [FoundToken], client: &Client) -> Result<Vec<TokenReport>, ErrorBody> {
    let statuses = match import::compare_with_daemon(found, client) {
        Err(error) if arguments.dry_run && error.kind == ErrorKind::Unreachable => vec![ImportStatus::New; found.len()],
        statuses => statuses?,
    };
    let tokens = found.iter().zip(&statuses);
    Ok(tokens.map(|(found, status)| TokenReport::new(found, status)).collect())
}

/// Exit code of the first chosen token that is not in regauth.
fn exit_code(chosen: &[usize], tokens: &[TokenReport]) -> u8 {
    let code = |token: &TokenReport| match (&token.error, token.state) {
        (Some(error), _) => Some(error.kind.exit_code()),
        (None, State::Differs | State::Otherwise) => Some(exit_code::EXISTS),
        (None, _) => None,
    };
    let mut codes = chosen.iter().filter_map(|index| code(tokens.get(*index)?));
    codes.next().unwrap_or(exit_code::DONE)
}

/// Indexes of the tokens to import, from the flags or a prompt.
fn choose(arguments: &Arguments, tokens: &[TokenReport]) -> Result<Vec<usize>, ErrorBody> {
    if arguments.dry_run || tokens.is_empty() {
        return Ok(Vec::new());
    }
    if arguments.all {
        return Ok((0..tokens.len()).collect());
    }
    if !arguments.only.is_empty() {
        return choose_by_name(&arguments.only, tokens);
    }
    if !prompt::is_interactive() {
        return Err(error::usage("cannot ask without a terminal which tokens to import")
            .hint("`regauthctl import --dry-run` lists the tokens; choose with --all or --only NAME"));
    }
    print_to_stderr(&table(tokens));
    let names: Vec<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
    prompt::choose("Tokens to import? (numbers, names, all, or nothing) ", &names)
}

fn choose_by_name(names: &[RegistryName], tokens: &[TokenReport]) -> Result<Vec<usize>, ErrorBody> {
    let is_unknown = |name: &&RegistryName| tokens.iter().all(|token| token.name != **name);
    if let Some(name) = names.iter().find(is_unknown) {
        let found: Vec<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
        let message = format!("no token with the name `{name}` was found");
        return Err(ErrorBody::new(ErrorKind::NotFound, message).hint(format!("the names are: {}", found.join(", "))));
    }
    let is_named = |index: &usize| tokens.get(*index).is_some_and(|token| names.contains(&token.name));
    Ok((0..tokens.len()).filter(is_named).collect())
}

/// Adds or rotates one token, and returns notes. An error of the daemon is recorded, and the import goes on; without a daemon it
/// stops.
fn import_one(
    arguments: &Arguments,
    found: &FoundToken,
    token: &mut TokenReport,
    client: &Client,
) -> Result<Vec<String>, ErrorBody> {
    let mut notes = Vec::new();
    let outcome = match token.state {
        State::New => add(arguments, found, client).map(|about_index| {
            notes = about_index;
            State::Added
        }),
        State::Differs if may_replace(arguments, token)? => {
            rotate(arguments, found, token, client).map(|()| State::Rotated)
        }
        state => Ok(state),
    };
    match outcome {
        Ok(state) => token.state = state,
        Err(error) if error.kind == ErrorKind::Unreachable => return Err(error),
        Err(error) => (token.state, token.error) = (State::Failed, Some(error)),
    }
    Ok(notes)
}

fn may_replace(arguments: &Arguments, token: &TokenReport) -> Result<bool, ErrorBody> {
    if arguments.rotate || !may_prompt(arguments) {
        return Ok(arguments.rotate);
    }
    let name = &token.name;
    prompt::confirm(&format!(
        "regauth has another token for {name}. Replace it by the one found?"
    ))
}

/// True if questions are welcome: at a terminal, unless the flags chose the tokens.
fn may_prompt(arguments: &Arguments) -> bool {
    !arguments.all && arguments.only.is_empty() && prompt::is_interactive()
}

/// Adds a registry. Returns notes about URLs of its index that get no token.
fn add(arguments: &Arguments, found: &FoundToken, client: &Client) -> Result<Vec<String>, ErrorBody> {
    let (index, scopes) = match &found.target {
        TokenTarget::Index(index) => (Some(index.clone()), Vec::new()),
        TokenTarget::Scope(scope) => (None, vec![scope.clone()]),
    };
    let decision = Decision::of_person(may_prompt(arguments) && client.has_person());
    let request = AddRegistry {
        name: found.name.clone(),
        index,
        scopes,
        kind: Some(found.kind.to_owned()),
        scheme: Some(found.scheme.name().to_owned()),
        username: found.scheme.username().map(str::to_owned),
        writes: None,
        programs: Vec::new(),
        rejected_by: Vec::new(),
        token_service: None,
        ca_file: arguments.ca_file.as_deref().map(readable).transpose()?,
        source: None,
        source_command: None,
        credential_of: None,
        token: Some(found.secret.clone()),
        proof: None,
        offer_locations: decision.wants_offers(),
        read_ahead: None,
        untrusted: false,
        verify: !arguments.no_verify,
    };
    let mut added: RegistryAdded = client.call(&Request::AddRegistry(Box::new(request)))?.answer;
    added.notes.clear();
    offered_locations::settle(&mut added, decision, client, Some(found.secret.clone()));
    Ok(added.notes)
}

fn rotate(arguments: &Arguments, found: &FoundToken, token: &TokenReport, client: &Client) -> Result<(), ErrorBody> {
    let request = Request::Rotate(Rotate {
        name: token.name.clone(),
        token: Some(found.secret.clone()),
        verify: !arguments.no_verify,
    });
    client.call::<Rotated>(&request).map(drop)
}

/// Removes the imported tokens from their files, if the flags or the person agree.
///
/// The files are read again first: they may have changed while a prompt waited.
fn remove_from_files(
    arguments: &Arguments,
    imported: &[&FoundToken],
    folders: &Folders,
) -> Result<backup::BackupOutcome, ErrorBody> {
    let unchanged = || backup::BackupOutcome {
        folder: backup::existing_folder(folders),
        ..backup::BackupOutcome::default()
    };
    if imported.is_empty() || arguments.keep_originals {
        return Ok(unchanged());
    }
    if !arguments.remove_originals && !confirm_removal(arguments, folders)? {
        return Ok(unchanged());
    }
    let (current, _) = import::discover();
    let is_imported = |found: &&FoundToken| imported.iter().any(|imported| imported.is_same(found));
    let current: Vec<&FoundToken> = current.iter().filter(is_imported).collect();
    backup::remove_tokens(&current, folders)
}

fn confirm_removal(arguments: &Arguments, folders: &Folders) -> Result<bool, ErrorBody> {
    if !may_prompt(arguments) {
        return Ok(false);
    }
    prompt::confirm(&format!(
        "Remove the tokens from these files? Copies stay in {}, readable by you alone, until `regauthctl import \
         --forget-backup`.",
        backup::folder(folders).display()
    ))
}
