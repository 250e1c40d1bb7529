//! How long a draining daemon waits for whom: nobody who was let in finds a closed door in front of an answer.
//!
//! A request in flight finishes. What is asked for in the moment of the end is answered too: a client that has connected is
//! about to say what it wants, one whose last answer has just come may be sending its next request. An idle connection is
//! told that it is the last (`Connection: close`, GOAWAY) and ended after a pause that is long for a busy client and short
//! for a person who waits. Tunnels are ended when nothing moves in them any more.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use http::header::{CONNECTION, HeaderValue};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::proxy::worker::Plane;

/// Until who has connected and not said what it wants has had its time.
pub(crate) async fn undecided(plane: &Plane) {
    plane.drain.cancelled().await;
    tokio::time::sleep(UNDECIDED).await;
}

/// Until the next request of a busy client would have come; who has not asked for anything yet has its time first.
pub(crate) async fn between_requests(plane: &Plane, has_asked: &AtomicBool) {
    plane.drain.cancelled().await;
    tokio::time::sleep(BETWEEN_REQUESTS).await;
    if !has_asked.load(Ordering::Relaxed) {
        tokio::time::sleep(UNDECIDED - BETWEEN_REQUESTS).await;
    }
}

/// An answer of HTTP/1.1, the last on its connection when the daemon drains.
pub(crate) fn last<B>(plane: &Plane, mut answer: Response<B>) -> Response<B> {
    if plane.drain.is_cancelled() {
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// A tunnel's end that knows whether anything moves.
#[derive(Debug)]
pub(crate) struct Watched<S> {
    stream: S,
    moved: Movement,
}

/// Counts up with whatever is read or written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Movement(Arc<AtomicU64>);

impl<S> Watched<S> {
    /// Watches a stream.
    pub(crate) fn new(stream: S) -> (Self, Movement) {
        let moved = Movement::default();
        let watched = Self {
            stream,
            moved: moved.clone(),
        };
        (watched, moved)
    }
}

impl Movement {
    /// Until the daemon drains and nothing moves any more.
    pub(crate) async fn has_ended(&self, plane: &Plane) {
        plane.drain.cancelled().await;
        let mut before = self.0.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(STILL).await;
            let now = self.0.load(Ordering::Relaxed);
            if now == before {
                return;
            }
            before = now;
        }
    }

    fn note<T>(&self, result: &Poll<io::Result<T>>) {
        if matches!(result, Poll::Ready(Ok(_))) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.moved.note(&result);
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.moved.note(&result);
        result
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// For a CONNECT's head, the handshake after it and the first request, each. They follow at once, but where a client opens
/// many connections and reads the bundle for each.
const UNDECIDED: Duration = Duration::from_secs(5);
const BETWEEN_REQUESTS: Duration = Duration::from_secs(1);
/// Clients keep idle tunnels open for minutes.
const STILL: Duration = Duration::from_secs(5);
