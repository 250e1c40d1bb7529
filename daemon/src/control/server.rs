//! The Unix socket: who is there, one greeting, then lines.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
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

use super::dispatch::dispatch;
use super::registrar::Registrar;

/// Binds the socket, 0600. The caller holds the lock of the run folder, so a socket that lies there is a dead daemon's.
///
/// # Errors
/// Those of the file system.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until `end` is cancelled.
pub async fn serve(listener: UnixListener, registrar: Arc<Registrar>, tasks: TaskTracker, end: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = end.cancelled() => return,
        };
        match accepted {
            Ok((stream, _)) if is_ours(&stream) => {
                let (registrar, end) = (Arc::clone(&registrar), end.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        _ = converse(stream, &registrar) => {}
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
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == rustix::process::geteuid().as_raw())
}

async fn converse(stream: UnixStream, registrar: &Registrar) -> Result<(), LinesCodecError> {
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
            Ok(None) | Err(_) => return Ok(()),
        };
        lines.send(dispatch(registrar, &line).await).await?;
    }
}

const PAUSE: Duration = Duration::from_millis(100);
/// How long a client may keep a connection without asking anything.
const SILENCE: Duration = Duration::from_secs(60);
