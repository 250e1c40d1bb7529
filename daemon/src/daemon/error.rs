//! Errors of a start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use regauth_shared::ErrorBody;
use regauth_shared::paths::NoHome;

use crate::audit::AuditFolderError;
use crate::authority::company_roots::InvalidCompanyRoots;
use crate::config::{InvalidListen, Problems};
use crate::credential::store::select::OtherStore;
use crate::guarded::NotGuarded;
use crate::home::HomeError;
use crate::inherited_sockets::InheritedSocketsError;
use crate::proxy::downstream::entrance::InvalidCertificate;
use crate::proxy::upstream::TrustError;
use crate::proxy::upstream::proxy_rules::InvalidProxySetting;
use crate::schema::StateError;
use crate::signed_grant::InvalidSignedGrants;

/// Error of starting the daemon. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No folders: neither `--home` nor a home directory.
    #[error(transparent)]
    NoHome(#[from] NoHome),
    /// Folders that cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Guarded daemon that runs as the user that it is to be guarded from.
    #[error(transparent)]
    NotGuarded(#[from] NotGuarded),
    /// Folder of the audit record that cannot be used.
    #[error(transparent)]
    Audit(#[from] AuditFolderError),
    /// Configuration file that cannot be read or written.
    #[error("cannot use {}: {}; fix its permissions, or choose another file with --config", .0.display(), .1)]
    ConfigFile(PathBuf, io::Error),
    /// Configuration with errors.
    #[error("{} has errors:\n{}\nfix them and start again", .0.display(), .1)]
    Config(PathBuf, Problems),
    /// Journal or grants file that cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Inherited socket that cannot be used.
    #[error(transparent)]
    InheritedSockets(#[from] InheritedSocketsError),
    /// Address that other machines could connect to without a grant.
    #[error(transparent)]
    BeyondLoopback(#[from] InvalidListen),
    /// Port in use, or address of another machine.
    #[error("cannot listen on {address}: {error}; choose another address with --listen, port 0 picks a free port")]
    Listen {
        /// Address from the command line or the configuration.
        address: SocketAddr,
        /// Error of the system.
        error: io::Error,
    },
    /// Port of `listen-tls` in use, or address of another machine.
    #[error("cannot listen on {address} for TLS: {error}; choose another address for `listen-tls` in config.toml")]
    ListenTls {
        /// Address from the configuration.
        address: SocketAddr,
        /// Error of the system.
        error: io::Error,
    },
    /// Inherited listener for TLS without a certificate.
    #[error(
        "the service manager passed a socket `proxy-tls`, and config.toml has no `listen-tls` with a certificate for it; add one, or \
         pass no such socket"
    )]
    TlsSocketWithoutCertificate,
    /// Certificate of `listen-tls` that cannot be used.
    #[error("`listen-tls` in config.toml: {0}; correct the path or the file and start again")]
    Certificate(#[from] InvalidCertificate),
    /// Key or list of signed grants that cannot be used.
    #[error("`signed-grants` in config.toml: {0}; correct the path or the file and start again")]
    SignedGrants(#[from] InvalidSignedGrants),
    /// Control socket that cannot be created.
    #[error("cannot create the control socket {}: {}; {}", .0.display(), .1, if .1.kind() == io::ErrorKind::InvalidInput {
        "choose a folder with a shorter path with --home"
    } else {
        "move the file at that path away"
    })]
    Socket(PathBuf, io::Error),
    /// `--store` that differs from the recorded kind.
    #[error(transparent)]
    OtherStore(#[from] OtherStore),
    /// Corporate proxy that cannot be used.
    #[error(transparent)]
    CorporateProxy(#[from] InvalidProxySetting),
    /// Global `ca-file` that cannot be used.
    #[error("`ca-file` at the top of config.toml: {0}; correct the path or remove the key, and start again")]
    CompanyRoots(#[from] InvalidCompanyRoots),
    /// Root certificates that cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// Worker threads that cannot be started.
    #[error("cannot start the worker threads: {0}")]
    Threads(io::Error),
    /// Configured registry that cannot be served, or a file for clients that cannot be written.
    #[error("{}; {}", .0.message, .0.hint.as_deref().unwrap_or("fix config.toml and start again"))]
    Registries(ErrorBody),
}
