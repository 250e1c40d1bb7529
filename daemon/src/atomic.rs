//! Files that change in one step: a kill or a power cut at any moment leaves the old file or the new one, whole.
//!
//! A new file is written beside the old one, reaches the disk, and takes the old one's name; then the folder, which
//! holds the name, reaches the disk too. Who may write which file when is the caller's affair.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Creates or replaces a file with the given bytes and mode, whatever the umask. A symbolic link stays one: what it
/// points to is replaced.
///
/// # Errors
/// Whatever the file system says: no space, no folder, no permission. The old file is untouched then and nothing is
/// left behind; only if the last step fails, bringing the folder to the disk, the new file is in place already.
pub fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // People keep their configuration in a repository and link to it.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    put(&path, bytes, mode, Until::Forever, |draft| fs::rename(draft, &path))
}

/// The same for a file that goes with the process: it is whole at any moment too, but nobody waits for the disk.
///
/// # Errors
/// As [`write`].
pub fn write_passing(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    put(path, bytes, mode, Until::End, |draft| fs::rename(draft, path))
}

/// The same for a file that must not exist yet, such as a key that nothing can replace.
///
/// # Errors
/// As [`write`]; [`io::ErrorKind::AlreadyExists`] when there is a file of that name.
pub fn create(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    // A link, other than a rename, refuses to replace what is there.
    put(path, bytes, mode, Until::Forever, |draft| {
        fs::hard_link(draft, path)?;
        fs::remove_file(draft)
    })
}

/// Removes a file for good: the folder without it has reached the disk. One that does not exist is removed already.
///
/// # Errors
/// Whatever the file system says.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(()) => File::open(folder_of(path))?.sync_all(),
    }
}

/// How long a file is for.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    /// A power cut is survived.
    Forever,
    /// The end of this process.
    End,
}

fn put(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    until: Until,
    publish: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder_of(path);
    let prefix = draft_prefix(path)?;
    remove_orphans(folder, &prefix);
    let (draft, file) = open_draft(folder, &prefix)?;
    let written = fill(file, bytes, mode, until).and_then(|()| publish(&draft));
    if let Err(error) = written {
        // The first error is the one to tell; a draft that stays is removed by a later write.
        let _ = fs::remove_file(&draft);
        return Err(error);
    }
    sync(&File::open(folder)?, until)
}

/// A draft's name is its own, so that two writers never share one.
fn open_draft(folder: &Path, prefix: &OsString) -> io::Result<(PathBuf, File)> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    loop {
        let mut name = prefix.clone();
        name.push(format!("{}-{}", process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
        let draft = folder.join(name);
        match OpenOptions::new().write(true).create_new(true).mode(0o600).open(&draft) {
            Ok(file) => return Ok((draft, file)),
            // In a container every daemon has the same process id; this one's predecessor was killed while writing.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

fn fill(mut file: File, bytes: &[u8], mode: u32, until: Until) -> io::Result<()> {
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    sync(&file, until)
}

fn sync(file: &File, until: Until) -> io::Result<()> {
    match until {
        Until::Forever => file.sync_all(),
        Until::End => Ok(()),
    }
}

/// Removes what killed writers left. Only the old: a young draft may be somebody's who is still writing. As good as it
/// gets; the write itself tells what is wrong with the folder.
fn remove_orphans(folder: &Path, prefix: &OsString) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let is_draft = name.as_encoded_bytes().starts_with(prefix.as_encoded_bytes());
        let age = entry
            .metadata()
            .and_then(|data| data.modified())
            .map(|time| time.elapsed());
        if is_draft && matches!(age, Ok(Ok(age)) if age > ORPHAN_AGE) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

fn draft_prefix(path: &Path) -> io::Result<OsString> {
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

const ORPHAN_AGE: Duration = Duration::from_secs(60);

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
    fn replaces_with_the_mode_asked_for_and_leaves_nothing_else() {
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
    fn removes_drafts_of_the_killed_but_not_of_the_living() {
        let folder = tempfile::tempdir().unwrap();
        let (orphan, young) = (folder.path().join(".f.draft-1-0"), folder.path().join(".f.draft-1-1"));
        let old = SystemTime::now() - ORPHAN_AGE * 2;
        File::create(&orphan).unwrap().set_modified(old).unwrap();
        File::create(&young).unwrap();
        write(&folder.path().join("f"), b"", 0o600).unwrap();
        assert_eq!(names(folder.path()), [".f.draft-1-1", "f"]);
    }

    #[test]
    fn a_failure_leaves_no_draft() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        fs::create_dir(&path).unwrap();
        assert!(write(&path, b"x", 0o600).is_err());
        assert_eq!(names(folder.path()), ["f"]);
        assert!(write(&folder.path().join("none/f"), b"x", 0o600).is_err());
    }

    #[test]
    fn removes_once_and_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        write(&path, b"x", 0o600).unwrap();
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(names(folder.path()).is_empty());
    }

    /// A limit on the file size is a full disk that a test can have: the write stops in the middle.
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
