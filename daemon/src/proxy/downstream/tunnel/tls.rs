//! Relay of a tunnel with TLS on a side of ours: a client of `listen-tls`, or an `https://` corporate proxy.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::proxy::downstream::client_stream::ClientStream;
use crate::proxy::upstream::stream::DialedStream;

/// Relays bytes both ways until both sides have ended. Adds the bytes to `relayed`.
///
/// # Errors
/// When reading or writing fails.
pub(super) async fn relay_both_ways(
    downstream: ClientStream,
    upstream: DialedStream,
    relayed: &AtomicU64,
) -> io::Result<()> {
    let (downstream_read, downstream_write) = tokio::io::split(downstream);
    let (upstream_read, upstream_write) = tokio::io::split(upstream);
    tokio::try_join!(
        relay(downstream_read, upstream_write, relayed),
        relay(upstream_read, downstream_write, relayed)
    )
    .map(drop)
}

async fn relay(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    relayed: &AtomicU64,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = from.read(&mut buffer).await?;
        if length == 0 {
            return to.shutdown().await;
        }
        relayed.fetch_add(length as u64, Ordering::Relaxed);
        to.write_all(buffer.get(..length).unwrap_or_default()).await?;
        to.flush().await?;
    }
}

/// One TLS record.
const BUFFER_BYTES: usize = 16 * 1024;
