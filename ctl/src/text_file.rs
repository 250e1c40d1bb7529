//! Text files of other programs, read with their mode and replaced atomically.
//!
//! `setup`, `import` and `service` change all their files through this module, so none of them is ever half written.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use tempfile::NamedTempFile;

use crate::error;
use crate::shell::quote_sh;

/// Contents and mode of a text file at the time it was read.
#[derive(Debug)]
pub(crate) struct TextFile {
    /// Path as the user wrote it; may be a symbolic link.
    pub(crate) path: PathBuf,
    /// Contents; `None` if there is no file.
    pub(crate) text: Option<String>,
    mode: u32,
    /// Number of hard links and owner, of a file that exists.
    names: u64,
    owner: Option<(u32, u32)>,
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
        let known = match &text {
            Some(_) => Some(fs::metadata(path).map_err(io_error())?),
            None => None,
        };
        Ok(Self {
            path: path.to_owned(),
            text,
            mode: known.as_ref().map_or(NEW_FILE_MODE, |known| known.mode() & 0o7777),
            names: known.as_ref().map_or(1, MetadataExt::nlink),
            owner: known.map(|known| (known.uid(), known.gid())),
            folders_to_remove: Vec::new(),
        })
    }

    /// Parent folders that do not exist yet, the outermost last.
    pub(crate) fn missing_folders(&self) -> Vec<PathBuf> {
        let target = end_of_links(&self.path);
        let parents = target.ancestors().skip(1);
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

    /// Refuses a file with hard links: its other names would keep the old contents, a token that `import` takes out included.
    ///
    /// # Errors
    /// The file has another name.
    pub(crate) fn check_names(&self) -> Result<(), ErrorBody> {
        if self.names < 2 {
            return Ok(());
        }
        let (path, names) = (self.path.display().to_string(), self.names);
        let [file, copy] = [path.clone(), format!("{path}.own")].map(|path| quote_sh(&path));
        let refused = format!("{path} has {names} names (hard links), and the others would keep the old contents");
        let hint = format!("make it a file of its own and repeat: cp -p {file} {copy} && mv {copy} {file}");
        Err(error::refused(refused).hint(hint))
    }

    /// Replaces the contents, or removes the file for `None`. A symbolic link stays and its target is replaced, or made if it
    /// is missing: users keep their dotfiles in a repository and link to them. Owner and group stay too.
    ///
    /// # Errors
    /// The file has hard links, or cannot be written or removed.
    pub(crate) fn replace(&self, text: Option<&str>) -> Result<(), ErrorBody> {
        if self.text.as_deref() == text {
            return Ok(());
        }
        self.check_names()?;
        let replaced = match text {
            Some(text) => self.write(text),
            None => self.remove(),
        };
        replaced.map_err(error::io(format!("cannot write {}", self.path.display())))
    }

    fn write(&self, text: &str) -> io::Result<()> {
        let target = end_of_links(&self.path);
        fs::create_dir_all(folder_of(&target))?;
        write_atomically(&target, text.as_bytes(), self.mode, self.owner)
    }

    fn remove(&self) -> io::Result<()> {
        fs::remove_file(end_of_links(&self.path))?;
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
    write_atomically(path, bytes, 0o600, None)
}

/// Writes and syncs a temporary file in the same folder, then renames it. After a crash the path has the old contents
/// or the new ones. An owner who cannot be kept is an error, because the file would be lost to them.
fn write_atomically(path: &Path, bytes: &[u8], mode: u32, owner: Option<(u32, u32)>) -> io::Result<()> {
    let folder = folder_of(path);
    let mut file = NamedTempFile::with_prefix_in(".regauth-", folder)?;
    file.write_all(bytes)?;
    let made = file.as_file().metadata()?;
    if let Some((user, group)) = owner.filter(|owner| *owner != (made.uid(), made.gid())) {
        fchown(file.as_file(), Some(user), Some(group))?;
    }
    file.as_file().set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    fs::File::open(folder)?.sync_all()
}

/// The file that a symbolic link leads to, which need not exist. A circle of links cannot be read, so it never gets here.
fn end_of_links(path: &Path) -> PathBuf {
    let mut end = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Ok(next) = fs::read_link(&end) else { break };
        end = folder_of(&end).join(next);
    }
    end
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
/// Linux follows as many.
const MAX_LINKS: usize = 40;

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
    fn makes_the_missing_target_of_a_link_and_removes_it_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let [link, second] = ["link", "second"].map(|name| folder.path().join(name));
        std::os::unix::fs::symlink("second", &link).unwrap();
        std::os::unix::fs::symlink("dotfiles/target", &second).unwrap();
        let before = TextFile::read(&link).unwrap();
        let folders = before.missing_folders();
        before.replace(Some("new")).unwrap();
        assert!(link.is_symlink() && second.is_symlink());
        let target = folder.path().join("dotfiles/target");
        assert_eq!(fs::read_to_string(&target).unwrap(), "new");
        let file = TextFile::read(&link).unwrap().removing_folders(folders);
        file.replace(None).unwrap();
        assert!(link.is_symlink() && second.is_symlink());
        assert!(!target.parent().unwrap().exists());
    }

    #[test]
    fn refuses_a_file_with_another_name() {
        let folder = tempfile::tempdir().unwrap();
        let [file, other] = ["file", "other"].map(|name| folder.path().join(name));
        fs::write(&file, "old").unwrap();
        fs::hard_link(&file, &other).unwrap();
        let read = TextFile::read(&file).unwrap();
        for text in [Some("new"), None] {
            let refused = read.replace(text).unwrap_err();
            assert!(refused.message.contains("has 2 names"), "{}", refused.message);
        }
        read.replace(Some("old")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "old");
        fs::remove_file(&other).unwrap();
        TextFile::read(&file).unwrap().replace(Some("new")).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "new");
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
