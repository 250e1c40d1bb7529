//! The Unix socket: checks the peer's user, greets, then answers line after line through [`dispatch`].

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
use crate::inherited_sockets::InheritedSockets;

/// Users that may use the control socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlClients {
    /// The daemon's own user and root.
    Owner,
    /// Every user that can connect: the socket was passed with a group, and the kernel checks the file's mode.
    Group,
}

impl ControlClients {
    /// The users that the passed sockets are for.
    pub(crate) fn of(passed: &InheritedSockets) -> Self {
        if passed.is_for_a_group() {
            Self::Group
        } else {
            Self::Owner
        }
    }
}

/// Accepts connections until the daemon drains; a passed socket then belongs to the next daemon. Open connections are
/// cut when `end` is cancelled.
pub(crate) async fn serve(
    listener: UnixListener,
    clients: ControlClients,
    controller: Arc<Controller>,
    tasks: TaskTracker,
    end: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            // In this order: a client that connects after the drain has begun belongs to the next daemon.
            biased;
            () = controller.proxy.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if clients == ControlClients::Group || is_owner_or_root(&stream) => {
                let (controller, end) = (Arc::clone(&controller), end.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        _ = answer_requests(stream, &controller) => {}
                        () = end.cancelled() => {}
                    }
                });
            }
            Ok(_) => tracing::warn!("refused another user on the control socket"),
            Err(error) => {
                tracing::warn!(%error, "could not accept a control connection, pausing");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Checks the peer's user, before a byte is read.
fn is_owner_or_root(stream: &UnixStream) -> bool {
    let allowed = [rustix::process::geteuid(), rustix::process::Uid::ROOT].map(rustix::process::Uid::as_raw);
    stream.peer_cred().is_ok_and(|peer| allowed.contains(&peer.uid()))
}

/// Greets, then answers one line at a time until the client leaves or is silent for [`IDLE_TIMEOUT`].
async fn answer_requests(stream: UnixStream, controller: &Controller) -> Result<(), LinesCodecError> {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    lines
        .send(serde_json::to_string(&Greeting::ours()).unwrap_or_default())
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
        match dispatch(controller, &line).await {
            Reply::Line(line) => lines.send(line).await?,
            Reply::Stream(viewer) => return viewer.stream(lines).await,
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
