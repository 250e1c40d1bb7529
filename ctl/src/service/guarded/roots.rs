//! Certificates that a moved registry, or all clients, trust: copied to where only root can change them.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use tempfile::NamedTempFile;

use crate::error;
use crate::team_file::CaFile;

/// Copy of a CA file, named by the digest of its contents. So no copy replaces a file that is in use.
pub(super) struct InstalledRoots {
    path: PathBuf,
    is_new: bool,
}

impl InstalledRoots {
    /// Writes the copy into `folder`, unless it is there.
    ///
    /// # Errors
    /// It cannot be written, or the file of that name was changed.
    pub(super) fn install(folder: &Path, roots: &CaFile) -> Result<Self, ErrorBody> {
        let path = folder.join(roots.copy_name());
        if path.symlink_metadata().is_ok() {
            return match roots.is_same_as(&path) {
                true => Ok(Self { path, is_new: false }),
                false => Err(
                    error::refused(format!("{} was changed, and registries may use it", path.display()))
                        .hint("move it to another name, correct each `ca-file` that names it, then repeat"),
                ),
            };
        }
        write(folder, &path, roots.text()).map_err(error::io(format!("cannot write {}", path.display())))?;
        Ok(Self { path, is_new: true })
    }

    /// Path for the daemon's configuration.
    pub(super) fn path(&self) -> String {
        self.path.display().to_string()
    }

    /// Deletes the copy if nothing used it before.
    pub(super) fn undo(self) {
        if self.is_new {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn write(folder: &Path, path: &Path, text: &str) -> std::io::Result<()> {
    let mut file = NamedTempFile::new_in(folder)?;
    file.write_all(text.as_bytes())?;
    file.as_file().set_permissions(Permissions::from_mode(0o644))?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(body: &str) -> CaFile {
        let text = format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n");
        CaFile::parse("ca-file", text).unwrap()
    }

    fn files(folder: &Path) -> usize {
        fs::read_dir(folder).unwrap().count()
    }

    #[test]
    fn a_copy_replaces_no_file_and_an_unused_one_is_deleted() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] =
            ["AAEC", "AAED"].map(|body| InstalledRoots::install(folder.path(), &roots(body)).unwrap());
        assert_ne!(first.path(), second.path());
        assert_eq!(fs::read_to_string(first.path()).unwrap(), roots("AAEC").text());
        assert_eq!(fs::metadata(first.path()).unwrap().permissions().mode() & 0o777, 0o644);
        // A second registry with the same roots is refused, and the first one still needs the file.
        InstalledRoots::install(folder.path(), &roots("AAEC")).unwrap().undo();
        assert_eq!(files(folder.path()), 2);
        second.undo();
        assert_eq!(files(folder.path()), 1);
    }

    #[test]
    fn a_copy_that_was_changed_is_neither_used_nor_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(roots("AAEC").copy_name());
        fs::write(&path, "changed").unwrap();
        let refused = InstalledRoots::install(folder.path(), &roots("AAEC"));
        assert!(refused.is_err_and(|error| error.message.contains("was changed")));
        assert_eq!(fs::read_to_string(&path).unwrap(), "changed");
        assert_eq!(files(folder.path()), 1);
    }
}
