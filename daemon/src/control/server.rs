//! The Unix socket: who is there, one greeting, then lines.

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
use crate::control::dispatch::dispatch;
use crate::inherited_sockets::InheritedSockets;

/// Who may speak to the daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ControlClients {
    /// Its own user, and root, who may do everything anyway.
    Owner,
    /// Whoever may connect: the socket was passed with a group, and the kernel asks.
    Group,
}

impl ControlClients {
    /// Those whom the passed sockets are for.
    pub(crate) fn of(passed: &InheritedSockets) -> Self {
        if passed.is_for_a_group() {
            Self::Group
        } else {
            Self::Owner
        }
    }
}

/// Accepts until the daemon drains, which leaves a passed socket to the next one; conversations end with `end`.
pub(crate) async fn serve(
    listener: UnixListener,
    visitors: ControlClients,
    controller: Arc<Controller>,
    tasks: TaskTracker,
    end: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            // In this order: who connects after the drain has begun belongs to the next daemon.
            biased;
            () = controller.proxy.drain.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) if visitors == ControlClients::Group || is_ours(&stream) => {
                let (controller, end) = (Arc::clone(&controller), end.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        _ = converse(stream, &controller) => {}
                        () = end.cancelled() => {}
                    }
                });
            }
            Ok(_) => tracing::warn!("another user tried the control socket"),
            Err(error) => {
                tracing::warn!(%error, "cannot accept control connections, pausing");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// The peer's user, before a byte of it is read.
fn is_ours(stream: &UnixStream) -> bool {
    let allowed = [rustix::process::geteuid(), rustix::process::Uid::ROOT].map(rustix::process::Uid::as_raw);
    stream.peer_cred().is_ok_and(|peer| allowed.contains(&peer.uid()))
}

async fn converse(stream: UnixStream, controller: &Controller) -> Result<(), LinesCodecError> {
    let mut lines = Framed::new(stream, LinesCodec::new_with_max_length(MAX_LINE));
    lines
        .send(serde_json::to_string(&Greeting::ours()).unwrap_or_default())
        .await?;
    loop {
        let line = match tokio::time::timeout(SILENCE, lines.next()).await {
            Ok(Some(Ok(line))) => line,
            Ok(Some(Err(LinesCodecError::MaxLineLengthExceeded))) => {
                let error = ErrorBody::new(
                    ErrorKind::Invalid,
                    format!("a request is at most {MAX_LINE} bytes long"),
                );
                let answer = serde_json::to_string(&Answer::<()>::Err(error)).unwrap_or_default();
                return lines.send(answer).await;
            }
            Ok(Some(Err(error))) => return Err(error),
            // Who waits for our end sees it, however long it takes.
            Err(_) if controller.proxy.drain.is_cancelled() => continue,
            Ok(None) | Err(_) => return Ok(()),
        };
        lines.send(dispatch(controller, &line).await).await?;
    }
}

const PAUSE: Duration = Duration::from_millis(100);
/// How long a client may keep a connection without asking anything.
const SILENCE: Duration = Duration::from_secs(60);
