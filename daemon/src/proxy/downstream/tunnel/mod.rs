//! Tunnels: bytes both ways for a host without a registry, never read.

#[cfg(not(target_os = "linux"))]
mod copy;
#[cfg(target_os = "linux")]
mod splice;
mod tls;

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::host::Origin;
#[cfg(not(target_os = "linux"))]
use crate::proxy::downstream::tunnel::copy::relay;
#[cfg(target_os = "linux")]
use crate::proxy::downstream::tunnel::splice::relay;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::state::ProxyState;
use crate::proxy::upstream::UpstreamFailure;
use crate::proxy::upstream::dial::{DialError, Dialer, is_forbidden};
use crate::proxy::upstream::stream::DialedStream;

/// Connects to the target of a tunnel.
///
/// # Errors
/// A [`ProxyError`] for the client when the target cannot be reached or is not allowed.
pub(crate) async fn dial(mut dialer: Dialer, target: &Origin) -> Result<DialedStream, ProxyError> {
    dialer.dial(target).await.map_err(|error| {
        tracing::debug!(error = &error as &dyn std::error::Error, "tunnel failed");
        proxy_error(&error)
    })
}

fn proxy_error(error: &DialError) -> ProxyError {
    match error {
        _ if is_forbidden(error) => ProxyError::HostDenied,
        DialError::Invalid => ProxyError::BadRequest,
        DialError::Proxy(error) => error.clone().into(),
        error => ProxyError::Upstream(UpstreamFailure::of(error)),
    }
}

/// Relays bytes both ways until both sides have closed, or the tunnel is idle: for an hour, or for seconds while the daemon
/// drains.
pub(crate) async fn relay_until_done(state: &ProxyState, downstream: &mut TcpStream, upstream: DialedStream) {
    let relayed = AtomicU64::new(0);
    let relay = async {
        match upstream {
            DialedStream::Tcp(upstream) => relay_both_ways(downstream, &upstream, &relayed).await,
            DialedStream::Tls(upstream) => tls::relay_both_ways(downstream, *upstream, &relayed).await,
        }
    };
    tokio::select! {
        _ = relay => {}
        () = until_idle_for(IDLE_TIMEOUT, &relayed) => {}
        () = until_drained(state, &relayed) => {}
    }
}

async fn relay_both_ways(downstream: &TcpStream, upstream: &TcpStream, relayed: &AtomicU64) -> io::Result<()> {
    tokio::try_join!(
        relay(downstream, upstream, relayed),
        relay(upstream, downstream, relayed)
    )
    .map(drop)
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
