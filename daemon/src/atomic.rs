//! Atomic file writes: after a kill or a power cut, the old file or the new file is there, whole.
//!
//! A write makes a temporary file in the same folder, syncs it, renames it and syncs the folder, which holds the name.
//! tempfile makes and renames the file; the syncs, the mode and the removal of leftovers are added here. Callers decide
//! who may write a file and when.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use tempfile::NamedTempFile;

/// Creates or replaces a file with the given bytes and mode; the umask is ignored. A symbolic link stays: its target is
/// replaced.
///
/// # Errors
/// Any error of the file system: no space, no folder, no permission. The old file is unchanged then, and no temporary
/// file is left. Exception: if only the last step fails, the sync of the folder, the new file is in place.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // People keep their configuration in a repository and link to it.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    let file = fill(&path, bytes, mode, Durability::Disk)?;
    file.persist(&path).map_err(|error| error.error)?;
    sync_folder(&path)
}

/// Creates or replaces a file that is only needed while the process runs: atomic as [`write()`], but without syncs.
///
/// # Errors
/// As [`write()`].
pub fn write_without_sync(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let file = fill(path, bytes, mode, Durability::Memory)?;
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// Creates a file that must not exist yet, such as a key that cannot be replaced.
///
/// # Errors
/// As [`write()`]; [`io::ErrorKind::AlreadyExists`] if there is a file of that name.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let file = fill(path, bytes, mode, Durability::Disk)?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    sync_folder(path)
}

/// Removes a file and syncs the folder. A missing file is no error.
///
/// # Errors
/// Any error of the file system.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => sync_folder(path),
    }
}

/// Event that a written file survives.
#[derive(Clone, Copy, PartialEq)]
enum Durability {
    /// Power cut.
    Disk,
    /// Kill of the process.
    Memory,
}

/// Writes a temporary file beside `path`, which is removed when dropped.
fn fill(path: &Path, bytes: &[u8], mode: u32, durability: Durability) -> io::Result<NamedTempFile> {
    let folder = folder_of(path);
    let prefix = temporary_prefix(path)?;
    remove_leftovers(folder, &prefix);
    let open = |path: &Path| OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = tempfile::Builder::new().prefix(&prefix).make_in(folder, open)?;
    // Not through `NamedTempFile`, which adds the temporary path to the message of an error.
    let inner = file.as_file_mut();
    inner.write_all(bytes)?;
    inner.set_permissions(Permissions::from_mode(mode))?;
    if durability == Durability::Disk {
        inner.sync_all()?;
    }
    Ok(file)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

/// Removes temporary files that a killed process left. Only old ones: another process may be writing a new one. Errors
/// are ignored, because the write itself reports what is wrong with the folder.
fn remove_leftovers(folder: &Path, prefix: &OsString) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_temporary = name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        let age = entry
            .metadata()
            .and_then(|data| data.modified())
            .map(|time| time.elapsed());
        if is_temporary && matches!(age, Ok(Ok(age)) if age > LEFTOVER_AGE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn temporary_prefix(path: &Path) -> io::Result<OsString> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?;
    let mut prefix = OsString::from(".");
    prefix.push(name);
    prefix.push(".draft-");
    Ok(prefix)
}

fn folder_of(path: &Path) -> &Path {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."))
}

const LEFTOVER_AGE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::SystemTime;

    use super::*;

    fn names(folder: &Path) -> Vec<OsString> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn replaces_a_file_with_the_given_mode_and_leaves_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write(&path, b"old", 0o600).unwrap();
        write(&path, b"new", 0o644).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
        assert_eq!(names(folder.path()), ["f"]);
    }

    #[test]
    fn creates_but_never_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        create(&path, b"first", 0o600).unwrap();
        let error = create(&path, b"second", 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
        assert_eq!(names(folder.path()), ["f"]);
    }

    #[test]
    fn keeps_a_symbolic_link() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("f"), folder.path().join("link"));
        fs::write(&path, b"old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write(&link, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
    }

    #[test]
    fn removes_old_temporary_files_but_no_new_ones() {
        let folder = tempfile::tempdir().unwrap();
        let (leftover, new) = (folder.path().join(".f.draft-1-0"), folder.path().join(".f.draft-1-1"));
        let old = SystemTime::now() - LEFTOVER_AGE * 2;
        File::create(&leftover).unwrap().set_modified(old).unwrap();
        File::create(&new).unwrap();
        write(&folder.path().join("f"), b"", 0o600).unwrap();
        assert_eq!(names(folder.path()), [".f.draft-1-1", "f"]);
    }

    #[test]
    fn a_failed_write_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::create_dir(&path).unwrap();
        assert!(write(&path, b"x", 0o600).is_err());
        assert_eq!(names(folder.path()), ["f"]);
        assert!(write(&folder.path().join("none/f"), b"x", 0o600).is_err());
    }

    #[test]
    fn removing_a_missing_file_is_no_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write(&path, b"x", 0o600).unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(names(folder.path()).is_empty());
    }

    /// A limit on the file size stands for a full disk: the write stops in the middle.
    #[test]
    fn a_full_disk_leaves_the_old_file() {
        let name = "atomic::tests::a_full_disk_leaves_the_old_file";
        if let Some(path) = std::env::var_os("REGAUTH_TEST_FULL_DISK") {
            let error = write(Path::new(&path), &[b'x'; 1 << 20], 0o600).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write(&path, b"old", 0o600).unwrap();
        let status = Command::new("sh")
            .args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(name)
            .env("REGAUTH_TEST_FULL_DISK", &path)
            .output()
            .unwrap();
        assert!(
            String::from_utf8_lossy(&status.stdout).contains("1 passed"),
            "{status:?}"
        );
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["f"]);
    }
}
