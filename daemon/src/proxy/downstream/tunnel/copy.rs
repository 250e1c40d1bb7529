//! Copies a tunnel's bytes from socket to socket, where the kernel cannot move them by itself.
//!
//! There is a buffer only while there are bytes: an idle tunnel costs its two sockets and nothing else.

use std::io;
use std::net::Shutdown;
use std::sync::atomic::{AtomicU64, Ordering};

use socket2::SockRef;
use tokio::net::TcpStream;

/// Carries bytes one way until `from` ends, and passes its end on. `moved` counts them as they come.
///
/// # Errors
/// When either side is gone.
pub(super) async fn carry(from: &TcpStream, to: &TcpStream, moved: &AtomicU64) -> io::Result<()> {
    loop {
        from.readable().await?;
        let mut buffer = Vec::with_capacity(BUFFER);
        match from.try_read_buf(&mut buffer) {
            Ok(0) => return SockRef::from(to).shutdown(Shutdown::Write),
            Ok(taken) => {
                moved.fetch_add(taken as u64, Ordering::Relaxed);
                write(to, &buffer).await?;
                tokio::task::coop::consume_budget().await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
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

const BUFFER: usize = 64 * 1024;
