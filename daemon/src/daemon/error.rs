//! Why a daemon does not start.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use regauth_shared::ErrorBody;
use regauth_shared::paths::NoHome;

use crate::config::{InvalidListen, Problems};
use crate::credential::store::select::OtherStore;
use crate::home::HomeError;
use crate::inherited_sockets::InheritedSocketsError;
use crate::proxy::upstream::TrustError;
use crate::schema::StateError;

/// Why the daemon did not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no place for the files.
    #[error(transparent)]
    NoHome(#[from] NoHome),
    /// The folders cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The configuration file cannot be read or written.
    #[error("cannot use {}: {}; mend it, or choose another with --config", .0.display(), .1)]
    ConfigFile(PathBuf, io::Error),
    /// The configuration has errors.
    #[error("{} has errors:\n{}\ncorrect them and start again", .0.display(), .1)]
    Config(PathBuf, Problems),
    /// What was remembered cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// What the service manager passed cannot be used.
    #[error(transparent)]
    InheritedSockets(#[from] InheritedSocketsError),
    /// Other machines could connect without a grant.
    #[error(transparent)]
    BeyondLoopback(#[from] InvalidListen),
    /// The port is taken, or the address not ours.
    #[error("cannot listen on {asked}: {error}; choose another with --listen, port 0 picks a free one")]
    Listen {
        /// The address.
        asked: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot make the control socket {}: {}; {}", .0.display(), .1, if .1.kind() == io::ErrorKind::InvalidInput {
        "choose a shorter folder with --home"
    } else {
        "move away what is there"
    })]
    Socket(PathBuf, io::Error),
    /// The store that was asked for is not the recorded one.
    #[error(transparent)]
    OtherStore(#[from] OtherStore),
    /// The system's roots cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No thread for a worker.
    #[error("cannot start the worker threads: {0}")]
    Threads(io::Error),
    /// A configured registry cannot be brought into service.
    #[error("{}; {}", .0.message, .0.hint.as_deref().unwrap_or("correct config.toml and start again"))]
    Registries(ErrorBody),
}
