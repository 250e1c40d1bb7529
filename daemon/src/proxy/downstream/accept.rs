//! The listener: accepts connections and hands them to the workers, until the daemon drains.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::proxy::downstream::worker::Workers;

/// Accepts until `drain` is cancelled. An error of `accept` costs a pause and never the loop; when there are as many
/// connections as there may be, clients wait in the kernel's queue.
pub(crate) async fn accept(listener: TcpListener, workers: Workers, drain: CancellationToken) {
    let places = Arc::new(Semaphore::new(most_connections()));
    loop {
        let next = async {
            // The semaphore is never closed.
            let permit = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            let (stream, _) = listener.accept().await?;
            Ok((stream, permit))
        };
        let accepted = tokio::select! {
            // In this order: who connects after the drain has begun belongs to the next daemon.
            biased;
            () = drain.cancelled() => return,
            accepted = next => accepted,
        };
        match accepted {
            Ok((stream, permit)) => {
                prepare(&stream);
                workers.hand_over(stream, permit);
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                // Out of descriptors: accepting again at once would spin until one is free.
                tracing::warn!(%error, "cannot accept connections, pausing");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// A connection takes two descriptors, ours and the registry's.
fn most_connections() -> usize {
    let descriptors = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    (descriptors.saturating_sub(OWN_DESCRIPTORS) / 2).clamp(FEWEST, MOST)
}

/// Whatever fails here only makes the connection worse.
fn prepare(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let socket = SockRef::from(stream);
    let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE));
    // Who reads nothing for so long has gone, whatever the answer or tunnel (tcp(7), TCP_USER_TIMEOUT).
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNREAD));
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted
    )
}

const PAUSE: Duration = Duration::from_millis(100);
const KEEP_ALIVE: Duration = Duration::from_secs(120);
#[cfg(target_os = "linux")]
const UNREAD: Duration = Duration::from_secs(600);
/// Listeners, runtimes, files, the control side.
const OWN_DESCRIPTORS: usize = 40;
const FEWEST: usize = 8;
const MOST: usize = 32 * 1024;
