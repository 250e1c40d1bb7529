//! The Unix socket: checks the peer's user, greets, then answers line after line through [`dispatch`].
//!
//! A served user of a guarded daemon may look, narrow and rotate. For anything else [`super::presence`] needs more.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use regauth_shared::frame::{Answer, MAX_LINE};
use regauth_shared::version::Greeting;
use regauth_shared::{ErrorBody, ErrorKind};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::codec::{Framed, LinesCodec, LinesCodecError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::controller::Controller;
use crate::control::dispatch::{Reply, dispatch};
use crate::control::presence::{self, Asker};
use crate::control::user_places::{MAX_CONNECTIONS, UserPlaces};
use crate::daemon::Options;
use crate::guarded::{NotGuarded, ServedUsers};
use crate::inherited_sockets::InheritedSockets;

/// Users that may use the control socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ControlClients {
    /// The daemon's own user and root.
    Owner,
    /// Every user that can connect: the socket was passed with a group, and the kernel checks the file's mode.
    Group,
    /// The daemon's own user, root, and the users of a guarded daemon. Everybody can connect.
    Served(ServedUsers),
}

impl ControlClients {
    /// The users that the passed sockets are for, or those of a guarded daemon.
    ///
    /// # Errors
    /// [`NotGuarded`].
    pub(crate) fn of(passed: &InheritedSockets, options: &Options) -> Result<Self, NotGuarded> {
        Ok(match (options.guarded_for.as_slice(), passed.is_for_a_group()) {
            ([], false) => Self::Owner,
            ([], true) => Self::Group,
            (users, _) => Self::Served(ServedUsers::new(users)?),
        })
    }

    /// Users that a guarded daemon serves.
    pub(crate) fn served(&self) -> ServedUsers {
        match self {
            Self::Served(users) => users.clone(),
            Self::Owner | Self::Group => ServedUsers::default(),
        }
    }

    /// Permission bits of a control socket that the daemon creates itself.
    pub(crate) fn socket_mode(&self) -> u32 {
        match self {
            Self::Owner | Self::Group => 0o600,
            Self::Served(_) => 0o666,
        }
    }

    /// Permission bits that the folder of the control socket may have for others.
    pub(crate) fn folder_mode(&self) -> u32 {
        match self {
            Self::Owner => 0,
            Self::Group => 0o050,
            Self::Served(_) => 0o055,
        }
    }

    fn admit(&self, peer: &Peer) -> bool {
        match self {
            Self::Group => true,
            Self::Owner => peer.is_owner_or_root(),
            Self::Served(users) => peer.is_owner_or_root() || peer.user.is_some_and(|user| users.contains(user)),
        }
    }
}

/// User and program at the other end of a control connection, if the kernel names them.
#[derive(Debug)]
pub(crate) struct Peer {
    user: Option<u32>,
    asker: Option<Asker>,
}

impl Peer {
    fn of(stream: &UnixStream) -> Self {
        Self {
            user: stream.peer_cred().ok().map(|peer| peer.uid()),
            asker: Asker::of(stream),
        }
    }

    /// True for root, also by sudo.
    pub(crate) fn is_root(&self) -> bool {
        self.user == Some(rustix::process::Uid::ROOT.as_raw())
    }

    /// Number of the user.
    pub(crate) fn user(&self) -> Option<u32> {
        self.user
    }

    /// Program that has connected.
    pub(crate) fn asker(&self) -> Option<&Asker> {
        self.asker.as_ref()
    }

    fn is_owner_or_root(&self) -> bool {
        self.is_root() || self.user == Some(rustix::process::geteuid().as_raw())
    }
}

/// Accepts connections until the daemon drains; a passed socket then belongs to the next daemon. Open connections are
/// cut when `end` is cancelled.
pub(crate) async fn serve(
    listener: UnixListener,
    controller: Arc<Controller>,
    tasks: TaskTracker,
    end: CancellationToken,
) {
    let places = Arc::new(UserPlaces::default());
    loop {
        let accepted = tokio::select! {
            // In this order: a client that connects after the drain has begun belongs to the next daemon.
            biased;
            () = controller.proxy.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let peer = Peer::of(&stream);
                if !controller.control_clients.admit(&peer) {
                    tracing::warn!(user = peer.user, "refused another user on the control socket");
                    refuse(stream, &controller.control_clients);
                    continue;
                }
                let Some(place) = places.take(peer.user) else {
                    write_error(stream, too_many_connections());
                    continue;
                };
                let (controller, end) = (Arc::clone(&controller), end.clone());
                tasks.spawn(async move {
                    let _place = place;
                    tokio::select! {
                        _ = answer_requests(stream, peer, &controller) => {}
                        () = end.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                tracing::warn!(%error, "could not accept a control connection, pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Tells a user why a guarded daemon, to whose socket everybody can connect, does not greet.
fn refuse(stream: UnixStream, clients: &ControlClients) {
    if !matches!(clients, ControlClients::Served(_)) {
        return;
    }
    let message = "this machine's guarded regauthd does not serve you";
    let error = ErrorBody::new(ErrorKind::Refused, message)
        .hint("an administrator adds you: sudo regauthctl service install --for USER");
    write_error(stream, error);
}

fn too_many_connections() -> ErrorBody {
    let message = format!("your programs have {MAX_CONNECTIONS} connections to regauthd already");
    ErrorBody::new(ErrorKind::Refused, message).hint("end some of them, such as `regauthctl watch`, and repeat")
}

/// Answers in the greeting's place. Never waits: the line fits into the buffer of a new socket.
fn write_error(stream: UnixStream, error: ErrorBody) {
    if let Ok(mut stream) = stream.into_std() {
        let line = serde_json::to_string(&Answer::<()>::Err(error)).unwrap_or_default();
        let _ = stream.write_all(format!("{line}\n").as_bytes());
    }
}

/// Greets, then answers one line at a time until the client leaves or is silent for [`IDLE_TIMEOUT`].
async fn answer_requests(stream: UnixStream, peer: Peer, controller: &Controller) -> Result<(), LinesCodecError> {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    lines
        .send(serde_json::to_string(&Greeting::ours(presence::asks(controller, &peer))).unwrap_or_default())
        .await?;
    loop {
        let line = match tokio::time::timeout(IDLE_TIMEOUT, lines.next()).await {
            Ok(Some(Ok(line))) => line,
            Ok(Some(Err(LinesCodecError::MaxLineLengthExceeded))) => return lines.send(too_long()).await,
            Ok(Some(Err(error))) => return Err(error),
            // `stop --wait` waits for the end of this connection, however long the drain takes.
            Err(_) if controller.proxy.drain.is_cancelled() => continue,
            Ok(None) | Err(_) => return Ok(()),
        };
        // Boxed: a connection that waits for its next request has no room for the largest one.
        match Box::pin(dispatch(controller, &peer, &line)).await {
            Reply::Line(line) => lines.send(line).await?,
            Reply::Stream(viewer) => return viewer.stream(lines).await,
            // The end of the connection as well, so that files which nobody takes are few: the kernel limits them for all.
            Reply::Files(record) => return Ok(record.send(lines.get_ref()).await?),
        }
    }
}

fn too_long() -> String {
    let message = format!("a request is at most {MAX_LINE} bytes long");
    let error = ErrorBody::new(ErrorKind::Invalid, message);
    serde_json::to_string(&Answer::<()>::Err(error)).unwrap_or_default()
}

/// Pause after a failed accept, which may last: the process may be out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest time without a request on a connection.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
