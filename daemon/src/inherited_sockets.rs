//! The listeners: those that a service manager made before us and keeps after us, or our own.
//!
//! Under socket activation (sd_listen_fds(3), launchd's `launch_activate_socket`) the port and the control socket are open
//! while no daemon runs: who connects meanwhile waits, so a restart refuses nobody. Either may be passed without the
//! other. What is passed is checked as what we make ourselves is, and never removed: it is not ours.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use regauth_shared::response::{SocketOrigin, Sockets};

/// What a service manager passed.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// The proxy's port.
    pub proxy: Option<TcpListener>,
    /// The control socket.
    pub control: Option<UnixListener>,
}

impl InheritedSockets {
    /// Takes what was passed, by the names `proxy` and `control`; another name counts for nothing, and the kind of socket
    /// says what it is for. To be called once, while the process has one thread: the environment changes.
    ///
    /// # Errors
    /// [`InheritedSocketsError`] when something else was passed than we can use.
    pub fn take() -> Result<Self, InheritedSocketsError> {
        let passed = manager::take()?;
        if let Some(listener) = &passed.proxy {
            listener
                .set_nonblocking(true)
                .map_err(InheritedSocketsError::Unusable)?;
        }
        if let Some(listener) = &passed.control {
            listener
                .set_nonblocking(true)
                .map_err(InheritedSocketsError::Unusable)?;
        }
        Ok(passed)
    }

    /// Which of the listeners were passed.
    pub fn origins(&self) -> Sockets {
        let origin = |passed| {
            if passed {
                SocketOrigin::Passed
            } else {
                SocketOrigin::Own
            }
        };
        Sockets {
            proxy: origin(self.proxy.is_some()),
            control: origin(self.control.is_some()),
        }
    }

    /// Whether the control socket was made for a group: then the kernel asks who may connect, and its folder is open to
    /// the group as well.
    pub fn is_for_a_group(&self) -> bool {
        let path = self.control.as_ref().and_then(path_of);
        let metadata = path.and_then(|path| path.metadata().ok());
        metadata.is_some_and(|metadata| metadata.permissions().mode() & GROUP_WRITES != 0)
    }

    /// Checks the control socket: where `regauthctl` looks for it, with or without `--system`, ours or root's, closed to strangers.
    ///
    /// # Errors
    /// [`InheritedSocketsError`] with what to do.
    pub fn check_control(&self, [usual, of_the_system]: &[PathBuf; 2]) -> Result<(), InheritedSocketsError> {
        let Some(listener) = &self.control else { return Ok(()) };
        let path = path_of(listener).ok_or(InheritedSocketsError::Nameless)?;
        let metadata = path.metadata().map_err(InheritedSocketsError::Unusable)?;
        let is_it = |there: std::fs::Metadata| (there.dev(), there.ino()) == (metadata.dev(), metadata.ino());
        if ![usual, of_the_system]
            .iter()
            .any(|path| path.metadata().is_ok_and(is_it))
        {
            return Err(InheritedSocketsError::Elsewhere {
                path,
                expected: usual.clone(),
            });
        }
        let ours = rustix::process::geteuid().as_raw();
        if ![ours, ROOT].contains(&metadata.uid()) || metadata.mode() & STRANGERS_WRITE != 0 {
            return Err(InheritedSocketsError::Open { path });
        }
        Ok(())
    }
}

/// The proxy's listener: the passed one, or one of our own on `asked`.
///
/// # Errors
/// Those of the network.
pub async fn proxy(passed: Option<TcpListener>, asked: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    match passed {
        Some(listener) => tokio::net::TcpListener::from_std(listener),
        None => tokio::net::TcpListener::bind(asked).await,
    }
}

/// The control listener: the passed one, or our own at `path`, 0600. The caller holds the lock of the run folder, so a
/// socket that lies there is a dead daemon's.
///
/// # Errors
/// Those of the file system.
pub fn control(passed: Option<UnixListener>, path: &Path) -> io::Result<tokio::net::UnixListener> {
    if let Some(listener) = passed {
        return tokio::net::UnixListener::from_std(listener);
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

fn path_of(listener: &UnixListener) -> Option<PathBuf> {
    listener.local_addr().ok()?.as_pathname().map(Path::to_path_buf)
}

fn put<T>(place: &mut Option<T>, name: &'static str, listener: T) -> Result<(), InheritedSocketsError> {
    match place.replace(listener) {
        None => Ok(()),
        Some(_) => Err(InheritedSocketsError::Twice(name)),
    }
}

#[cfg(not(target_os = "macos"))]
mod manager {
    //! systemd, and whoever speaks its protocol: descriptors from 3 on, LISTEN_FDS and LISTEN_FDNAMES.

    use std::os::fd::AsFd;

    use listenfd::ListenFd;

    use super::{CONTROL, InheritedSockets, InheritedSocketsError, PROXY, put};

    pub(super) fn take() -> Result<InheritedSockets, InheritedSocketsError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let mut passed = InheritedSockets::default();
        for index in 0..descriptors.len() {
            let name = names.next().unwrap_or_default();
            if name != PROXY
                && let Ok(Some(listener)) = descriptors.take_unix_listener(index)
            {
                check(&listener)?;
                put(&mut passed.control, CONTROL, listener)?;
            } else if name != CONTROL
                && let Ok(Some(listener)) = descriptors.take_tcp_listener(index)
            {
                check(&listener)?;
                put(&mut passed.proxy, PROXY, listener)?;
            } else {
                return Err(InheritedSocketsError::NeitherKind(name.to_owned()));
            }
        }
        Ok(passed)
    }

    fn check(listener: &impl AsFd) -> Result<(), InheritedSocketsError> {
        let listens = rustix::net::sockopt::socket_acceptconn(listener)
            .map_err(|error| InheritedSocketsError::Unusable(error.into()))?;
        if listens {
            Ok(())
        } else {
            Err(InheritedSocketsError::Deaf)
        }
    }
}

#[cfg(target_os = "macos")]
mod manager {
    //! launchd: the plist's `Sockets`, by the names `Proxy` and `Control`. Not run by launchd, or without these, there are
    //! none.

    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;

    use rustix::io::{FdFlags, fcntl_setfd};
    use service_binding::{Binding, Error, Listener};

    use super::{CONTROL, InheritedSockets, InheritedSocketsError, PROXY, put};

    pub(super) fn take() -> Result<InheritedSockets, InheritedSocketsError> {
        let mut passed = InheritedSockets::default();
        if let Some(descriptor) = descriptor("fd://Proxy", PROXY)? {
            put(&mut passed.proxy, PROXY, TcpListener::from(descriptor))?;
        }
        if let Some(descriptor) = descriptor("fd://Control", CONTROL)? {
            put(&mut passed.control, CONTROL, UnixListener::from(descriptor))?;
        }
        Ok(passed)
    }

    fn descriptor(url: &str, name: &'static str) -> Result<Option<OwnedFd>, InheritedSocketsError> {
        let binding: Binding = match url.parse() {
            Ok(binding) => binding,
            Err(Error::DescriptorsMissing) => return Ok(None),
            Err(_) => return Err(InheritedSocketsError::Twice(name)),
        };
        // The library calls every descriptor a Unix listener; what it is, is found out by its use.
        let Listener::Unix(listener) = binding.try_into().map_err(InheritedSocketsError::Unusable)? else {
            return Err(InheritedSocketsError::NeitherKind(name.to_owned()));
        };
        let descriptor = OwnedFd::from(listener);
        fcntl_setfd(&descriptor, FdFlags::CLOEXEC).map_err(|error| InheritedSocketsError::Unusable(error.into()))?;
        Ok(Some(descriptor))
    }
}

/// Why a passed socket cannot be used. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum InheritedSocketsError {
    /// Another kind of descriptor, or a name that does not fit its kind.
    #[error(
        "the service manager passed a socket `{0}` that is neither a TCP listener for the proxy nor a Unix listener for \
         control; pass the one as `proxy` and the other as `control`"
    )]
    NeitherKind(String),
    /// More than one for the same purpose.
    #[error("the service manager passed more than one `{0}` socket; pass one, of one address")]
    Twice(&'static str),
    /// Bound, but nobody listens.
    #[cfg(not(target_os = "macos"))]
    #[error("the service manager passed a socket that does not listen; pass listening stream sockets (Accept=no)")]
    Deaf,
    /// Nobody could find it.
    #[error("the control socket that the service manager passed has no path; give it one")]
    Nameless,
    /// `regauthctl` would look in vain.
    #[error(
        "the service manager passed the control socket {}, and regauthctl looks for it at {}; make the two agree",
        path.display(),
        expected.display()
    )]
    Elsewhere {
        /// Where it is.
        path: PathBuf,
        /// Where it should be.
        expected: PathBuf,
    },
    /// Other users may connect.
    #[error(
        "the control socket {} is another user's or open to every user; give it mode 0600 (SocketMode=0600), or 0660 with \
         a group",
        path.display()
    )]
    Open {
        /// Where it is.
        path: PathBuf,
    },
    /// The system does not let us.
    #[error("a socket that the service manager passed cannot be used: {0}")]
    Unusable(#[source] io::Error),
}

const PROXY: &str = "proxy";
const CONTROL: &str = "control";
const ROOT: u32 = 0;
const GROUP_WRITES: u32 = 0o020;
const STRANGERS_WRITE: u32 = 0o002;
