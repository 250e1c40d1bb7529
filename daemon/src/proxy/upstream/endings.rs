//! Streams of upstream connections that note what the HTTP library does not tell: that the server has spoken, and that it
//! closed TLS without `close_notify`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use hyper::rt::{Read, ReadBufCursor, Write};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use crate::proxy::upstream::connection_load::ConnectionLoad;
use crate::proxy::upstream::opening::CONNECT_TIMEOUT;

/// HTTP/1.1 stream whose end without `close_notify` (RFC 8446, section 6.1) is an end, as for curl and browsers.
///
/// HTTP/1.0 servers close like this. Whether a response is complete is then known only by its framing: one with a length
/// or chunks that ends early fails, and one without either ends with the connection. The note in [`ConnectionLoad`] makes
/// the log say so.
pub(super) struct LenientClose<S> {
    stream: S,
    load: Arc<ConnectionLoad>,
}

impl<S> LenientClose<S> {
    pub(super) fn new(stream: S, load: Arc<ConnectionLoad>) -> Self {
        Self { stream, load }
    }
}

impl<S: Read + Unpin> Read for LenientClose<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        match ready!(Pin::new(&mut self.stream).poll_read(context, buffer)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.load.note_missing_close_notify();
                Poll::Ready(Ok(()))
            }
            read => Poll::Ready(read),
        }
    }
}

impl<S: Write + Unpin> Write for LenientClose<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// HTTP/2 stream that counts the server's bytes, and fails if there are none in [`CONNECT_TIMEOUT`]. A server that
/// accepts the TLS handshake and sends no SETTINGS frame does not serve.
pub(super) struct FirstBytes<S> {
    stream: S,
    load: Arc<ConnectionLoad>,
    /// `None` once the server has sent bytes.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> FirstBytes<S> {
    pub(super) fn new(stream: S, load: Arc<ConnectionLoad>) -> Self {
        Self {
            stream,
            load,
            deadline: Some(Box::pin(tokio::time::sleep(CONNECT_TIMEOUT))),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.load.note_received(buffer.filled().len() - before);
        let Some(deadline) = &mut self.deadline else {
            return read;
        };
        if read.is_pending() {
            ready!(deadline.as_mut().poll(context));
            let silent = "the server sent nothing after the TLS handshake";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, silent)));
        }
        if buffer.filled().len() > before {
            self.load.note_first_bytes();
            self.deadline = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_server_that_never_speaks_is_an_error_and_a_quiet_one_is_not() {
        let (mut server, client) = tokio::io::duplex(64);
        let mut client = FirstBytes::new(client, ConnectionLoad::after(0));
        let error = client.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        server.write_all(b"x").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'x');
        let silence = tokio::time::timeout(CONNECT_TIMEOUT * 100, client.read_u8());
        assert!(silence.await.is_err(), "it has spoken once");
    }
}
