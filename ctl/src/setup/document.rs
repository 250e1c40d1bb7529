//! A client's file: its text, and how it is replaced without ever being half written.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use tempfile::NamedTempFile;

use crate::error;

/// A file as it is now.
#[derive(Debug)]
pub(crate) struct Document {
    /// As a person knows it, perhaps a link.
    pub(crate) path: PathBuf,
    /// None when there is no file.
    pub(crate) text: Option<String>,
    mode: u32,
    made: Vec<PathBuf>,
}

impl Document {
    /// Reads it.
    ///
    /// # Errors
    /// It is there and cannot be read, or is not text.
    pub(crate) fn read(path: &Path) -> Result<Self, ErrorBody> {
        let cannot = || error::io(format!("cannot read {}", path.display()));
        let text = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(cannot()(error)),
        };
        let mode = match &text {
            Some(_) => fs::metadata(path).map_err(cannot())?.permissions().mode() & 0o7777,
            None => USUAL_MODE,
        };
        Ok(Self {
            path: path.to_owned(),
            text,
            mode,
            made: Vec::new(),
        })
    }

    /// The folders that have to be made for it, the outermost last.
    pub(crate) fn missing_folders(&self) -> Vec<PathBuf> {
        let above = self.path.ancestors().skip(1);
        above
            .take_while(|folder| !folder.exists())
            .map(Path::to_path_buf)
            .collect()
    }

    /// The same; with the file go these folders, when they are empty.
    pub(crate) fn removing(self, made: Vec<PathBuf>) -> Self {
        Self { made, ..self }
    }

    /// Its permission bits.
    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    /// The same; what is written gets these permission bits.
    pub(crate) fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Makes this the file's text, or removes the file. A link stays, and what it points to is replaced: people keep
    /// their configuration elsewhere.
    ///
    /// # Errors
    /// The file system's.
    pub(crate) fn replace(&self, text: Option<&str>) -> Result<(), ErrorBody> {
        let cannot = error::io(format!("cannot write {}", self.path.display()));
        if self.text.as_deref() == text {
            return Ok(());
        }
        match text {
            Some(text) => self.write(text).map_err(cannot),
            None => self.remove().map_err(cannot),
        }
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let target = match fs::canonicalize(&self.path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.path.clone(),
            Err(error) => return Err(error),
        };
        let folder = target.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder)?;
        let mut file = NamedTempFile::with_prefix_in(".regauth-", folder)?;
        file.write_all(text.as_bytes())?;
        file.as_file().set_permissions(fs::Permissions::from_mode(self.mode))?;
        file.as_file().sync_all()?;
        file.persist(&target)?;
        fs::File::open(folder)?.sync_all()
    }

    fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        for folder in &self.made {
            // One that holds something by now stays.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }
}

const USUAL_MODE: u32 = 0o644;
