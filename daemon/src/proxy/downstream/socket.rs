//! A client's socket that comes back when the HTTP on it is over, so that its last bytes arrive.
//!
//! Closing a TCP socket while the client still sends (HTTP/2 window updates as a rule) resets the connection and takes
//! what the client has not read yet with it (RFC 9112, section 9.6). What comes back can [`Leftover::linger`] and wait for
//! the client to close first.

use std::io;
use std::net::Shutdown;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

/// A client's socket, lent to the HTTP on it.
#[derive(Debug)]
pub(crate) struct Socket {
    /// Taken when it is dropped.
    stream: Option<TcpStream>,
    last_body: Option<Instant>,
    back: Option<oneshot::Sender<Leftover>>,
}

/// Where a [`Socket`] comes back to.
#[derive(Debug)]
pub(crate) struct Return(oneshot::Receiver<Leftover>);

/// A socket that carries no HTTP any more.
#[derive(Debug)]
struct Leftover {
    stream: TcpStream,
    last_body: Option<Instant>,
}

impl Socket {
    /// Lends a socket.
    pub(crate) fn lend(stream: TcpStream) -> (Self, Return) {
        let (back, place) = oneshot::channel();
        let socket = Self {
            stream: Some(stream),
            last_body: None,
            back: Some(back),
        };
        (socket, Return(place))
    }

    /// It is there until it is dropped.
    fn stream(&mut self) -> io::Result<Pin<&mut TcpStream>> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(stream))
    }

    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(length)) if length >= BODY) {
            self.last_body = Some(Instant::now());
        }
        written
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        if let (Some(stream), Some(back)) = (self.stream.take(), self.back.take()) {
            let last_body = self.last_body;
            let _ = back.send(Leftover { stream, last_body });
        }
    }
}

impl Return {
    /// After all is written and the HTTP has let go: says so to the client, and waits until it has closed or is silent. A
    /// client that was sent nothing of weight lately has read what it was sent: an idle connection holds up no drain.
    pub(crate) async fn linger(self) {
        let Ok(Leftover { stream, last_body }) = self.0.await else {
            return;
        };
        let _ = SockRef::from(&stream).shutdown(Shutdown::Write);
        if last_body.is_some_and(|last| last.elapsed() < SILENCE) {
            let _ = tokio::time::timeout(LINGER, closed_or_silent(&stream)).await;
        }
    }
}

async fn closed_or_silent(stream: &TcpStream) {
    let mut discarded = vec![0; DISCARD];
    while let Ok(Ok(())) = tokio::time::timeout(SILENCE, stream.readable()).await {
        match stream.try_read(&mut discarded) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write(context, bytes);
        self.note(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.stream()?.poll_write_vectored(context, slices);
        self.note(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(context)
    }
}

/// How long a client that is sent its last bytes may be silent. One that still reads sends window updates meanwhile.
const SILENCE: Duration = Duration::from_secs(3);
/// How long it may take in all.
const LINGER: Duration = Duration::from_secs(30);
/// What is written at once and is no mere control frame or alert.
const BODY: usize = 512;
const DISCARD: usize = 4096;
