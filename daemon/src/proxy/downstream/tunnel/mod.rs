//! Exit one: bytes both ways for a host nobody configured, never read.

#[cfg(not(target_os = "linux"))]
mod copy;
#[cfg(target_os = "linux")]
mod splice;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::host::Origin;
use crate::proxy::downstream::connect::refuse;
#[cfg(not(target_os = "linux"))]
use crate::proxy::downstream::tunnel::copy::carry;
#[cfg(target_os = "linux")]
use crate::proxy::downstream::tunnel::splice::carry;
use crate::proxy::downstream::worker::Worker;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::dial::{DialError, Dialer, is_forbidden};

/// Connects to `target`, accepts the CONNECT and carries bytes until both sides are done, nothing has moved for an hour,
/// or the daemon drains and nothing moves any more.
pub(crate) async fn serve(worker: Worker, mut dialer: Dialer, mut downstream: TcpStream, target: Origin) {
    let upstream = match dialer.dial(&target).await {
        Ok(upstream) => upstream,
        Err(error) => {
            tracing::debug!(error = &error as &dyn std::error::Error, "tunnel");
            return refuse(downstream, &refusal(&error)).await;
        }
    };
    if downstream.write_all(ESTABLISHED).await.is_err() {
        return;
    }
    let moved = AtomicU64::new(0);
    tokio::select! {
        _ = both_ways(&downstream, &upstream, &moved) => {}
        () = still(&moved, IDLE) => {}
        () = drained(&worker, &moved) => {}
    }
}

async fn both_ways(downstream: &TcpStream, upstream: &TcpStream, moved: &AtomicU64) -> io::Result<()> {
    tokio::try_join!(carry(downstream, upstream, moved), carry(upstream, downstream, moved)).map(drop)
}

/// What a tunnel carries is not known: while the daemon drains, one in which nothing moves has ended.
async fn drained(worker: &Worker, moved: &AtomicU64) {
    worker.plane.drain.cancelled().await;
    still(moved, STILL).await;
}

/// Waits until nothing has moved for `long`; found out at the end of a second one at the latest.
async fn still(moved: &AtomicU64, long: Duration) {
    let mut before = moved.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(long).await;
        let now = moved.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

fn refusal(error: &DialError) -> ProxyError {
    match error {
        _ if is_forbidden(error) => ProxyError::PlaceDenied,
        DialError::Invalid => ProxyError::BadRequest,
        DialError::Unreachable(_) | DialError::Forbidden(_) | DialError::Proxy(_) => ProxyError::UpstreamUnreachable,
    }
}

/// The answer to an accepted CONNECT (RFC 9110, section 9.3.6).
pub(crate) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
/// Servers think for minutes in silence, nobody for so long.
const IDLE: Duration = Duration::from_secs(3600);
/// Clients keep idle tunnels open for minutes.
const STILL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_tunnel_that_moves_is_not_idle() {
        let moved = AtomicU64::new(0);
        let moving = async {
            for _ in 0..100 {
                tokio::time::sleep(IDLE / 2).await;
                moved.fetch_add(1, Ordering::Relaxed);
            }
        };
        tokio::select! {
            () = still(&moved, IDLE) => panic!("it moved"),
            () = moving => {}
        }
        let patience = tokio::time::timeout(IDLE * 2 + Duration::from_secs(1), still(&moved, IDLE));
        patience.await.expect("nothing moves any more");
    }
}
