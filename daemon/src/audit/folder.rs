//! Checks of the record's folder at a start.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use regauth_shared::audit::{CURRENT_FILE, is_rotated_file};

/// Rejects a folder or file that belongs to another user or that others may read or change. Whatever is missing will be
/// made.
///
/// # Errors
/// [`AuditFolderError`] with what to do.
pub(super) fn check(folder: &Path) -> Result<(), AuditFolderError> {
    let Ok(metadata) = folder.symlink_metadata() else {
        return Ok(());
    };
    if !metadata.is_dir() {
        return Err(AuditFolderError::NotAFolder(folder.to_owned()));
    }
    check_private(folder, &metadata, "700")?;
    // A folder that cannot be read shows in `status`, as a full disk does.
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name
            .to_str()
            .is_some_and(|name| name == CURRENT_FILE || is_rotated_file(name));
        if is_ours && let Ok(metadata) = entry.metadata() {
            if !metadata.is_file() {
                return Err(AuditFolderError::NotAFile(entry.path()));
            }
            check_private(&entry.path(), &metadata, "600")?;
        }
    }
    Ok(())
}

fn check_private(path: &Path, metadata: &Metadata, right: &'static str) -> Result<(), AuditFolderError> {
    let (owner, ours) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != ours {
        return Err(AuditFolderError::Owner {
            path: path.to_owned(),
            owner,
            ours,
        });
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(AuditFolderError::Mode {
            path: path.to_owned(),
            mode,
            right,
        });
    }
    Ok(())
}

/// Error of the audit record's folder. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum AuditFolderError {
    /// Folder or file of another user.
    #[error(
        "{} belongs to user {owner}, not to user {ours}; run `chown {ours} {}`, or move it away",
        path.display(),
        path.display()
    )]
    Owner {
        /// Path of the folder or file.
        path: PathBuf,
        /// User id of the owner.
        owner: u32,
        /// User id of the daemon.
        ours: u32,
    },
    /// Folder or file that others may read or change.
    #[error("others may read or change {} (mode {mode:04o}); run `chmod {right} {}`", path.display(), path.display())]
    Mode {
        /// Path of the folder or file.
        path: PathBuf,
        /// Permission bits.
        mode: u32,
        /// Permission bits as they should be.
        right: &'static str,
    },
    /// File or link in the place of the folder.
    #[error("{} is no folder, and the audit record needs one there; move it away", .0.display())]
    NotAFolder(PathBuf),
    /// Folder or link in the place of a file.
    #[error("{} is no file, and the audit record needs one there; move it away", .0.display())]
    NotAFile(PathBuf),
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn refuses_what_others_can_reach() {
        let state = tempfile::tempdir().unwrap();
        let folder = state.path().join("audit");
        check(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        let refused = |mode: u32, path: &Path, hint: &str| {
            let before = path.metadata().unwrap().permissions();
            fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
            let error = check(&folder).unwrap_err().to_string();
            assert!(error.contains(hint), "{error}");
            fs::set_permissions(path, before).unwrap();
        };
        fs::set_permissions(&folder, Permissions::from_mode(0o700)).unwrap();
        refused(0o750, &folder, "chmod 700");
        let file = folder.join(CURRENT_FILE);
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
        check(&folder).unwrap();
        refused(0o644, &file, "chmod 600");
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", &file).unwrap();
        assert!(matches!(check(&folder), Err(AuditFolderError::NotAFile(_))));
    }
}
