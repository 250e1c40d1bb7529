//! Stream of an HTTP/1.1 connection that hyper can give back between two requests.
//!
//! hyper gives a stream back at any time, and drops what it has not written. [`Releasable`] says if that is nothing.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http::Request;
use http_body::Body;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// Condition on which an idle connection loses nothing when hyper gives its stream back.
#[derive(Debug)]
pub(super) struct Releasable {
    /// False from a write until its flush.
    is_flushed: AtomicBool,
    /// True if the last request had a body. Its rest may still be on the way, after the response.
    has_body: AtomicBool,
    /// True once hyper ends the connection. The client may not read the end yet.
    is_ending: AtomicBool,
}

impl Releasable {
    /// True if all is written, and the next byte of the client begins a request that is to be served.
    pub(super) fn is_set(&self) -> bool {
        self.is_flushed.load(Ordering::Relaxed)
            && !self.has_body.load(Ordering::Relaxed)
            && !self.is_ending.load(Ordering::Relaxed)
    }

    pub(super) fn note_request<B: Body>(&self, request: &Request<B>) {
        self.has_body.store(!request.body().is_end_stream(), Ordering::Relaxed);
    }

    fn note_flushed(&self, is_flushed: bool) {
        self.is_flushed.store(is_flushed, Ordering::Relaxed);
    }
}

impl Default for Releasable {
    fn default() -> Self {
        Self {
            is_flushed: AtomicBool::new(true),
            has_body: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
        }
    }
}

/// Stream with bytes that were read and are to be read again.
#[derive(Debug)]
pub(super) struct IdleStream<'a, S> {
    stream: S,
    unread: Bytes,
    releasable: &'a Releasable,
}

impl<'a, S> IdleStream<'a, S> {
    /// Stream whose first bytes are `unread`.
    pub(super) fn new(stream: S, unread: Bytes, releasable: &'a Releasable) -> Self {
        Self {
            stream,
            unread,
            releasable,
        }
    }

    /// Returns bytes to the stream that hyper read and did not use.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        // Empty bytes would keep hyper's buffer alive.
        if bytes.is_empty() {
            return;
        }
        // hyper reads what was returned to it before it reads on, so nothing is lost.
        if self.unread.is_empty() {
            self.unread = bytes;
        } else {
            self.unread = [bytes, std::mem::take(&mut self.unread)].concat().into();
        }
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }
}

impl<S: AsyncRead + Unpin> IdleStream<'_, S> {
    /// Waits for a byte and leaves it in the stream; false at the end of the stream or after an error.
    pub(super) async fn wait_for_byte(&mut self) -> bool {
        let mut byte = [0];
        let has_more = matches!(self.stream.read(&mut byte).await, Ok(1..));
        if has_more {
            self.unread = Bytes::copy_from_slice(&byte);
        }
        has_more
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for IdleStream<'_, S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let length = self.unread.len().min(buffer.remaining());
        let mut bytes = self.unread.split_to(length);
        bytes.copy_to_slice(buffer.initialize_unfilled_to(length));
        buffer.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for IdleStream<'_, S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.releasable.note_flushed(false);
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.releasable.note_flushed(false);
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.releasable.note_flushed(matches!(flushed, Poll::Ready(Ok(()))));
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.releasable.is_ending.store(true, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
