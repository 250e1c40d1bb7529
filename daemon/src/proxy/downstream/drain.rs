//! How long a draining daemon waits for whom: nobody who was let in finds a closed door in front of an answer.
//!
//! A request in flight finishes. What is asked for in the moment of the end is answered too: a client that has connected is
//! about to say what it wants, one whose last answer has just come may be sending its next request. An idle connection is
//! told that it is the last (`Connection: close`, GOAWAY) and ended after a pause that is long for a busy client and short
//! for a person who waits. How long a tunnel has, it knows itself.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::Response;
use http::header::{CONNECTION, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use crate::proxy::downstream::worker::ProxyState;

/// Until who has connected and not said what it wants has had its time.
pub(crate) async fn undecided(plane: &ProxyState) {
    plane.drain.cancelled().await;
    tokio::time::sleep(UNDECIDED).await;
}

/// Until the next request of a busy client would have come; who has not asked for anything yet has its time first.
pub(crate) async fn between_requests(plane: &ProxyState, requests: &Requests) {
    plane.drain.cancelled().await;
    let pause = if requests.has_begun() {
        BETWEEN_REQUESTS
    } else {
        UNDECIDED
    };
    tokio::time::sleep(pause).await;
}

/// The same on HTTP/2, whose GOAWAY comes in two steps and races with no request: only the first one is waited for.
pub(crate) async fn before_the_first_request(plane: &ProxyState, requests: &Requests) {
    plane.drain.cancelled().await;
    if !requests.has_begun() {
        tokio::time::sleep(UNDECIDED).await;
    }
}

/// A connection's requests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicUsize,
    open: AtomicUsize,
}

impl Requests {
    /// One begins; it is open until what comes back is dropped.
    pub(crate) fn begin(&self) -> Open {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        Open(Arc::clone(&self.0))
    }

    /// Until none has been open for a while. A client that computes does not look at its connections, so it does not see
    /// a GOAWAY and closes nothing.
    pub(crate) async fn have_ended(&self) {
        self.pause_for(STILL).await;
    }

    /// Until none has begun or been open for so long; found out a tenth of that later at most.
    pub(crate) async fn pause_for(&self, long: Duration) {
        let step = long / 10;
        let (mut quiet, mut before) = (Duration::ZERO, self.begun());
        while quiet < long {
            tokio::time::sleep(step).await;
            let now = self.begun();
            let none = now == before && self.0.open.load(Ordering::Relaxed) == 0;
            quiet = if none { quiet + step } else { Duration::ZERO };
            before = now;
        }
    }

    fn has_begun(&self) -> bool {
        self.begun() > 0
    }

    fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }
}

/// A request that has begun.
#[derive(Debug)]
pub(crate) struct Open(Arc<Counts>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An answer's body, which keeps its request open.
#[derive(Debug)]
pub(crate) struct Answering<B> {
    body: B,
    _open: Open,
}

impl<B> Answering<B> {
    /// Keeps a request open until its body has gone.
    pub(crate) fn new(body: B, open: Open) -> Self {
        Self { body, _open: open }
    }
}

impl<B: Body + Unpin> Body for Answering<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An answer of HTTP/1.1, the last on its connection when the daemon drains.
pub(crate) fn last<B>(plane: &ProxyState, mut answer: Response<B>) -> Response<B> {
    if plane.drain.is_cancelled() {
        answer
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

/// For a CONNECT's head, the handshake after it and the first request, each. They follow at once, but where a client opens
/// many connections and reads the bundle for each.
const UNDECIDED: Duration = Duration::from_secs(5);
const BETWEEN_REQUESTS: Duration = Duration::from_secs(1);
/// Long enough for the end of an answer to be read by a slow client.
const STILL: Duration = Duration::from_secs(5);
