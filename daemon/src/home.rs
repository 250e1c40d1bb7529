//! Folders of an installation: created private, checked, and locked by one daemon at a time.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use regauth_shared::paths::Folders;

/// Creates missing folders with mode 0700. Rejects folders of another user and folders that others may enter, except
/// that the run folder may have the permission bits `run_may_allow`, for a control socket that others may use. Records the
/// folders that it creates in `created`, also if it fails.
///
/// # Errors
/// [`HomeError`] with what to do.
pub fn prepare(folders: &Folders, run_may_allow: u32, created: &mut CreatedFolders) -> Result<(), HomeError> {
    for (folder, allowed) in [(&folders.config, 0), (&folders.state, 0), (&folders.run, run_may_allow)] {
        created.create(folder).map_err(|error| HomeError::Create {
            folder: folder.clone(),
            error,
        })?;
        check_folder(folder, allowed)?;
    }
    Ok(())
}

/// Rejects existing folders that [`prepare`] would reject. Creates nothing.
///
/// # Errors
/// [`HomeError`] with what to do.
pub fn check(folders: &Folders) -> Result<(), HomeError> {
    let existing = [&folders.config, &folders.state, &folders.run].into_iter();
    let mut existing = existing.filter(|folder| folder.exists());
    existing.try_for_each(|folder| check_folder(folder, 0))
}

/// Folders that this process created, the outermost first. They stay when the value is dropped, unless it is
/// [temporary](Self::temporary).
#[derive(Debug, Default)]
pub struct CreatedFolders {
    folders: Vec<PathBuf>,
    is_temporary: bool,
}

impl CreatedFolders {
    /// Folders that are removed on drop. Only empty folders are removed, so no file of anybody else is lost.
    pub fn temporary() -> Self {
        Self {
            folders: Vec::new(),
            is_temporary: true,
        }
    }

    /// Adds a folder that somebody else created for this process alone.
    pub fn adopt(&mut self, folder: PathBuf) {
        self.folders.push(folder);
    }

    fn create(&mut self, folder: &Path) -> io::Result<()> {
        if folder.exists() && !folder.is_dir() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let missing: Vec<&Path> = folder.ancestors().take_while(|folder| !folder.exists()).collect();
        for folder in missing
            .into_iter()
            .rev()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            match DirBuilder::new().mode(0o700).create(folder) {
                Ok(()) => self.folders.push(folder.to_owned()),
                // Another process was faster, so the folder is not ours to remove.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for CreatedFolders {
    fn drop(&mut self) {
        for folder in self.folders.iter().rev().filter(|_| self.is_temporary) {
            let _ = std::fs::remove_dir(folder);
        }
    }
}

fn check_folder(folder: &Path, allowed: u32) -> Result<(), HomeError> {
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
    if mode & 0o077 & !allowed != 0 {
        return Err(HomeError::Mode {
            folder: folder.to_path_buf(),
            mode,
        });
    }
    Ok(())
}

/// Rejects a file that another user owns or may change.
///
/// # Errors
/// [`HomeError`] with what to do.
pub fn check_file(file: &Path) -> Result<(), HomeError> {
    let Ok(metadata) = file.metadata() else { return Ok(()) };
    let ours = rustix::process::geteuid().as_raw();
    // Root owns the configuration of a system service, as it owns /etc.
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

/// Lock that keeps a second daemon from using the same folders. The kernel releases it when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
    path: PathBuf,
    /// True if this process created the lock file.
    is_new: bool,
}

impl Lock {
    /// Takes the lock, or fails at once.
    ///
    /// # Errors
    /// [`HomeError::Taken`] with the other daemon's process id.
    pub fn take(folders: &Folders) -> Result<Self, HomeError> {
        let path = folders.lock();
        let unusable = |error| HomeError::Create {
            folder: path.clone(),
            error,
        };
        let mut options = OpenOptions::new();
        options.read(true).write(true).truncate(false).mode(0o600);
        let (mut file, is_new) = match options.clone().create_new(true).open(&path) {
            Ok(file) => (file, true),
            Err(_) => (options.create(true).open(&path).map_err(unusable)?, false),
        };
        if let Err(error) = file.try_lock() {
            if let TryLockError::Error(error) = error {
                return Err(unusable(error));
            }
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);
            return Err(HomeError::Taken {
                folder: folders.run.clone(),
                pid: pid.trim().to_owned(),
            });
        }
        // The process id is for people. On a full disk, a daemon that needs to write nothing else still starts.
        let record = |file: &mut File| -> io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        let _ = record(&mut file);
        Ok(Self {
            _file: file,
            path,
            is_new,
        })
    }

    /// Path of the lock file, if this process created it.
    pub fn created_file(&self) -> Option<&Path> {
        self.is_new.then_some(&*self.path)
    }

    /// Takes the lock, and waits up to a second for another daemon that is stopping to release it.
    ///
    /// # Errors
    /// As [`Lock::take`], after that second.
    pub async fn take_over(folders: &Folders) -> Result<Self, HomeError> {
        let deadline = Instant::now() + TAKE_OVER_TIMEOUT;
        loop {
            match Self::take(folders) {
                Err(HomeError::Taken { .. }) if Instant::now() < deadline => {
                    tokio::time::sleep(TAKE_OVER_TIMEOUT / 20).await
                }
                other => return other,
            }
        }
    }
}

/// Error of preparing the folders. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Folder or file that cannot be created or read.
    #[error("cannot use {}: {error}; make it a folder of your own, or choose another with --home", folder.display())]
    Create {
        /// Path of the folder or file.
        folder: PathBuf,
        /// Error of the system.
        error: io::Error,
    },
    /// Folder or file of another user.
    #[error(
        "{} belongs to user {owner}, not to user {ours}; run as its owner, or choose another folder with --home",
        folder.display()
    )]
    Owner {
        /// Path of the folder.
        folder: PathBuf,
        /// User id of the owner.
        owner: u32,
        /// User id of the daemon.
        ours: u32,
    },
    /// Folder that others may enter.
    #[error("others may enter {} (mode {mode:04o}); run `chmod 700 {}`", folder.display(), folder.display())]
    Mode {
        /// Path of the folder.
        folder: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// File that others may change.
    #[error("others may change {} (mode {mode:04o}); run `chmod 600 {}`", file.display(), file.display())]
    Writable {
        /// Path of the file.
        file: PathBuf,
        /// Permission bits.
        mode: u32,
    },
    /// Folders that another daemon uses.
    #[error(
        "another regauthd{} is using {}; `regauthctl status` shows it, `regauthctl stop` stops it",
        if pid.is_empty() { String::new() } else { format!(" (process {pid})") },
        folder.display()
    )]
    Taken {
        /// Run folder.
        folder: PathBuf,
        /// Process id of the other daemon, if its lock file says.
        pid: String,
    },
}

/// Time that a stopping daemon may take to release the lock.
const TAKE_OVER_TIMEOUT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn creates_private_folders_and_locks_them_for_one_daemon() {
        let home = tempfile::tempdir().unwrap();
        let folders = Folders::below(&home.path().join("regauth"));
        prepare(&folders, 0, &mut CreatedFolders::default()).unwrap();
        assert_eq!(folders.state.metadata().unwrap().mode() & 0o777, 0o700);
        let lock = Lock::take(&folders).unwrap();
        let error = Lock::take(&folders).unwrap_err().to_string();
        assert!(error.contains(&std::process::id().to_string()), "{error}");
        drop(lock);
        Lock::take(&folders).unwrap();
    }

    #[test]
    fn refuses_a_folder_that_others_may_enter() {
        let home = tempfile::tempdir().unwrap();
        std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = prepare(&Folders::below(home.path()), 0, &mut CreatedFolders::default());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
    }

    #[test]
    fn temporary_folders_end_with_their_process_and_keep_what_others_put_there() {
        let parent = tempfile::tempdir().unwrap();
        let (home, state) = (parent.path().join("a/b"), parent.path().join("a/b/state"));
        let folders = Folders::below(&home);
        let mut created = CreatedFolders::temporary();
        prepare(&folders, 0, &mut created).unwrap();
        drop(created);
        assert!(!parent.path().join("a").exists());

        std::fs::create_dir_all(&home).unwrap();
        std::fs::set_permissions(&home, std::fs::Permissions::from_mode(0o700)).unwrap();
        let mut created = CreatedFolders::temporary();
        prepare(&folders, 0, &mut created).unwrap();
        std::fs::write(state.join("precious"), "x").unwrap();
        drop(created);
        assert!(home.is_dir() && state.join("precious").is_file() && !home.join("run").exists());
    }
}
