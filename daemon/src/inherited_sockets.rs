//! Listeners: inherited from a service manager, or bound by the daemon.
//!
//! With socket activation (sd_listen_fds(3), launchd's `launch_activate_socket`), the proxy port and the control socket
//! stay open while no daemon runs. Clients that connect meanwhile wait, so a restart refuses no connection. Either
//! socket may be inherited without the other. An inherited socket is checked like one of our own, and never removed.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use regauth_shared::response::{SocketOrigin, Sockets};

/// Sockets inherited from a service manager.
#[derive(Debug, Default)]
pub struct InheritedSockets {
    /// Listener of the proxy.
    pub proxy: Option<TcpListener>,
    /// Listener of the proxy with TLS.
    pub proxy_tls: Option<TcpListener>,
    /// Control socket.
    pub control: Option<UnixListener>,
}

impl InheritedSockets {
    /// Takes the inherited sockets named `proxy`, `proxy-tls` and `control`. With another name, the kind of socket decides
    /// between the first and the last. Call it once, while the process has one thread, because it changes the environment.
    ///
    /// # Errors
    /// [`InheritedSocketsError`] for a socket that cannot be used.
    pub fn take() -> Result<Self, InheritedSocketsError> {
        let sockets = manager::take()?;
        for listener in sockets.proxy.iter().chain(&sockets.proxy_tls) {
            listener
                .set_nonblocking(true)
                .map_err(InheritedSocketsError::Unusable)?;
        }
        if let Some(listener) = &sockets.control {
            listener
                .set_nonblocking(true)
                .map_err(InheritedSocketsError::Unusable)?;
        }
        Ok(sockets)
    }

    /// Origin of each listener, for `status`.
    pub fn origins(&self) -> Sockets {
        let origin = |is_inherited| {
            if is_inherited {
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

    /// Is the control socket writable for a group? Then the kernel decides who may connect, and the run folder is open
    /// to the group too.
    pub fn is_for_a_group(&self) -> bool {
        let path = self.control.as_ref().and_then(path_of);
        let metadata = path.and_then(|path| path.metadata().ok());
        metadata.is_some_and(|metadata| metadata.permissions().mode() & GROUP_WRITES != 0)
    }

    /// Checks the control socket. It must be at one of the two paths where `regauthctl` looks (without and with
    /// `--system`), belong to this user or root, and be closed to other users, unless the daemon is guarded.
    ///
    /// # Errors
    /// [`InheritedSocketsError`], each with what to do.
    pub fn check_control(
        &self,
        [user_path, system_path]: &[PathBuf; 2],
        is_guarded: bool,
    ) -> Result<(), InheritedSocketsError> {
        let Some(listener) = &self.control else { return Ok(()) };
        let path = path_of(listener).ok_or(InheritedSocketsError::WithoutPath)?;
        let metadata = path.metadata().map_err(InheritedSocketsError::Unusable)?;
        let is_same = |other: std::fs::Metadata| (other.dev(), other.ino()) == (metadata.dev(), metadata.ino());
        if ![user_path, system_path]
            .iter()
            .any(|path| path.metadata().is_ok_and(is_same))
        {
            return Err(InheritedSocketsError::WrongPath {
                path,
                expected: user_path.clone(),
            });
        }
        let ours = rustix::process::geteuid().as_raw();
        let is_open = metadata.mode() & OTHERS_WRITE != 0 && !is_guarded;
        if ![ours, ROOT].contains(&metadata.uid()) || is_open {
            return Err(InheritedSocketsError::Accessible { path });
        }
        Ok(())
    }
}

/// Listener of the proxy: the inherited one, or one bound to `address`.
///
/// # Errors
/// Any error of binding.
pub async fn proxy(inherited: Option<TcpListener>, address: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    match inherited {
        Some(listener) => tokio::net::TcpListener::from_std(listener),
        None => tokio::net::TcpListener::bind(address).await,
    }
}

/// Control listener: the inherited one, or one bound to `path` with this mode. The caller holds the lock of the run folder,
/// so a socket at `path` belongs to a daemon that was killed.
///
/// # Errors
/// Any error of the file system.
pub fn control(inherited: Option<UnixListener>, path: &Path, mode: u32) -> io::Result<tokio::net::UnixListener> {
    if let Some(listener) = inherited {
        return tokio::net::UnixListener::from_std(listener);
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = tokio::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    Ok(listener)
}

fn path_of(listener: &UnixListener) -> Option<PathBuf> {
    listener.local_addr().ok()?.as_pathname().map(Path::to_path_buf)
}

fn set_once<T>(field: &mut Option<T>, name: &'static str, listener: T) -> Result<(), InheritedSocketsError> {
    match field.replace(listener) {
        None => Ok(()),
        Some(_) => Err(InheritedSocketsError::Duplicate(name)),
    }
}

#[cfg(not(target_os = "macos"))]
mod manager {
    //! systemd's protocol: descriptors from 3 on, LISTEN_FDS and LISTEN_FDNAMES.

    use std::os::fd::AsFd;

    use listenfd::ListenFd;

    use super::{CONTROL, InheritedSockets, InheritedSocketsError, PROXY, PROXY_TLS, set_once};

    pub(super) fn take() -> Result<InheritedSockets, InheritedSocketsError> {
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        let mut descriptors = ListenFd::from_env();
        let mut sockets = InheritedSockets::default();
        for index in 0..descriptors.len() {
            let name = names.next().unwrap_or_default();
            if ![PROXY, PROXY_TLS].contains(&name)
                && let Ok(Some(listener)) = descriptors.take_unix_listener(index)
            {
                check(&listener)?;
                set_once(&mut sockets.control, CONTROL, listener)?;
            } else if name != CONTROL
                && let Ok(Some(listener)) = descriptors.take_tcp_listener(index)
            {
                check(&listener)?;
                match name {
                    PROXY_TLS => set_once(&mut sockets.proxy_tls, PROXY_TLS, listener)?,
                    _ => set_once(&mut sockets.proxy, PROXY, listener)?,
                }
            } else {
                return Err(InheritedSocketsError::WrongKind(name.to_owned()));
            }
        }
        Ok(sockets)
    }

    fn check(listener: &impl AsFd) -> Result<(), InheritedSocketsError> {
        let listens = rustix::net::sockopt::socket_acceptconn(listener)
            .map_err(|error| InheritedSocketsError::Unusable(error.into()))?;
        if listens {
            Ok(())
        } else {
            Err(InheritedSocketsError::NotListening)
        }
    }
}

#[cfg(target_os = "macos")]
mod manager {
    //! launchd's protocol: entries `Proxy`, `ProxyTls` and `Control` of `Sockets` in the property list.

    use std::net::TcpListener;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixListener;

    use rustix::io::{FdFlags, fcntl_setfd};
    use service_binding::{Binding, Error, Listener};

    use super::{CONTROL, InheritedSockets, InheritedSocketsError, PROXY, PROXY_TLS, set_once};

    pub(super) fn take() -> Result<InheritedSockets, InheritedSocketsError> {
        let mut sockets = InheritedSockets::default();
        if let Some(descriptor) = descriptor("fd://Proxy", PROXY)? {
            set_once(&mut sockets.proxy, PROXY, TcpListener::from(descriptor))?;
        }
        if let Some(descriptor) = descriptor("fd://ProxyTls", PROXY_TLS)? {
            set_once(&mut sockets.proxy_tls, PROXY_TLS, TcpListener::from(descriptor))?;
        }
        if let Some(descriptor) = descriptor("fd://Control", CONTROL)? {
            set_once(&mut sockets.control, CONTROL, UnixListener::from(descriptor))?;
        }
        Ok(sockets)
    }

    fn descriptor(url: &str, name: &'static str) -> Result<Option<OwnedFd>, InheritedSocketsError> {
        let binding: Binding = match url.parse() {
            Ok(binding) => binding,
            Err(Error::DescriptorsMissing) => return Ok(None),
            Err(_) => return Err(InheritedSocketsError::Duplicate(name)),
        };
        // The library returns every descriptor as a Unix listener; a wrong kind fails on first use.
        let Listener::Unix(listener) = binding.try_into().map_err(InheritedSocketsError::Unusable)? else {
            return Err(InheritedSocketsError::WrongKind(name.to_owned()));
        };
        let descriptor = OwnedFd::from(listener);
        fcntl_setfd(&descriptor, FdFlags::CLOEXEC).map_err(|error| InheritedSocketsError::Unusable(error.into()))?;
        Ok(Some(descriptor))
    }
}

/// Error of an inherited socket. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum InheritedSocketsError {
    /// Descriptor of another kind, or a name that does not match the kind.
    #[error(
        "the service manager passed a socket `{0}` that is neither a TCP listener for the proxy nor a Unix listener for \
         control; name the first `proxy`, or `proxy-tls` for the one of `listen-tls`, and the second `control`"
    )]
    WrongKind(String),
    /// Two sockets for the same purpose.
    #[error("the service manager passed more than one `{0}` socket; pass one socket with one address")]
    Duplicate(&'static str),
    /// Socket that does not listen.
    #[cfg(not(target_os = "macos"))]
    #[error("the service manager passed a socket that does not listen; pass listening stream sockets (Accept=no)")]
    NotListening,
    /// Control socket without a path in the file system.
    #[error("the control socket that the service manager passed has no path; give it one")]
    WithoutPath,
    /// Control socket at a path where `regauthctl` does not look.
    #[error(
        "the service manager passed the control socket {}, but regauthctl expects it at {}; change ListenStream (systemd) \
         or SockPathName (launchd)",
        path.display(),
        expected.display()
    )]
    WrongPath {
        /// Actual path.
        path: PathBuf,
        /// Expected path.
        expected: PathBuf,
    },
    /// Control socket that other users may connect to.
    #[error(
        "the control socket {} belongs to another user or is open to every user; give it mode 0600 (SocketMode=0600), \
         or 0660 with a group",
        path.display()
    )]
    Accessible {
        /// Actual path.
        path: PathBuf,
    },
    /// Socket that the system refuses to use.
    #[error("a socket that the service manager passed cannot be used: {0}")]
    Unusable(#[source] io::Error),
}

const PROXY: &str = "proxy";
const PROXY_TLS: &str = "proxy-tls";
const CONTROL: &str = "control";
const ROOT: u32 = 0;
const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
