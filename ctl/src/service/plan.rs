//! Steps, thought out before the first is done, and how each is done.

use std::fs::{DirBuilder, Permissions, set_permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use regauth_shared::ErrorBody;
use serde::Serialize;

use super::{MARK, Scope};
use crate::error;
use crate::setup::Document;

/// One change to the machine.
#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(crate) enum Step {
    /// Makes a file, or brings it up to date.
    Write {
        /// Which.
        file: PathBuf,
        /// What it is to say.
        #[serde(skip)]
        text: String,
    },
    /// Removes a file.
    Remove {
        /// Which.
        file: PathBuf,
        /// What goes with it when it is empty then, the outermost last.
        #[serde(skip)]
        folders: Vec<PathBuf>,
    },
    /// Makes a folder.
    Folder {
        /// Which.
        folder: PathBuf,
        /// Who may enter it.
        mode: u32,
    },
    /// Runs a command.
    Run {
        /// Its words.
        command: Vec<String>,
    },
    /// Runs two, the second with what the first says: a secret that nobody else is to see.
    Pipe {
        /// The first.
        from: Vec<String>,
        /// The second.
        to: Vec<String>,
    },
}

/// What is going to be done.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(super) manager: &'static str,
    pub(super) scope: Scope,
    pub(super) steps: Vec<Step>,
    pub(super) notes: Vec<String>,
}

/// What was done, or would be.
#[derive(Debug, Serialize)]
pub(crate) struct Outcome {
    /// `systemd` or `launchd`.
    pub(crate) manager: &'static str,
    /// For whom.
    pub(crate) scope: Scope,
    /// The steps, in order.
    pub(crate) steps: Vec<Step>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

impl Plan {
    pub(super) fn new(manager: &'static str, scope: Scope) -> Self {
        Self {
            manager,
            scope,
            steps: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Writes the file, unless it says so already; whether it does not.
    ///
    /// # Errors
    /// There is one of that name that is not ours.
    pub(super) fn write(&mut self, file: PathBuf, mut text: String) -> Result<bool, ErrorBody> {
        let document = Document::read(&file)?;
        let made = match &document.text {
            Some(present) => folders_made_for(present),
            None => document.missing_folders(),
        };
        let (open, close) = if text.starts_with('<') {
            ("<!-- ", " -->")
        } else {
            ("# ", "")
        };
        let line = |folder: &PathBuf| format!("{open}{MADE}{}{close}\n", folder.display());
        text += &made.iter().map(line).collect::<String>();
        if document.text.as_ref() == Some(&text) {
            return Ok(false);
        }
        if document.text.is_some_and(|present| !present.contains(MARK)) {
            return Err(
                error::refused(format!("{} is not of regauthctl's making", file.display()))
                    .hint("move it away, or keep the service that it is"),
            );
        }
        self.steps.push(Step::Write { file, text });
        Ok(true)
    }

    /// Removes the file, if it is ours, with the folders that were made for it; whether it is.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn remove(&mut self, file: PathBuf) -> Result<bool, ErrorBody> {
        let ours = Document::read(&file)?.text.filter(|text| text.contains(MARK));
        let folders = ours.as_deref().map(folders_made_for);
        let is_ours = folders.is_some();
        self.steps.extend(folders.map(|folders| Step::Remove { file, folders }));
        Ok(is_ours)
    }

    pub(super) fn run(&mut self, command: &[&str]) {
        self.steps.push(Step::Run {
            command: owned(command),
        });
    }

    /// What would be done.
    pub(crate) fn outcome(self) -> Outcome {
        Outcome {
            manager: self.manager,
            scope: self.scope,
            steps: self.steps,
            notes: self.notes,
        }
    }

    /// Does it, up to the first step that fails. All steps can be done again.
    ///
    /// # Errors
    /// What the file system or the command says.
    pub(crate) fn carry_out(self) -> Result<Outcome, ErrorBody> {
        for step in &self.steps {
            step.take().map_err(|error| error.hint(half_way(self.scope)))?;
        }
        Ok(self.outcome())
    }
}

impl Step {
    fn take(&self) -> Result<(), ErrorBody> {
        match self {
            Self::Write { file, text } => Document::read(file)?.replace(Some(text)),
            Self::Remove { file, folders } => Document::read(file)?.removing(folders.clone()).replace(None),
            Self::Folder { folder, mode } => {
                make(folder, *mode).map_err(error::io(format!("cannot make {}", folder.display())))
            }
            Self::Run { command } => finished(command, command_of(command).output()),
            Self::Pipe { from, to } => piped(from, to),
        }
    }
}

/// What a file of ours says of the folders that it lies in, the outermost last.
fn folders_made_for(text: &str) -> Vec<PathBuf> {
    let folder = |line: &str| Some(line.split_once(MADE)?.1.trim_end_matches(" -->").into());
    text.lines().filter_map(folder).collect()
}

fn make(folder: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    set_permissions(folder, Permissions::from_mode(mode))
}

fn piped(from: &[String], to: &[String]) -> Result<(), ErrorBody> {
    let first = command_of(from).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
    let mut first = first.map_err(|error| not_started(from, &error))?;
    let pipe = first.stdout.take().map_or_else(Stdio::null, Stdio::from);
    let second = command_of(to).stdin(pipe).output();
    let ended = first.wait().map_err(|error| not_started(from, &error))?;
    finished(to, second)?;
    if ended.success() {
        return Ok(());
    }
    Err(error::failed(format!("`{}` failed: {ended}", from.join(" "))))
}

/// What a command that is asked something says.
///
/// # Errors
/// There is no such command, or it fails; its own words then.
pub(super) fn asked(command: &[&str]) -> Result<String, ErrorBody> {
    let command = owned(command);
    let output = command_of(&command).output();
    let said = output
        .as_ref()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let said = said.unwrap_or_default();
    finished(&command, output).map(|()| said)
}

fn finished(command: &[String], output: io::Result<Output>) -> Result<(), ErrorBody> {
    let output = output.map_err(|error| not_started(command, &error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let why = match said.trim() {
        "" => output.status.to_string(),
        said => said.to_owned(),
    };
    Err(error::failed(format!("`{}` failed: {why}", command.join(" "))))
}

fn not_started(command: &[String], error: &io::Error) -> ErrorBody {
    let program = command.first().map_or("", String::as_str);
    error::failed(format!("cannot run {program}: {error}"))
}

fn command_of(words: &[String]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().map_or("", String::as_str));
    command.args(words).stdin(Stdio::null());
    command
}

pub(super) fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(ToString::to_string).collect()
}

fn half_way(scope: Scope) -> String {
    format!(
        "mend that and do it again, or take back what was done: regauthctl service uninstall{}",
        scope.option()
    )
}

const MADE: &str = "Made for this file: ";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_written_is_removed_with_its_folders_and_what_is_not_ours_stays() {
        let stage = tempfile::tempdir().unwrap();
        let file = stage.path().join("a/b/unit");
        let text = || format!("# {MARK}\n");
        let plan = |change: &dyn Fn(&mut Plan) -> Result<bool, ErrorBody>| {
            let mut plan = Plan::new("systemd", Scope::User);
            let changed = change(&mut plan)?;
            plan.carry_out().map(|_| changed)
        };
        let write = |plan: &mut Plan| plan.write(file.clone(), text());
        let remove = |plan: &mut Plan| plan.remove(file.clone());
        assert!(plan(&write).unwrap());
        assert!(!plan(&write).unwrap(), "written twice");
        assert!(plan(&remove).unwrap());
        assert_eq!(fs::read_dir(stage.path()).unwrap().count(), 0);

        fs::create_dir_all(file.parent().unwrap()).unwrap();
        assert!(plan(&write).unwrap());
        assert!(plan(&remove).unwrap());
        assert!(file.parent().unwrap().is_dir(), "it was there before");

        fs::write(&file, "[Unit]\n").unwrap();
        assert!(plan(&write).is_err());
        assert!(!plan(&remove).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "[Unit]\n");
    }
}
