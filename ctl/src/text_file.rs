//! Text files of other programs, read with their mode and replaced atomically.
//!
//! `setup`, `import` and `service` change all their files through this module, so none of them is ever half written.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use tempfile::NamedTempFile;

use crate::error;

/// Contents and mode of a text file at the time it was read.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// Path as the user wrote it; may be a symbolic link.
    pub(crate) path: PathBuf,
    /// Contents; `None` if there is no file.
    pub(crate) text: Option<String>,
    mode: u32,
    folders_to_remove: Vec<PathBuf>,
}

impl TextFile {
    /// Reads the file. A missing file is no error.
    ///
    /// # Errors
    /// The file exists but cannot be read, or is not UTF-8.
    pub(crate) fn read(path: &Path) -> Result<Self, ErrorBody> {
        let io_error = || error::io(format!("cannot read {}", path.display()));
        let text = match fs::read_to_string(path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io_error()(error)),
        };
        let mode = match &text {
            Some(_) => fs::metadata(path).map_err(io_error())?.permissions().mode() & 0o7777,
            None => NEW_FILE_MODE,
        };
        Ok(Self {
            path: path.to_owned(),
            text,
            mode,
            folders_to_remove: Vec::new(),
        })
    }

    /// Parent folders that do not exist yet, the outermost last.
    pub(crate) fn missing_folders(&self) -> Vec<PathBuf> {
        let parents = self.path.ancestors().skip(1);
        parents
            .take_while(|folder| !folder.exists())
            .map(Path::to_path_buf)
            .collect()
    }

    /// Sets the folders that are removed together with the file, if they are empty by then.
    pub(crate) fn removing_folders(self, folders_to_remove: Vec<PathBuf>) -> Self {
        Self {
            folders_to_remove,
            ..self
        }
    }

    /// True if the file exists and nobody may write it.
    pub(crate) fn is_read_only(&self) -> bool {
        self.text.is_some() && self.mode & 0o222 == 0
    }

    /// Permission bits.
    pub(crate) fn mode(&self) -> u32 {
        self.mode
    }

    /// Sets the permission bits of the next write.
    pub(crate) fn with_mode(self, mode: u32) -> Self {
        Self { mode, ..self }
    }

    /// Replaces the contents, or removes the file for `None`. A symbolic link stays and its target is replaced: users
    /// keep their dotfiles in a repository and link to them.
    ///
    /// # Errors
    /// The file cannot be written or removed.
    pub(crate) fn replace(&self, text: Option<&str>) -> Result<(), ErrorBody> {
        if self.text.as_deref() == text {
            return Ok(());
        }
        let replaced = match text {
            Some(text) => self.write(text),
            None => self.remove(),
        };
        replaced.map_err(error::io(format!("cannot write {}", self.path.display())))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let target = match fs::canonicalize(&self.path) {
            Ok(target) => target,
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.path.clone(),
            Err(error) => return Err(error),
        };
        fs::create_dir_all(folder_of(&target))?;
        write_atomically(&target, text.as_bytes(), self.mode)
    }

    fn remove(&self) -> io::Result<()> {
        fs::remove_file(&self.path)?;
        for folder in &self.folders_to_remove {
            // A folder with other files in it stays, and so do its parents.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Writes a file of regauthctl's own with mode 0600, and creates its folder with mode 0700.
///
/// # Errors
/// Those of the file system.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = folder_of(path);
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    write_atomically(path, bytes, 0o600)
}

/// Writes and syncs a temporary file in the same folder, then renames it. After a crash the path has the old contents
/// or the new ones.
fn write_atomically(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = NamedTempFile::with_prefix_in(".regauth-", folder)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(folder)?.sync_all()
}

/// Folder of a file. That of a bare name is the working folder.
fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    }
}

const NEW_FILE_MODE: u32 = 0o644;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_the_target_of_a_link_and_keeps_its_mode() {
        let folder = tempfile::tempdir().unwrap();
        let (target, link) = (folder.path().join("target"), folder.path().join("link"));
        fs::write(&target, "old").unwrap();
        fs::set_permissions(&target, fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        TextFile::read(&link).unwrap().replace(Some("new")).unwrap();
        assert!(link.is_symlink());
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        assert_eq!(TextFile::read(&target).unwrap().mode(), 0o640);
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            2,
            "a temporary file is left"
        );
    }

    #[test]
    fn the_folder_of_a_bare_name_is_the_working_folder() {
        for (path, folder) in [
            ("regauth.toml", "."),
            ("./a", "."),
            ("a/b", "a"),
            ("/a", "/"),
            ("/", "/"),
        ] {
            assert_eq!(folder_of(Path::new(path)), Path::new(folder), "{path}");
        }
    }

    #[test]
    fn writes_private_files_for_their_owner_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state/record.json");
        write_private(&file, b"{}").unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
    }
}
