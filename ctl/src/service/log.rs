//! Destination of the daemon's log: the journal, a file, or something that only its starter can read.

use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::command::to_words;
use super::launchd;
use super::state::Installation;

/// Destination of the daemon's log, where it can be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LogDestination {
    /// The systemd journal: arguments of `journalctl` that select the daemon's lines.
    Journal(Vec<String>),
    /// A file.
    File(PathBuf),
}

impl LogDestination {
    /// True if this user may read it. `journalctl` itself would show an empty log to a user who has a journal of their own.
    pub(crate) fn is_readable(&self) -> bool {
        let readable = |file: &Path| rustix::fs::access(file, Access::READ_OK).is_ok();
        match self {
            Self::Journal(_) => JOURNALS
                .iter()
                .any(|folder| journals_in(folder).any(|file| readable(&file))),
            Self::File(file) => readable(file),
        }
    }
}

/// Journal of the system in each machine's folder; members of `systemd-journal` and `adm` may read it.
fn journals_in(folder: &str) -> impl Iterator<Item = PathBuf> {
    let machines = fs::read_dir(folder).into_iter().flatten().flatten();
    machines.map(|machine| machine.path().join("system.journal"))
}

impl Installation {
    /// Destination of the log of a daemon that the service manager starts; `None` if the installation has none.
    pub(crate) fn log_destination(self) -> Option<LogDestination> {
        if cfg!(target_os = "macos") {
            return launchd::log_file(self).ok().map(LogDestination::File);
        }
        Some(LogDestination::Journal(match self {
            Self::User => to_words(&["--user", "--unit=regauthd.service"]),
            Self::System => to_words(&["--unit=regauthd.service"]),
        }))
    }
}

/// Standard error of a running daemon: the file, or what it is instead.
///
/// # Errors
/// The description of what is no file.
pub(crate) fn of_process(pid: u32) -> Result<LogDestination, String> {
    let link = PathBuf::from(format!("/proc/{pid}/fd/2"));
    let target = fs::read_link(&link).map_err(|_| "standard error of the program that started it".to_owned())?;
    let kind = fs::metadata(&link).map(|metadata| metadata.file_type());
    match kind {
        Ok(kind) if kind.is_file() && target.exists() => Ok(LogDestination::File(target)),
        Ok(kind) if kind.is_file() => Err("a file that was deleted".to_owned()),
        Ok(kind) if kind.is_char_device() && target == Path::new("/dev/null") => Err("/dev/null".to_owned()),
        Ok(kind) if kind.is_char_device() => Err(format!("the terminal {}", target.display())),
        _ => Err("a pipe or socket of the program that started it".to_owned()),
    }
}

/// Folders of journals: those on disk, and those in memory.
const JOURNALS: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    fn place(stderr: impl Into<Stdio>) -> Result<LogDestination, String> {
        let mut child = Command::new("sleep").arg("60").stderr(stderr).spawn().unwrap();
        let place = of_process(child.id());
        child.kill().unwrap();
        child.wait().unwrap();
        place
    }

    #[test]
    fn finds_the_file_that_standard_error_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = fs::canonicalize(folder.path()).unwrap().join("regauthd.log");
        let file = fs::File::create(&path).unwrap();
        assert_eq!(place(file.try_clone().unwrap()), Ok(LogDestination::File(path.clone())));
        fs::remove_file(&path).unwrap();
        assert_eq!(place(file), Err("a file that was deleted".to_owned()));
    }

    #[test]
    fn says_what_is_no_file() {
        assert_eq!(place(Stdio::null()), Err("/dev/null".to_owned()));
        assert!(place(Stdio::piped()).unwrap_err().contains("pipe"));
        assert!(of_process(u32::MAX).is_err());
    }
}
