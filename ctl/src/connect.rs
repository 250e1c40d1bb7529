//! Finds the daemon that a command talks to, and what diagnoses it when it stays silent.
//!
//! [`Client`] knows nothing of service managers: this module gives it the [`service`](crate::service)'s diagnosis.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

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

/// Client of the user's own daemon.
///
/// A daemon with a home folder of its own was not started by a service manager, so nothing diagnoses it.
pub(crate) fn user_daemon(folders: &Folders) -> Client {
    let client = Client::new(folders);
    match folders.home {
        Some(_) => client,
        None => client.diagnosed_by(|| Installation::User.diagnose()),
    }
}

/// Client of the machine's daemon.
pub(crate) fn system_daemon() -> Client {
    let folders = Folders::of_the_system();
    Client::of_system(&folders).diagnosed_by(|| Installation::System.diagnose())
}
