//! Tunnels: bytes both ways for a host without a registry, never read.
//!
//! A tunnel ends as its connections do. A side that has sent everything may still receive, for a while. A side that resets
//! its connection resets the other one, so that cut bytes do not look complete.

#[cfg(not(target_os = "linux"))]
mod copy;
#[cfg(target_os = "linux")]
mod splice;
mod tls;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::TcpStream;

use crate::host::Origin;
use crate::proxy::descriptors;
use crate::proxy::downstream::client_stream::ClientStream;
use crate::proxy::downstream::socket::discard_until_closed;
#[cfg(not(target_os = "linux"))]
use crate::proxy::downstream::tunnel::copy::relay;
#[cfg(target_os = "linux")]
use crate::proxy::downstream::tunnel::splice::relay;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::state::ProxyState;
use crate::proxy::upstream::UpstreamFailure;
use crate::proxy::upstream::dial::{DialError, Dialer, is_forbidden};
use crate::proxy::upstream::opening::CONNECT_TIMEOUT;
use crate::proxy::upstream::stream::DialedStream;

/// Connects to the target of a client's tunnel; `None` if the client has gone meanwhile.
///
/// # Errors
/// A [`ProxyError`] for the client when the target cannot be reached in time or is not allowed.
pub(crate) async fn dial(
    dialer: Dialer,
    target: &Origin,
    client: &TcpStream,
) -> Option<Result<DialedStream, ProxyError>> {
    tokio::select! {
        dialled = tokio::time::timeout(CONNECT_TIMEOUT, dial_untimed(dialer, target)) => Some(dialled.unwrap_or_else(|_| {
            tracing::info!(%target, seconds = CONNECT_TIMEOUT.as_secs(), "tunnel failed: no connection in time");
            Err(ProxyError::Upstream(UpstreamFailure::ConnectTimeout))
        })),
        () = has_gone(client) => {
            tracing::debug!(%target, "tunnel ended before it was open: the client has gone");
            None
        }
    }
}

async fn dial_untimed(mut dialer: Dialer, target: &Origin) -> Result<DialedStream, ProxyError> {
    dialer.dial(target).await.map_err(|error| {
        descriptors::warn_if_exhausted(&error);
        tracing::debug!(error = &error as &dyn std::error::Error, "tunnel failed");
        proxy_error(&error)
    })
}

/// Waits until the client has closed its connection. It waits for our answer, so it has no reason to shut down one side.
async fn has_gone(client: &TcpStream) {
    loop {
        match client.ready(Interest::READABLE).await {
            Ok(ready) if !ready.is_read_closed() => {}
            Ok(_) | Err(_) => return,
        }
        // A client that sends before it is answered leaves its bytes here, and the socket stays readable.
        let mut byte = [0];
        match client.peek(&mut byte).await {
            Ok(0) | Err(_) => return,
            Ok(_) => tokio::time::sleep(RECHECK_INTERVAL).await,
        }
    }
}

fn proxy_error(error: &DialError) -> ProxyError {
    match error {
        _ if is_forbidden(error) => ProxyError::HostDenied,
        DialError::Invalid => ProxyError::BadRequest,
        DialError::Proxy(error) => error.clone().into(),
        error => ProxyError::upstream(UpstreamFailure::of(error), DialError::addresses(error)),
    }
}

/// Relays bytes both ways until both sides have closed, or the tunnel is idle: for an hour, for minutes once a side has
/// closed, or for seconds while the daemon drains.
pub(crate) async fn relay_until_done(state: &ProxyState, downstream: ClientStream, upstream: DialedStream) {
    let relayed = AtomicU64::new(0);
    let relay = async {
        match (downstream, upstream) {
            (ClientStream::Tcp(downstream), DialedStream::Tcp(upstream)) => {
                relay_both_ways(&downstream, &upstream, &relayed).await;
            }
            (downstream, upstream) => tls::relay_both_ways(downstream, upstream, &relayed).await,
        }
    };
    tokio::select! {
        () = relay => {}
        () = until_idle_for(IDLE_TIMEOUT, &relayed) => {}
        () = until_drained(state, &relayed) => {}
    }
}

/// Error of a relay, by the side that failed.
#[derive(Debug)]
enum RelayError {
    /// The sender's connection failed.
    Read(io::Error),
    /// The receiver's connection failed.
    Write(io::Error),
}

async fn relay_both_ways(downstream: &TcpStream, upstream: &TcpStream, relayed: &AtomicU64) {
    let mut up = std::pin::pin!(relay(downstream, upstream, relayed));
    let mut down = std::pin::pin!(relay(upstream, downstream, relayed));
    tokio::select! {
        ended = up.as_mut() => match ended {
            Ok(()) => or_idle(down, downstream, upstream, relayed).await,
            // The host takes no more bytes. The client must still get all that the host has sent, and its own bytes must
            // be taken: closing with unread bytes would reset its connection.
            Err(RelayError::Write(_)) => {
                let discarding = async {
                    discard_until_closed(downstream).await;
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = or_idle(down, downstream, upstream, relayed) => discard_until_closed(downstream).await,
                    () = discarding => {}
                }
            }
            Err(RelayError::Read(error)) => reset(&error, downstream, upstream),
        },
        ended = down.as_mut() => match ended {
            Ok(()) => {
                let ended = tokio::select! {
                    ended = up => ended,
                    () = until_idle_for(HALF_CLOSED_IDLE_TIMEOUT, relayed) => return,
                };
                // The host has closed both ways, and the client may not have read the end yet.
                match ended {
                    Err(RelayError::Write(_)) => discard_until_closed(downstream).await,
                    Err(RelayError::Read(error)) => reset(&error, downstream, upstream),
                    Ok(()) => {}
                }
            }
            Err(RelayError::Read(error) | RelayError::Write(error)) => reset(&error, downstream, upstream),
        },
    }
}

/// Finishes the relay to the client, unless it is idle for minutes.
async fn or_idle(
    down: impl Future<Output = Result<(), RelayError>>,
    downstream: &TcpStream,
    upstream: &TcpStream,
    relayed: &AtomicU64,
) {
    tokio::select! {
        ended = down => match ended {
            Ok(()) => {}
            Err(RelayError::Read(error) | RelayError::Write(error)) => reset(&error, downstream, upstream),
        },
        () = until_idle_for(HALF_CLOSED_IDLE_TIMEOUT, relayed) => {}
    }
}

/// Makes the close of both connections a reset: what the other side got is not the whole.
fn reset(error: &io::Error, downstream: &TcpStream, upstream: &TcpStream) {
    descriptors::warn_if_exhausted(error);
    tracing::debug!(%error, "tunnel was cut");
    for stream in [downstream, upstream] {
        let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    }
}

/// We cannot see the end of an exchange in a tunnel, so an idle one counts as finished while the daemon drains.
async fn until_drained(state: &ProxyState, relayed: &AtomicU64) {
    state.drain.cancelled().await;
    until_idle_for(DRAIN_IDLE_TIMEOUT, relayed).await;
}

/// Waits until no byte has been relayed for `period`, at most twice that.
async fn until_idle_for(period: Duration, relayed: &AtomicU64) {
    let mut before = relayed.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(period).await;
        let now = relayed.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

/// Servers may be silent for minutes while they compute, but not for an hour.
const IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
/// A side that has closed may be gone, and nothing else would show it.
const HALF_CLOSED_IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// Time between two looks at a client that has sent bytes before its tunnel is open.
const RECHECK_INTERVAL: Duration = Duration::from_secs(1);
/// Clients keep idle tunnels open for minutes.
const DRAIN_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_relays_bytes_is_not_idle() {
        let relayed = AtomicU64::new(0);
        let relaying = async {
            for _ in 0..100 {
                tokio::time::sleep(IDLE_TIMEOUT / 2).await;
                relayed.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = until_idle_for(IDLE_TIMEOUT, &relayed) => panic!("bytes were relayed"),
            () = relaying => {}
        }
        let longest = IDLE_TIMEOUT * 2 + Duration::from_secs(1);
        let idle = tokio::time::timeout(longest, until_idle_for(IDLE_TIMEOUT, &relayed)).await;
        idle.expect("the tunnel is idle");
    }
}
