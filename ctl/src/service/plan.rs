//! Plan of an installation: all steps are computed before the first one changes anything. `--dry-run` prints the plan.

use std::fs::{DirBuilder, Permissions, set_permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use serde::Serialize;

use super::command;
use super::state::{Installation, OWNERSHIP_MARKER};
use crate::error;
use crate::text_file::TextFile;

/// One change to the machine.
#[derive(Debug, Serialize)]
#[serde(tag = "step", rename_all = "kebab-case")]
pub(crate) enum ServiceStep {
    /// Writes a file.
    Write {
        /// Path of the file.
        file: PathBuf,
        /// New contents.
        #[serde(skip)]
        text: String,
    },
    /// Removes a file.
    Remove {
        /// Path of the file.
        file: PathBuf,
        /// Folders to remove with it if they are empty by then, the outermost last.
        #[serde(skip)]
        folders: Vec<PathBuf>,
    },
    /// Creates a folder.
    Folder {
        /// Path of the folder.
        folder: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Runs a command.
    Run {
        /// Program and arguments.
        command: Vec<String>,
    },
    /// Runs two commands, the second with the stdout of the first, which is a secret.
    Pipe {
        /// Program and arguments of the producer.
        from: Vec<String>,
        /// Program and arguments of the consumer.
        to: Vec<String>,
    },
}

/// Steps that install or uninstall the service.
#[derive(Debug)]
pub(crate) struct ServicePlan {
    pub(super) manager: &'static str,
    pub(super) installation: Installation,
    pub(super) steps: Vec<ServiceStep>,
    pub(super) notes: Vec<String>,
}

/// Report on a plan that was carried out, or would be.
#[derive(Debug, Serialize)]
pub(crate) struct ServiceOutcome {
    /// `systemd` or `launchd`.
    pub(crate) manager: &'static str,
    /// Installation that the plan changes.
    #[serde(rename = "scope")]
    pub(crate) installation: Installation,
    /// Steps, in order.
    pub(crate) steps: Vec<ServiceStep>,
    /// Advice for the user.
    pub(crate) notes: Vec<String>,
}

impl ServicePlan {
    pub(super) fn new(manager: &'static str, installation: Installation) -> Self {
        Self {
            manager,
            installation,
            steps: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a step that writes the file. Returns false, and adds none, if the file is up to date.
    ///
    /// # Errors
    /// A file of that name exists and is not regauthctl's.
    pub(super) fn write(&mut self, path: PathBuf, mut text: String) -> Result<bool, ErrorBody> {
        let file = TextFile::read(&path)?;
        let created_folders = match &file.text {
            Some(present) => recorded_folders(present),
            None => file.missing_folders(),
        };
        text += &folder_comments(&created_folders, text.starts_with('<'));
        if file.text.as_ref() == Some(&text) {
            return Ok(false);
        }
        if file.text.is_some_and(|present| !present.contains(OWNERSHIP_MARKER)) {
            let message = format!("{} exists, and regauthctl did not write it", path.display());
            return Err(error::refused(message).hint("move the file away and try again, or keep that service"));
        }
        self.steps.push(ServiceStep::Write { file: path, text });
        Ok(true)
    }

    /// Adds a step that removes the file and the folders created for it. Returns false, and adds none, if there is no
    /// file or it is not regauthctl's.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn remove(&mut self, path: PathBuf) -> Result<bool, ErrorBody> {
        let file = TextFile::read(&path)?;
        let Some(text) = file.text.filter(|text| text.contains(OWNERSHIP_MARKER)) else {
            return Ok(false);
        };
        let folders = recorded_folders(&text);
        self.steps.push(ServiceStep::Remove { file: path, folders });
        Ok(true)
    }

    pub(super) fn run(&mut self, command: &[&str]) {
        self.steps.push(ServiceStep::Run {
            command: command::to_words(command),
        });
    }

    /// Reports the plan without carrying it out.
    pub(crate) fn outcome(self) -> ServiceOutcome {
        ServiceOutcome {
            manager: self.manager,
            installation: self.installation,
            steps: self.steps,
            notes: self.notes,
        }
    }

    /// Carries out the steps up to the first failure. Every step can be repeated.
    ///
    /// # Errors
    /// A step failed.
    pub(crate) fn carry_out(self) -> Result<ServiceOutcome, ErrorBody> {
        let hint = || {
            format!(
                "fix that and try again, or undo the steps so far: regauthctl service uninstall{}",
                self.installation.option()
            )
        };
        for step in &self.steps {
            step.carry_out().map_err(|error| error.hint(hint()))?;
        }
        Ok(self.outcome())
    }
}

impl ServiceStep {
    fn carry_out(&self) -> Result<(), ErrorBody> {
        match self {
            Self::Write { file, text } => TextFile::read(file)?.replace(Some(text)),
            Self::Remove { file, folders } => TextFile::read(file)?.removing_folders(folders.clone()).replace(None),
            Self::Folder { folder, mode } => create_folder(folder, *mode)
                .map_err(error::io(format!("cannot create the folder {}", folder.display()))),
            Self::Run { command } => command::run(command),
            Self::Pipe { from, to } => command::pipe(from, to),
        }
    }
}

/// Comments that record the folders created for a file, so that removing the file removes them.
fn folder_comments(folders: &[PathBuf], is_xml: bool) -> String {
    let (open, close) = if is_xml { ("<!-- ", " -->") } else { ("# ", "") };
    let comment = |folder: &PathBuf| format!("{open}{CREATED_FOLDER}{}{close}\n", folder.display());
    folders.iter().map(comment).collect()
}

/// Folders in the comments of a file, the outermost last.
fn recorded_folders(text: &str) -> Vec<PathBuf> {
    let folder = |line: &str| Some(line.split_once(CREATED_FOLDER)?.1.trim_end_matches(" -->").into());
    text.lines().filter_map(folder).collect()
}

fn create_folder(folder: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(folder)?;
    set_permissions(folder, Permissions::from_mode(mode))
}

const CREATED_FOLDER: &str = "Made for this file: ";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn removes_only_its_own_files_and_the_folders_created_for_them() {
        let stage = tempfile::tempdir().unwrap();
        let file = stage.path().join("a/b/unit");
        let text = || format!("# {OWNERSHIP_MARKER}\n");
        let plan = |change: &dyn Fn(&mut ServicePlan) -> Result<bool, ErrorBody>| {
            let mut plan = ServicePlan::new("systemd", Installation::User);
            let changed = change(&mut plan)?;
            plan.carry_out().map(|_| changed)
        };
        let write = |plan: &mut ServicePlan| plan.write(file.clone(), text());
        let remove = |plan: &mut ServicePlan| plan.remove(file.clone());
        assert!(plan(&write).unwrap());
        assert!(!plan(&write).unwrap(), "the file was written twice");
        assert!(plan(&remove).unwrap());
        assert_eq!(fs::read_dir(stage.path()).unwrap().count(), 0);

        fs::create_dir_all(file.parent().unwrap()).unwrap();
        assert!(plan(&write).unwrap());
        assert!(plan(&remove).unwrap());
        assert!(file.parent().unwrap().is_dir(), "the folder existed before the file");

        fs::write(&file, "[Unit]\n").unwrap();
        assert!(plan(&write).is_err());
        assert!(!plan(&remove).unwrap());
        assert_eq!(fs::read_to_string(&file).unwrap(), "[Unit]\n");
    }
}
