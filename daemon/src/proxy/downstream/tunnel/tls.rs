//! Relay of a tunnel inside the TLS of an `https://` corporate proxy.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

/// Relays bytes both ways until both sides have ended. Adds the bytes to `relayed`.
///
/// # Errors
/// When reading or writing fails.
pub(super) async fn relay_both_ways(
    downstream: &mut TcpStream,
    upstream: TlsStream<TcpStream>,
    relayed: &AtomicU64,
) -> io::Result<()> {
    let (downstream_read, downstream_write) = downstream.split();
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
