//! Owner of the control socket: the user whose program listens on it, by the kernel's word.
//!
//! A request may hold a token. Another user can put a socket where this program looks, for example below a `--home` in a
//! shared folder, so [`Client`](crate::client::Client) checks the owner of each connection before it sends a byte. The
//! kernel records the owner when a program starts to listen. For a socket of systemd or launchd that is root, or this
//! user's own service manager.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;

use nix::unistd::{Uid, User};
use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

use crate::error;

/// Users whose sockets may get requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TrustedOwners {
    /// This process's effective user and root.
    OwnUserAndRoot,
    /// Also the owner of the socket's folder. Only for the machine's daemon: its folder lies where root alone creates one.
    AlsoOwnerOfFolder,
}

impl TrustedOwners {
    /// Checks a connection to `socket`, before a byte is sent.
    ///
    /// # Errors
    /// Another user listens on the socket, or the kernel does not say which user does.
    pub(crate) fn check(self, stream: &UnixStream, socket: &Path, folders: &Folders) -> Result<(), ErrorBody> {
        let owner = peer(stream).map_err(|error| unknown_owner(socket, error))?;
        let own = Uid::effective();
        let of_folder = match self {
            Self::OwnUserAndRoot => None,
            Self::AlsoOwnerOfFolder => owner_of_folder(socket),
        };
        if is_trusted(owner, own, of_folder) {
            return Ok(());
        }
        let name = User::from_uid(owner).ok().flatten().map(|user| user.name);
        Err(foreign_socket(socket, &Owner { uid: owner, name }, own, folders))
    }
}

fn is_trusted(owner: Uid, own: Uid, of_folder: Option<Uid>) -> bool {
    owner == own || owner.is_root() || Some(owner) == of_folder
}

/// Owner of the folder itself, not of what a symbolic link leads to.
fn owner_of_folder(socket: &Path) -> Option<Uid> {
    let folder = socket.parent()?.symlink_metadata().ok()?;
    folder.is_dir().then(|| Uid::from_raw(folder.uid()))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn peer(stream: &UnixStream) -> io::Result<Uid> {
    use nix::sys::socket::getsockopt;
    use nix::sys::socket::sockopt::PeerCredentials;
    Ok(Uid::from_raw(getsockopt(stream, PeerCredentials)?.uid()))
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn peer(stream: &UnixStream) -> io::Result<Uid> {
    Ok(nix::unistd::getpeereid(stream)?.0)
}

/// A user, by name if the system knows one.
struct Owner {
    uid: Uid,
    name: Option<String>,
}

impl fmt::Display for Owner {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(formatter, "{name} (user {})", self.uid),
            None => write!(formatter, "user {}", self.uid),
        }
    }
}

fn foreign_socket(socket: &Path, owner: &Owner, own: Uid, folders: &Folders) -> ErrorBody {
    let message = format!(
        "the control socket {} belongs to {owner}, and you are user {own}; nothing was sent, because its owner could \
         keep every token that you give it",
        socket.display()
    );
    let own_folder = "if you want a daemon of your own, start it in a folder that only you can write: regauthd --home \
                      DIR, then regauthctl --home DIR";
    // Without a name there is no account to become, for example a user of another container.
    let hint = match &owner.name {
        Some(name) if own.is_root() => {
            let home = folders.home.as_ref().map(|home| format!(" --home {}", home.display()));
            format!(
                "if you want that user's daemon, act as that user: sudo -u {name} regauthctl{} status; {own_folder}",
                home.unwrap_or_default()
            )
        }
        _ => own_folder.to_owned(),
    };
    error::refused(message).hint(hint)
}

fn unknown_owner(socket: &Path, error: io::Error) -> ErrorBody {
    error::refused(format!(
        "the system does not say which user listens on the control socket {}: {error}; nothing was sent",
        socket.display()
    ))
    .hint("run regauthctl outside of a sandbox, as the user that regauthd runs as")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: Uid = Uid::from_raw(1000);
    const OTHER: Uid = Uid::from_raw(1001);
    const ROOT: Uid = Uid::from_raw(0);

    #[test]
    fn trusts_its_own_user_root_and_the_owner_of_the_machines_folder() {
        for (owner, own, of_folder, expected) in [
            (OWN, OWN, None, true),
            (ROOT, OWN, None, true),
            (OTHER, OWN, None, false),
            (OTHER, OWN, Some(OTHER), true),
            (OTHER, OWN, Some(ROOT), false),
            // Root is no exception: it would give another user its tokens.
            (OTHER, ROOT, None, false),
        ] {
            assert_eq!(
                is_trusted(owner, own, of_folder),
                expected,
                "{owner} {own} {of_folder:?}"
            );
        }
    }

    #[test]
    fn the_refusal_names_the_owner_and_the_next_command() {
        let folders = Folders::below(Path::new("/tmp/try"));
        let refusal = |name: Option<&str>, own| {
            let owner = Owner {
                uid: OTHER,
                name: name.map(str::to_owned),
            };
            foreign_socket(&folders.socket(), &owner, own, &folders)
        };
        let of_root = refusal(Some("eve"), ROOT);
        assert!(of_root.message.contains("belongs to eve (user 1001)"), "{of_root:?}");
        let hint = of_root.hint.unwrap();
        assert!(hint.contains("sudo -u eve regauthctl --home /tmp/try status"), "{hint}");
        let of_user = refusal(None, OWN);
        assert!(of_user.message.contains("belongs to user 1001"), "{of_user:?}");
        assert!(!of_user.hint.unwrap().contains("sudo"));
    }
}
