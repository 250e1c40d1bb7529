//! Copy of the configuration that the editor works on, in a folder that only this user can enter.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use tempfile::TempDir;

use super::read;
use crate::{error, prompt};

/// The copy, and the text that it began with.
pub(super) struct Draft {
    _folder: TempDir,
    path: PathBuf,
    kept: PathBuf,
    base: String,
    text: String,
}

impl Draft {
    /// Copies the file; or continues with a draft that was kept, if the person wants to.
    ///
    /// # Errors
    /// Files that cannot be read or written.
    pub(super) fn begin(folders: &Folders, file: &Path) -> Result<Self, ErrorBody> {
        let base = read(file)?;
        let kept = folders.state.join("edited-config.toml");
        let folder = tempfile::Builder::new().prefix("regauth-edit-").tempdir();
        let folder = folder.map_err(error::io("cannot create a folder for the copy"))?;
        let mut draft = Self {
            path: folder.path().join("config.toml"),
            _folder: folder,
            kept,
            text: base.clone(),
            base,
        };
        draft.continue_kept()?;
        draft.write()?;
        Ok(draft)
    }

    fn continue_kept(&mut self) -> Result<(), ErrorBody> {
        let (Ok(text), Ok(base)) = (fs::read_to_string(&self.kept), fs::read_to_string(self.kept_base())) else {
            return Ok(());
        };
        if !prompt::is_interactive() || !prompt::confirm("Continue with the text that you kept?")? {
            return Ok(());
        }
        self.text = text;
        let now = std::mem::replace(&mut self.base, base);
        // The marks of a conflict are in the copy, which the person is about to see.
        let _ = self.merge(&now);
        Ok(())
    }

    /// The copy.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Text that the edit began with, or that was merged into it since.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Text of the copy, as last read.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// True if the copy says the same as the file.
    pub(super) fn is_unchanged(&self) -> bool {
        self.text == self.base
    }

    /// Reads the copy after the editor has ended.
    ///
    /// # Errors
    /// It cannot be read.
    pub(super) fn read_back(&mut self) -> Result<(), ErrorBody> {
        self.text = read(&self.path)?;
        Ok(())
    }

    /// Merges a change that someone else has made to the file meanwhile.
    ///
    /// # Errors
    /// Both have changed the same lines. The copy then has both versions, marked as git does.
    pub(super) fn merge(&mut self, theirs: &str) -> Result<(), ErrorBody> {
        let merged = diffy::merge(&self.base, &self.text, theirs);
        let has_conflict = merged.is_err();
        self.text = merged.unwrap_or_else(|marked| marked);
        theirs.clone_into(&mut self.base);
        self.write()?;
        if has_conflict {
            let message = "the file has changed meanwhile, in the lines that you have edited";
            return Err(error::failed(message).hint("both versions are between `<<<<<<<` and `>>>>>>>`; keep one"));
        }
        Ok(())
    }

    /// Keeps the copy for the next edit; returns what to tell the person.
    ///
    /// # Errors
    /// It cannot be written.
    pub(super) fn keep(&self) -> Result<String, ErrorBody> {
        write_private(&self.kept, &self.text)?;
        write_private(&self.kept_base(), &self.base)?;
        Ok(format!(
            "nothing was changed; your text is in {}, and the next `regauthctl edit` continues with it",
            self.kept.display()
        ))
    }

    /// Deletes a draft that was kept; the copy is deleted with its folder.
    pub(super) fn discard(&self) {
        // A draft that stays is only offered again.
        let _ = fs::remove_file(&self.kept);
        let _ = fs::remove_file(self.kept_base());
    }

    /// Text that a kept draft began with.
    fn kept_base(&self) -> PathBuf {
        self.kept.with_extension("base.toml")
    }

    fn write(&self) -> Result<(), ErrorBody> {
        write_private(&self.path, &self.text)
    }
}

fn write_private(path: &Path, text: &str) -> Result<(), ErrorBody> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(path).and_then(|mut file| file.write_all(text.as_bytes()));
    written.map_err(error::io("cannot write the copy"))
}
