//! Relay of a tunnel's bytes through a buffer, on systems without splice(2).
//!
//! The buffer exists only while it holds bytes: an idle tunnel costs its two sockets.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::SockRef;
use tokio::net::TcpStream;

use super::RelayError;

/// Relays bytes one way until `from` ends, then shuts down the write side of `to`. Adds the bytes to `relayed`.
///
/// # Errors
/// [`RelayError`] with the side that failed.
pub(super) async fn relay(from: &TcpStream, to: &TcpStream, relayed: &AtomicU64) -> Result<(), RelayError> {
    loop {
        from.readable().await.map_err(RelayError::Read)?;
        let mut buffer = Vec::with_capacity(BUFFER_BYTES);
        match from.try_read_buf(&mut buffer) {
            Ok(0) => return SockRef::from(to).shutdown(Shutdown::Write).map_err(RelayError::Write),
            Ok(length) => {
                relayed.fetch_add(length as u64, Ordering::Relaxed);
                write(to, &buffer).await.map_err(RelayError::Write)?;
                tokio::task::coop::consume_budget().await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(RelayError::Read(error)),
        }
    }
}

async fn write(to: &TcpStream, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        to.writable().await?;
        match to.try_write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

const BUFFER_BYTES: usize = 64 * 1024;
