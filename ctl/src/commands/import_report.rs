//! Output of `regauthctl import`: the tokens found, what happened to each, and the next commands. Tokens are masked.

use std::path::Path;

use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, RegistryName};
use serde::Serialize;

use super::registry_text;
use crate::import::backup::BackupOutcome;
use crate::import::{FoundToken, ImportStatus};
use crate::{output, setup, user_folders};

/// Result of an import. The field names are the JSON's.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ImportReport {
    /// Every token found, chosen or not.
    pub(super) found: Vec<TokenReport>,
    /// Changes to the files.
    pub(super) originals: BackupOutcome,
    /// Tokens that cannot be imported, and URLs that get none, with the reason.
    pub(super) notes: Vec<String>,
}

/// Token that was found, without the token itself.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct TokenReport {
    pub(super) name: RegistryName,
    pub(super) kind: &'static str,
    pub(super) place: String,
    pub(super) scheme: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<String>,
    /// Masked form: kind and length.
    pub(super) token: String,
    pub(super) files: Vec<String>,
    pub(super) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<ErrorBody>,
}

/// Relation of a found token to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// No registry covers its location.
    New,
    /// The daemon has this token.
    Present,
    /// The daemon has another token for the location.
    Differs,
    /// A registry with another user, scheme or source covers the location.
    Otherwise,
    /// Added by this command.
    Added,
    /// Replaced another token by this command.
    Rotated,
    /// Refused; the error has the reason.
    Failed,
}

impl TokenReport {
    /// State before the import.
    pub(super) fn new(found: &FoundToken, status: &ImportStatus) -> Self {
        let mut files: Vec<String> = found
            .locations
            .iter()
            .map(|location| location.file.display().to_string())
            .collect();
        files.dedup();
        let (state, name) = match status {
            ImportStatus::New => (State::New, &found.name),
            ImportStatus::SameToken(name) => (State::Present, name),
            ImportStatus::OtherToken(name) => (State::Differs, name),
            ImportStatus::OtherScheme(name) => (State::Otherwise, name),
        };
        Self {
            name: name.clone(),
            kind: found.kind,
            place: found.target.as_str().to_owned(),
            scheme: found.scheme.name(),
            username: found.scheme.username().map(str::to_owned),
            token: found.masked.clone(),
            files,
            state,
            error: None,
        }
    }
}

impl State {
    /// True if the daemon has this token.
    pub(super) fn is_in_regauth(self) -> bool {
        matches!(self, Self::Present | Self::Added | Self::Rotated)
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Present => "in regauth already",
            Self::Differs => "regauth has another token",
            Self::Otherwise => "served in another way",
            Self::Added => "added",
            Self::Rotated => "replaced",
            Self::Failed => "not imported",
        }
    }
}

/// Formats the tokens as a table with numbers to choose by.
pub(super) fn table(tokens: &[TokenReport]) -> String {
    let heading = ["", "NAME", "PLACE", "LOGIN", "TOKEN", "FILE", "STATE"]
        .map(str::to_owned)
        .to_vec();
    let row = |(index, token): (usize, &TokenReport)| {
        let files: Vec<_> = token.files.iter().map(|file| below_home(file)).collect();
        vec![
            (index + 1).to_string(),
            token.name.to_string(),
            token.place.clone(),
            registry_text::scheme(token.scheme, token.username.as_deref()),
            token.token.clone(),
            files.join(", "),
            token.state.as_str().to_owned(),
        ]
    };
    let rows: Vec<_> = [heading]
        .into_iter()
        .chain(tokens.iter().enumerate().map(row))
        .collect();
    output::table(&rows)
}

/// Abbreviates the home folder to `~`.
fn below_home(file: &str) -> String {
    let home = user_folders::home().ok();
    let below = home.and_then(|home| Path::new(file).strip_prefix(home).ok().map(Path::to_path_buf));
    below.map_or_else(|| file.to_owned(), |below| format!("~/{}", below.display()))
}

/// Formats the result of an import.
pub(super) fn describe(report: &ImportReport, dry_run: bool, folders: &Folders) -> String {
    let mut text = match report.found.as_slice() {
        [] => "No tokens were found.\n".to_owned(),
        tokens => table(tokens),
    };
    for token in &report.found {
        if let Some(error) = &token.error {
            let hint = error.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
            text += &format!("{} was not imported: {}{hint}\n", token.name, error.message);
        }
        let (name, place) = (&token.name, &token.place);
        text += &match token.state {
            State::Differs if !dry_run => {
                format!("note: `regauthctl import --only {name} --rotate` replaces the token of {name}\n")
            }
            State::Otherwise => {
                format!("note: {name} serves {place} with another user, scheme or source already, and stays as it is\n")
            }
            _ => String::new(),
        };
    }
    text += &output::notes(&report.notes);
    if report.found.iter().any(|token| token.state.is_in_regauth()) {
        text += &setup_notes(report, folders);
    }
    text + &describe_removal(&report.originals)
}

/// Notes for clients that are not set up: without the token in their files they fail.
fn setup_notes(report: &ImportReport, folders: &Folders) -> String {
    let mut clients: Vec<&str> = report.found.iter().filter_map(TokenReport::client).collect();
    clients.sort_unstable();
    clients.dedup();
    let missing = clients.iter().filter(|client| !setup::is_set_up(client, folders));
    let note = |client: &&str| format!("{client} does not use regauthd yet; `regauthctl setup {client}` sets it up");
    output::notes(&missing.map(note).collect::<Vec<_>>())
}

impl TokenReport {
    /// Client that `setup` knows and whose token the daemon has.
    fn client(&self) -> Option<&'static str> {
        match self.kind {
            "cargo" => Some("cargo"),
            "git" => Some("git"),
            "pypi" => Some("pip"),
            "npm" => Some("npm"),
            _ => None,
        }
        .filter(|_| self.state.is_in_regauth())
    }
}

fn describe_removal(outcome: &BackupOutcome) -> String {
    let mut text = files("Removed from:", outcome);
    if let Some(backup) = &outcome.folder {
        text += &format!(
            "Copies with the tokens in plain text are in {backup}, readable by you alone.\n`regauthctl import --undo` puts \
             the files back; `regauthctl import --forget-backup` deletes the copies.\n"
        );
    }
    text
}

/// Formats the result of `--undo`.
pub(super) fn describe_undo(outcome: &BackupOutcome) -> String {
    let tokens = match outcome.files.is_empty() {
        true => "",
        false => "regauth still has the tokens; `regauthctl remove-registry NAME` deletes one.\n",
    };
    files("Restored:", outcome) + tokens
}

/// Formats the result of `--forget-backup`.
pub(super) fn describe_forget(outcome: &BackupOutcome) -> String {
    files("Deleted the copies of:", outcome)
}

/// Formats the files below a heading, then the notes.
fn files(heading: &str, outcome: &BackupOutcome) -> String {
    let lines = outcome.files.iter().map(|file| format!("  {file}\n"));
    let heading = (!outcome.files.is_empty()).then(|| format!("{heading}\n"));
    heading.into_iter().chain(lines).collect::<String>() + &output::notes(&outcome.notes)
}
