//! Chooses the daemon that a command talks to, and what diagnoses it when it stays silent.
//!
//! [`Client`] knows nothing of service managers: this module gives it the [`service`](crate::service)'s diagnosis.

use regauth_shared::paths::Folders;

use crate::client::Client;
use crate::service::Installation;

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
