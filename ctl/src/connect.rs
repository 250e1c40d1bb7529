//! Finds the daemon that a command talks to, and what diagnoses it when it stays silent.
//!
//! [`Client`] knows nothing of service managers: this module gives it the [`service`](crate::service)'s diagnosis.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use regauth_shared::paths::Folders;
use regauth_shared::{ErrorBody, ErrorKind};

use crate::client::Client;
use crate::error;
use crate::service::Installation;

/// Folders of the user's daemon, by `--home` or the environment. If no control socket is where this environment says, and
/// another possible place has one, that counts.
///
/// # Errors
/// Not even `HOME` is set.
pub(crate) fn folders(home: Option<&Path>) -> Result<Folders, ErrorBody> {
    let resolved = Folders::resolve(home, |name| std::env::var_os(name));
    let mut folders = resolved.map_err(|error| error::usage(error.to_string()))?;
    let candidates = folders.run_candidates(rustix::process::getuid().as_raw()).into_iter();
    let socket = |run: &PathBuf| {
        Folders {
            run: run.clone(),
            ..folders.clone()
        }
        .socket()
    };
    let with_socket: Vec<_> = candidates.filter(|run| socket(run).exists()).collect();
    // Several may be left over. A daemon listens on one.
    let found = match with_socket.as_slice() {
        [] | [_] => with_socket.first(),
        several => several.iter().find(|run| UnixStream::connect(socket(run)).is_ok()),
    };
    if let Some(run) = found {
        folders.run.clone_from(run);
    }
    Ok(folders)
}

/// Client of this machine's guarded daemon if it serves the user, else of the user's own daemon.
///
/// The guarded daemon comes first: a program of the user can put a socket where the user's own daemon would have one, and
/// wait for a token. A daemon with a home folder of its own was not started by a service manager, so nothing diagnoses it.
pub(crate) fn user_daemon(folders: &Folders) -> Client {
    if folders.home.is_some() {
        return Client::new(folders);
    }
    guarded_daemon().unwrap_or_else(|| Client::new(folders).diagnosed_by(|| Installation::User.diagnose()))
}

/// Client of the machine's daemon.
pub(crate) fn system_daemon() -> Client {
    let folders = Folders::of_the_system();
    Client::of_system(&folders).diagnosed_by(|| Installation::System.diagnose())
}

/// Client of the guarded daemon; `None` if there is none, or if it does not serve this user.
pub(crate) fn guarded_daemon() -> Option<Client> {
    let folders = Folders::of_the_system();
    if !is_open_to_everybody(&folders.socket()) {
        return None;
    }
    let client = Client::of_guarded(&folders).diagnosed_by(|| Installation::System.diagnose());
    // Other errors are reported when the verb calls the daemon.
    let is_refused = client.ping().is_err_and(|error| error.kind == ErrorKind::Refused);
    (!is_refused).then_some(client)
}

/// The guarded daemon checks each user itself. The socket of the machine's daemon is for a group, and nobody but root can
/// make a socket in its folder.
fn is_open_to_everybody(socket: &Path) -> bool {
    const EVERYBODY: u32 = 0o006;
    let metadata = socket.symlink_metadata();
    metadata.is_ok_and(|metadata| metadata.file_type().is_socket() && metadata.mode() & EVERYBODY == EVERYBODY)
}
