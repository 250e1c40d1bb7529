//! The folders of an installation: made private, checked, and owned by one daemon at a time.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regauth_shared::paths::Folders;
use rustix::fs::{FlockOperation, flock};

/// Makes the folders that are missing, 0700, and refuses those that others own or may enter. `open_to_group`: the run
/// folder may let its group in, to a control socket that a service manager made for it.
///
/// # Errors
/// [`HomeError`] with what to do.
pub fn prepare(folders: &Folders, open_to_group: bool) -> Result<(), HomeError> {
    let run_is_open_to = if open_to_group { GROUP_ENTERS } else { 0 };
    for (folder, may) in [
        (&folders.config, 0),
        (&folders.state, 0),
        (&folders.run, run_is_open_to),
    ] {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|error| HomeError::Create {
                folder: folder.clone(),
                error,
            })?;
        check(folder, may)?;
    }
    Ok(())
}

fn check(folder: &Path, may: u32) -> Result<(), HomeError> {
    let metadata = folder.metadata().map_err(|error| HomeError::Create {
        folder: folder.to_path_buf(),
        error,
    })?;
    let ours = rustix::process::geteuid().as_raw();
    if metadata.uid() != ours {
        return Err(HomeError::Owner {
            folder: folder.to_path_buf(),
            owner: metadata.uid(),
            ours,
        });
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 & !may != 0 {
        return Err(HomeError::Mode {
            folder: folder.to_path_buf(),
            mode,
        });
    }
    Ok(())
}

/// Refuses a file that others own or may change.
///
/// # Errors
/// [`HomeError`] with what to do.
pub fn check_file(file: &Path) -> Result<(), HomeError> {
    let Ok(metadata) = file.metadata() else { return Ok(()) };
    let ours = rustix::process::geteuid().as_raw();
    // A system's configuration is root's, as /etc is.
    if metadata.uid() != ours && metadata.uid() != 0 {
        return Err(HomeError::Owner {
            folder: file.to_path_buf(),
            owner: metadata.uid(),
            ours,
        });
    }
    if metadata.mode() & 0o022 != 0 {
        return Err(HomeError::Writable {
            file: file.to_path_buf(),
            mode: metadata.mode() & 0o777,
        });
    }
    Ok(())
}

/// The proof that no other daemon uses the same folders; released when dropped, by the kernel if need be.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`HomeError::Taken`] with the other daemon's process id.
    pub fn take(folders: &Folders) -> Result<Self, HomeError> {
        let path = folders.lock();
        let unusable = |error| HomeError::Create {
            folder: path.clone(),
            error,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(unusable)?;
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(HomeError::Taken {
                folder: folders.run.clone(),
                pid: pid.trim().to_owned(),
            });
        }
        // For people to read; a full disk must not keep a daemon from starting that needs to write nothing else.
        let record = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        let _ = record(&mut file);
        Ok(Self { _file: file })
    }

    /// Takes the lock of a daemon that has just been asked to end, and needs a moment to give the home up.
    ///
    /// # Errors
    /// As [`Lock::take`], after that moment.
    pub async fn take_over(folders: &Folders) -> Result<Self, HomeError> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::take(folders) {
                Err(HomeError::Taken { .. }) if Instant::now() < deadline => tokio::time::sleep(PATIENCE / 20).await,
                other => return other,
            }
        }
    }
}

/// Why the folders cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// It cannot be made or read.
    #[error("cannot use {}: {error}; make it a folder of your own, or choose another with --home", folder.display())]
    Create {
        /// The folder or file.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It belongs to someone else.
    #[error(
        "{} belongs to user {owner}, not to user {ours}; run as its owner, or choose another folder with --home",
        folder.display()
    )]
    Owner {
        /// The folder.
        folder: PathBuf,
        /// Whose it is.
        owner: u32,
        /// Who we are.
        ours: u32,
    },
    /// Others may enter it.
    #[error("others may enter {} (mode {mode:04o}); run `chmod 700 {}`", folder.display(), folder.display())]
    Mode {
        /// The folder.
        folder: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may change it.
    #[error("others may change {} (mode {mode:04o}); run `chmod 600 {}`", file.display(), file.display())]
    Writable {
        /// The file.
        file: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another daemon uses it.
    #[error(
        "another regauthd{} runs with {}; `regauthctl status` asks it, `regauthctl stop` ends it",
        if pid.is_empty() { String::new() } else { format!(" (process {pid})") },
        folder.display()
    )]
    Taken {
        /// The run folder.
        folder: PathBuf,
        /// The other daemon's process id.
        pid: String,
    },
}

const GROUP_ENTERS: u32 = 0o050;
/// How long another daemon may take to give up the home.
const PATIENCE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn folders_are_private_and_held_by_one_daemon() {
        let home = tempfile::tempdir().unwrap();
        let folders = Folders::below(&home.path().join("regauth"));
        prepare(&folders, false).unwrap();
        assert_eq!(folders.state.metadata().unwrap().mode() & 0o777, 0o700);
        let lock = Lock::take(&folders).unwrap();
        let error = Lock::take(&folders).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        Lock::take(&folders).unwrap();
    }

    #[test]
    fn a_folder_that_others_may_enter_is_refused() {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = prepare(&Folders::below(home.path()), false).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }
}
