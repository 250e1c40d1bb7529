//! A client's socket that outlives the HTTP on it, so that its last bytes arrive.
//!
//! Closing a TCP socket while the client still sends (HTTP/2 window updates as a rule) resets the connection and takes
//! what the client has not read yet with it (RFC 9112, section 9.6). The handle that stays behind lets
//! [`Socket::linger`] wait for the client to close first.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// A shared handle to a client's socket. One side at a time reads and writes.
#[derive(Clone, Debug)]
pub(crate) struct Socket {
    stream: Arc<TcpStream>,
    opened: Instant,
    /// When a body was last written, in milliseconds since it was opened.
    last_body: Arc<AtomicU64>,
}

impl Socket {
    /// Shares a socket.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self {
            stream: Arc::new(stream),
            opened: Instant::now(),
            last_body: Arc::default(),
        }
    }

    /// After all is written: says so, and waits until the client has closed or is silent. A client that was sent nothing of
    /// weight lately has read what it was sent: an idle connection holds up no drain.
    pub(crate) async fn linger(self) {
        let _ = SockRef::from(&*self.stream).shutdown(Shutdown::Write);
        let since_body = self.age().saturating_sub(self.last_body.load(Ordering::Relaxed));
        if since_body > SILENCE.as_millis().try_into().unwrap_or(u64::MAX) {
            return;
        }
        let _ = tokio::time::timeout(LINGER, self.closed_or_silent()).await;
    }

    async fn closed_or_silent(&self) {
        let mut discarded = vec![0; DISCARD];
        while let Ok(Ok(())) = tokio::time::timeout(SILENCE, self.stream.readable()).await {
            match self.stream.try_read(&mut discarded) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }

    fn age(&self) -> u64 {
        self.opened.elapsed().as_millis().try_into().unwrap_or(u64::MAX)
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_try_write(context, |stream| stream.try_write(bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_try_write(context, |stream| stream.try_write_vectored(slices))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&*self.stream).shutdown(Shutdown::Write))
    }
}

impl Socket {
    fn poll_try_write(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => {
                    if result.as_ref().is_ok_and(|written| *written >= BODY) {
                        self.last_body.store(self.age(), Ordering::Relaxed);
                    }
                    return Poll::Ready(result);
                }
            }
        }
    }
}

/// How long a client that is sent its last bytes may be silent. One that still reads sends window updates meanwhile.
const SILENCE: Duration = Duration::from_secs(3);
/// How long it may take in all.
const LINGER: Duration = Duration::from_secs(30);
/// What is written at once and is no mere control frame or alert.
const BODY: usize = 512;
const DISCARD: usize = 4096;
