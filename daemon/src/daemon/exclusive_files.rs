//! Files that only one daemon of a home can have: taken at the start, released before the last connections end.

use std::io;
use std::path::PathBuf;

use regauth_shared::paths::Folders;
use tokio::net::UnixListener;

use super::{Options, StartError};
use crate::atomic;
use crate::control::server::ControlClients;
use crate::home::{self, CreatedFolders, Lock};
use crate::inherited_sockets;

/// Files that only one daemon of a home can have. Dropped at the start of the drain, so that the next daemon can start
/// while the last connections finish.
#[derive(Debug)]
pub(super) struct ExclusiveFiles {
    /// Files to remove. A file that was there before comes with its contents, which are put back.
    files: Vec<(PathBuf, Option<Vec<u8>>)>,
    _lock: Lock,
    /// Dropped after the lock, whose file is in one of them.
    _folders: CreatedFolders,
}

impl ExclusiveFiles {
    /// Prepares and locks the folders. At the end the bundles of an ephemeral daemon are removed. A daemon that ends with
    /// its parent also removes the lock file and the folders that it created.
    pub(super) async fn take(
        folders: &Folders,
        options: &Options,
        clients: &ControlClients,
    ) -> Result<Self, StartError> {
        let mut created = created_folders(options);
        home::prepare(folders, clients.folder_mode(), &mut created)?;
        let lock = Lock::take_over(folders).await?;
        let lock_file = lock.created_file().filter(|_| options.until_eof);
        let lock_file = lock_file.map(|file| (file.to_owned(), None));
        let bundles = [folders.bundle(), folders.java_trust_store()].into_iter();
        let bundles = bundles
            .filter(|_| options.ephemeral)
            .filter_map(|bundle| match std::fs::read(&bundle) {
                Ok(before) => Some((bundle, Some(before))),
                Err(error) => (error.kind() == io::ErrorKind::NotFound).then_some((bundle, None)),
            });
        Ok(Self {
            files: bundles.chain(lock_file).collect(),
            _lock: lock,
            _folders: created,
        })
    }

    /// Binds the control socket, which is removed at the end. An inherited socket stays.
    pub(super) fn control_socket(
        &mut self,
        inherited: Option<std::os::unix::net::UnixListener>,
        folders: &Folders,
        clients: &ControlClients,
    ) -> Result<UnixListener, StartError> {
        let (path, is_own) = (folders.socket(), inherited.is_none());
        let control = inherited_sockets::control(inherited, &path, clients.socket_mode());
        let control = control.map_err(|error| StartError::Socket(path.clone(), error))?;
        self.files.extend(is_own.then_some((path, None)));
        Ok(control)
    }
}

impl Drop for ExclusiveFiles {
    fn drop(&mut self) {
        // The lock is released last. Until then no other daemon can have made these files.
        for (file, before) in &self.files {
            let _ = match before {
                Some(before) if std::fs::read(file).is_ok_and(|now| now == *before) => Ok(()),
                Some(before) => atomic::write(file, before, BUNDLE_MODE),
                None => std::fs::remove_file(file),
            };
        }
    }
}

fn created_folders(options: &Options) -> CreatedFolders {
    if !options.until_eof {
        return CreatedFolders::default();
    }
    let mut created = CreatedFolders::temporary();
    if let Some(home) = options.home.clone().filter(|_| options.home_is_temporary) {
        created.adopt(home);
    }
    created
}

/// Permission bits of the bundles, which other users' clients read.
const BUNDLE_MODE: u32 = 0o644;
