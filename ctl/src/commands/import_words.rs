//! What `regauthctl import` has to say: what was found, what became of it, what a person should do next. No token.

use std::path::Path;

use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, RegistryName};
use serde::Serialize;

use super::registry;
use crate::import::backup::BackupOutcome;
use crate::import::{FoundToken, ImportStatus};
use crate::{output, setup, user_folders};

/// What came of it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Imported {
    /// All that was found, picked or not.
    pub(super) found: Vec<Line>,
    /// What became of the files.
    pub(super) originals: BackupOutcome,
    /// What could not be taken, and why.
    pub(super) notes: Vec<String>,
}

/// A token that was found.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Line {
    pub(super) name: RegistryName,
    pub(super) kind: &'static str,
    pub(super) place: String,
    pub(super) scheme: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) username: Option<String>,
    /// Masked.
    pub(super) token: String,
    pub(super) files: Vec<String>,
    pub(super) state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<ErrorBody>,
}

/// How it stands to regauth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// Not in regauth.
    New,
    /// In regauth, the same.
    Present,
    /// Regauth has another token for the place.
    Differs,
    /// A registry with another user, scheme or source covers the place.
    Otherwise,
    /// Taken now.
    Added,
    /// Taken now, in place of another.
    Rotated,
    /// Refused; the error says why.
    Failed,
}

impl Line {
    /// Before anything was done about it.
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
    /// Whether regauth has this very token.
    pub(super) fn is_in_regauth(self) -> bool {
        matches!(self, Self::Present | Self::Added | Self::Rotated)
    }

    fn words(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Present => "in regauth already",
            Self::Differs => "regauth has another token",
            Self::Otherwise => "served in another way",
            Self::Added => "added",
            Self::Rotated => "replaced",
            Self::Failed => "not taken",
        }
    }
}

/// A line a token, with numbers to pick by.
pub(super) fn table(lines: &[Line]) -> String {
    let heading = ["", "NAME", "PLACE", "LOGIN", "TOKEN", "FILE", "STATE"]
        .map(str::to_owned)
        .to_vec();
    let row = |(number, line): (usize, &Line)| {
        vec![
            (number + 1).to_string(),
            line.name.to_string(),
            line.place.clone(),
            registry::scheme(line.scheme, line.username.as_deref()),
            line.token.clone(),
            line.files
                .iter()
                .map(|file| at_home(file))
                .collect::<Vec<_>>()
                .join(", "),
            line.state.words().to_owned(),
        ]
    };
    let rows: Vec<_> = [heading].into_iter().chain(lines.iter().enumerate().map(row)).collect();
    output::table(&rows)
}

/// A path as a person writes it.
fn at_home(file: &str) -> String {
    let home = user_folders::home().ok();
    let below = home.and_then(|home| Path::new(file).strip_prefix(home).ok().map(Path::to_path_buf));
    below.map_or_else(|| file.to_owned(), |below| format!("~/{}", below.display()))
}

/// What came of it all.
pub(super) fn words(imported: &Imported, dry_run: bool, folders: &Folders) -> String {
    let mut text = match imported.found.as_slice() {
        [] => "No tokens were found.\n".to_owned(),
        lines => table(lines),
    };
    for line in &imported.found {
        if let Some(error) = &line.error {
            let hint = error.hint.as_ref().map_or_else(String::new, |hint| format!("; {hint}"));
            text += &format!("{} was not taken: {}{hint}\n", line.name, error.message);
        }
        let (name, place) = (&line.name, &line.place);
        text += &match line.state {
            State::Differs if !dry_run => {
                format!("note: `regauthctl import --only {name} --rotate` replaces the token of {name}\n")
            }
            State::Otherwise => {
                format!("note: {name} serves {place} with another user, scheme or source already, and stays as it is\n")
            }
            _ => String::new(),
        };
    }
    text += &output::notes(&imported.notes);
    if imported.found.iter().any(|line| line.state.is_in_regauth()) {
        text += &setup_notes(imported, folders);
    }
    text + &words_of_removal(&imported.originals)
}

/// A client whose token is gone, and which does not ask the daemon, gets nowhere.
fn setup_notes(imported: &Imported, folders: &Folders) -> String {
    let mut clients: Vec<&str> = imported.found.iter().filter_map(Line::client).collect();
    clients.sort_unstable();
    clients.dedup();
    let missing = clients.iter().filter(|client| !setup::is_set_up(client, folders));
    let note = |client: &&str| format!("{client} does not use regauthd yet; `regauthctl setup {client}` sees to it");
    output::notes(&missing.map(note).collect::<Vec<_>>())
}

impl Line {
    /// Which client it is for, as far as one can be set up.
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

fn words_of_removal(outcome: &BackupOutcome) -> String {
    let mut text = files("Taken out of:", outcome);
    if let Some(backup) = &outcome.folder {
        text += &format!(
            "Copies with the tokens in plain text are in {backup}, readable by you alone.\n`regauthctl import --undo` puts \
             the files back; `regauthctl import --forget-backup` deletes the copies.\n"
        );
    }
    text
}

/// What came of `--undo`.
pub(super) fn undone(outcome: &BackupOutcome) -> String {
    let tokens = match outcome.files.is_empty() {
        true => "",
        false => "regauth has the tokens still; `regauthctl remove-registry NAME` deletes one.\n",
    };
    files("As they were before:", outcome) + tokens
}

/// What came of `--forget-backup`.
pub(super) fn forgotten(outcome: &BackupOutcome) -> String {
    files("The copies are deleted of:", outcome)
}

/// The files, below a heading, and the notes.
fn files(heading: &str, outcome: &BackupOutcome) -> String {
    let lines = outcome.files.iter().map(|file| format!("  {file}\n"));
    let heading = (!outcome.files.is_empty()).then(|| format!("{heading}\n"));
    heading.into_iter().chain(lines).collect::<String>() + &output::notes(&outcome.notes)
}
