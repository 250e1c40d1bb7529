//! Exit one: bytes both ways for a host nobody configured, never read.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::host::Origin;
use crate::proxy::connect::refuse;
use crate::proxy::dial::{DialError, Dialer, is_forbidden};
use crate::proxy::drain::Watched;
use crate::proxy::refuse::Refusal;
use crate::proxy::worker::Worker;

/// Connects to `target`, accepts the CONNECT and carries bytes until both sides are done, or the daemon drains and nothing
/// moves any more.
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
    let (mut upstream, movement) = Watched::new(upstream);
    let both_ways = tokio::io::copy_bidirectional_with_sizes(&mut downstream, &mut upstream, BUFFER, BUFFER);
    tokio::select! {
        _ = both_ways => {}
        () = movement.has_ended(&worker.plane) => {}
    }
}

fn refusal(error: &DialError) -> Refusal {
    match error {
        _ if is_forbidden(error) => Refusal::PlaceDenied,
        DialError::Invalid => Refusal::BadRequest,
        DialError::Unreachable(_) | DialError::Forbidden(_) | DialError::Proxy(_) => Refusal::UpstreamUnreachable,
    }
}

/// The answer to an accepted CONNECT (RFC 9110, section 9.3.6).
pub(crate) const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
const BUFFER: usize = 64 * 1024;
