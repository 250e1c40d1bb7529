//! Closing of client sockets without losing the last bytes.
//!
//! Closing a TCP socket while the client still sends resets the connection, and the client loses bytes that it has not
//! read yet (RFC 9112, section 9.6). HTTP/2 clients still send window updates. So the HTTP server gets a [`ClientSocket`],
//! which hands the TCP stream back when the server drops it. [`SocketReclaim::linger`] then waits for the client to close.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::proxy::downstream::client_stream::ClientStream;

/// Client socket that hands its stream to a [`SocketReclaim`] on drop.
#[derive(Debug)]
pub(crate) struct ClientSocket {
    /// `None` only while the socket is dropped.
    stream: Option<ClientStream>,
    last_body: Option<Instant>,
    /// Shorter writes are no part of a body.
    min_body_bytes: usize,
    reclaim: Option<oneshot::Sender<ReclaimedSocket>>,
}

/// Receiver of the stream of a dropped [`ClientSocket`].
#[derive(Debug)]
pub(crate) struct SocketReclaim(oneshot::Receiver<ReclaimedSocket>);

#[derive(Debug)]
struct ReclaimedSocket {
    stream: ClientStream,
    last_body: Option<Instant>,
}

impl ClientSocket {
    /// Wraps a stream of TLS.
    pub(crate) fn new(stream: ClientStream) -> (Self, SocketReclaim) {
        Self::with_min_body(stream, MIN_BODY_BYTES)
    }

    /// Wraps a stream of plain HTTP/1.1, where each write is part of a response.
    pub(crate) fn plain(stream: ClientStream) -> (Self, SocketReclaim) {
        Self::with_min_body(stream, 1)
    }

    fn with_min_body(stream: ClientStream, min_body_bytes: usize) -> (Self, SocketReclaim) {
        let (reclaim, receiver) = oneshot::channel();
        let socket = Self {
            stream: Some(stream),
            last_body: None,
            min_body_bytes,
            reclaim: Some(reclaim),
        };
        (socket, SocketReclaim(receiver))
    }

    fn stream(&mut self) -> io::Result<Pin<&mut ClientStream>> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Pin::new(stream))
    }

    /// Remembers the time of a write that is large enough to be part of a body.
    fn note(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Ok(length)) if length >= self.min_body_bytes) {
            self.last_body = Some(Instant::now());
        }
        written
    }
}

impl Drop for ClientSocket {
    fn drop(&mut self) {
        if let (Some(stream), Some(reclaim)) = (self.stream.take(), self.reclaim.take()) {
            let last_body = self.last_body;
            let _ = reclaim.send(ReclaimedSocket { stream, last_body });
        }
    }
}

impl SocketReclaim {
    /// Waits for the stream, shuts down its write side, and waits until the client has closed or is silent.
    ///
    /// It waits for the client only if a body was sent lately: an idle connection does not delay a drain.
    pub(crate) async fn linger(self) {
        let Ok(ReclaimedSocket { mut stream, last_body }) = self.0.await else {
            return;
        };
        let _ = tokio::time::timeout(SILENCE_TIMEOUT, stream.shutdown()).await;
        if last_body.is_some_and(|last| last.elapsed() < SILENCE_TIMEOUT) {
            discard_until_closed(stream.tcp()).await;
        }
    }
}

/// Reads and drops what the client sends until it has closed, is silent, or has taken [`LINGER_TIMEOUT`].
pub(super) async fn discard_until_closed(stream: &TcpStream) {
    let _ = tokio::time::timeout(LINGER_TIMEOUT, closed_or_silent(stream)).await;
}

async fn closed_or_silent(stream: &TcpStream) {
    let mut discarded = vec![0; DISCARD_BYTES];
    while let Ok(Ok(())) = tokio::time::timeout(SILENCE_TIMEOUT, stream.readable()).await {
        match stream.try_read(&mut discarded) {
            Ok(0) => return,
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for ClientSocket {
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

/// A client that still reads its last bytes sends window updates at shorter intervals.
pub(super) const SILENCE_TIMEOUT: Duration = Duration::from_secs(3);
/// Longest wait for a client that goes on sending.
pub(super) const LINGER_TIMEOUT: Duration = Duration::from_secs(30);
/// Control frames and alerts are shorter.
const MIN_BODY_BYTES: usize = 512;
const DISCARD_BYTES: usize = 4096;
