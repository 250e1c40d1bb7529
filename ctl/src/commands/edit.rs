//! `regauthctl edit`: the configuration file in a person's editor. The editor works on a copy; the daemon checks it before
//! it is live.
//!
//! If the file changes meanwhile, both changes are merged. A copy with errors is edited again, kept for later or
//! discarded.

mod draft;
mod editor;

use std::fs;
use std::path::{Path, PathBuf};

use regauth_shared::paths::Folders;
use regauth_shared::request::{ByName, ConfigurationText, Nothing, ReplaceConfiguration};
use regauth_shared::response::{ConfigurationChanged, RegistryView, Status};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request};
use sha2::{Digest, Sha256};

use super::agreement::{self, Agreement, Step};
use crate::client::Client;
use crate::output::{Report, print_error};
use crate::{error, prompt};
use draft::Draft;
use editor::Editor;

/// Edit the configuration in your editor, checked before it is live
///
/// Opens a copy of config.toml in $VISUAL or $EDITOR, at the registry if you name one. The daemon then checks the text, asks
/// each changed registry if it accepts its token, and serves the new configuration at once. A text with errors is not
/// used: edit it again, keep it for the next `regauthctl edit`, or discard it.
///
/// Without a terminal, $VISUAL or $EDITOR must name the editor.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry at whose table the editor opens
    name: Option<RegistryName>,

    /// Use the text without asking the registries about their tokens
    #[arg(long)]
    no_verify: bool,

    #[command(flatten)]
    agreement: Agreement,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl edit
  regauthctl edit corp
  EDITOR='code --wait' regauthctl edit";

/// Edits the file.
pub(crate) fn run(arguments: &Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    if let Some(name) = &arguments.name {
        client.call::<RegistryView>(&Request::Show(ByName { name: name.clone() }))?;
    }
    let status: Status = client.call(&Request::Status(Nothing {}))?.answer;
    let session = Session {
        client,
        arguments,
        file: PathBuf::from(status.config),
        editor: Editor::find()?,
    };
    let draft = Draft::begin(folders, &session.file)?;
    session.edit(draft)
}

/// One edit, from the first time that the editor opens to the change.
struct Session<'a> {
    client: &'a Client,
    arguments: &'a Arguments,
    file: PathBuf,
    editor: Editor,
}

impl Session<'_> {
    fn edit(&self, mut draft: Draft) -> Result<Report, ErrorBody> {
        let mut line = (self.arguments.name.as_ref()).and_then(|name| line_of(draft.text(), name));
        loop {
            self.editor.open(draft.path(), line)?;
            draft.read_back()?;
            if draft.is_unchanged() {
                draft.discard();
                return nothing_changed();
            }
            let problem = match self.submit(&mut draft) {
                Ok(report) => {
                    draft.discard();
                    return Ok(report);
                }
                Err(problem) => problem,
            };
            if !prompt::is_interactive() {
                draft.discard();
                return Err(problem);
            }
            print_error(&problem);
            match prompt::next_step_of_edit()? {
                NextStep::EditAgain => line = line_in(&problem),
                NextStep::Keep => return Err(error::refused(draft.keep()?)),
                NextStep::Discard => {
                    draft.discard();
                    return Err(error::refused("the edit was discarded; nothing was changed"));
                }
            }
        }
    }

    /// Has the daemon check and use the draft. A file that has changed meanwhile is merged into it first.
    fn submit(&self, draft: &mut Draft) -> Result<Report, ErrorBody> {
        loop {
            let request = |step: Step| {
                Request::ReplaceConfiguration(ReplaceConfiguration {
                    text: ConfigurationText(draft.text().to_owned()),
                    base: digest(draft.base()),
                    check: step.check,
                    widen: step.widen,
                    verify: !self.arguments.no_verify,
                    reviewed: step.reviewed,
                })
            };
            match agreement::change(self.client, &self.arguments.agreement, request) {
                Err(error) if error.kind == ErrorKind::Exists && self.has_changed_since(draft) => {
                    draft.merge(&self.read()?)?;
                }
                result => return result,
            }
        }
    }

    fn has_changed_since(&self, draft: &Draft) -> bool {
        self.read().is_ok_and(|text| text != draft.base())
    }

    fn read(&self) -> Result<String, ErrorBody> {
        read(&self.file)
    }
}

/// Decision of a person about a draft that cannot be used.
pub(crate) enum NextStep {
    /// Open the editor again.
    EditAgain,
    /// Keep the draft for the next `regauthctl edit`.
    Keep,
    /// Delete the draft.
    Discard,
}

fn read(file: &Path) -> Result<String, ErrorBody> {
    fs::read_to_string(file).map_err(|error| {
        let message = format!("cannot read {}: {error}", file.display());
        error::failed(message).hint("only the user that owns the file can edit it")
    })
}

fn nothing_changed() -> Result<Report, ErrorBody> {
    let changed = ConfigurationChanged {
        applied: false,
        changes: Vec::new(),
        settings: Vec::new(),
        review: None,
        notes: Vec::new(),
    };
    Report::from_value(&changed, "Nothing to change.\n".to_owned())
}

/// Line of a registry's table, from 1.
fn line_of(text: &str, name: &RegistryName) -> Option<usize> {
    let name = name.as_str();
    let spellings = [name.to_owned(), format!("\"{name}\""), format!("'{name}'")];
    let begins = |line: &str| {
        let line = line.trim_start();
        let in_header = line.strip_prefix("[registries.").and_then(|rest| rest.split_once(']'));
        let in_key = line
            .strip_prefix("registries.")
            .and_then(|rest| rest.split_once(['.', ' ', '=']));
        let found = in_header.or(in_key).map(|(name, _)| name.trim());
        found.is_some_and(|found| spellings.iter().any(|spelling| spelling == found))
    };
    text.lines().position(begins).map(|index| index + 1)
}

/// Line of the first problem in a message with lines such as `config.toml:12:3: unknown key …`.
fn line_in(problem: &ErrorBody) -> Option<usize> {
    let mut lines = problem
        .message
        .lines()
        .filter_map(|line| line.strip_prefix("config.toml:"));
    lines.next()?.split(':').next()?.parse().ok()
}

/// SHA-256 of a text, in hexadecimal.
fn digest(text: &str) -> String {
    let hash = Sha256::digest(text.as_bytes());
    hash.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_line_of_a_registry_in_every_spelling() {
        let name: RegistryName = "corp".parse().unwrap();
        for (text, line) in [
            ("notify = false\n\n[registries.corp]\nindex = ''\n", Some(3)),
            ("[registries.corp2]\n[registries.\"corp\"] # here\n", Some(2)),
            ("registries.corp.index = ''\n", Some(1)),
            ("# [registries.corp]\n", None),
        ] {
            assert_eq!(line_of(text, &name), line, "{text}");
        }
    }

    #[test]
    fn finds_the_line_of_the_first_problem() {
        let problem = error::usage("/h/config.toml has errors:\nconfig.toml:12:3: unknown key\nconfig.toml:14:1: x");
        assert_eq!(line_in(&problem), Some(12));
        assert_eq!(line_in(&error::usage("the token was rejected")), None);
    }
}
