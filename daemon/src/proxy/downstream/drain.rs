//! Grace periods of a draining daemon: it answers every request that it has let in.
//!
//! A request in flight finishes. A client that has just connected is about to send a request, and one that has just read
//! a response may be sending the next. Closing at once would race with both, so they get a grace period. It is long for a
//! busy client and short for a person who waits for the daemon to stop. After it, an idle connection ends (`Connection:
//! close`, GOAWAY). A [tunnel](crate::proxy::downstream::tunnel) has a grace period of its own.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use http::Response;
use http::header::{CONNECTION, HeaderValue};
use http_body::{Body, Frame, SizeHint};

use crate::proxy::downstream::unread;
use crate::proxy::state::ProxyState;

/// Waits for the drain and then as long as a client may take for its CONNECT, its handshake or its first request.
pub(crate) async fn first_request_grace(state: &ProxyState) {
    state.drain.cancelled().await;
    tokio::time::sleep(FIRST_REQUEST_GRACE).await;
}

/// Waits for the drain and then as long as an HTTP/1.1 client may take for its next request.
pub(crate) async fn keep_alive_grace(state: &ProxyState, requests: &RequestTracker) {
    state.drain.cancelled().await;
    let grace = if requests.has_begun() {
        KEEP_ALIVE_GRACE
    } else {
        FIRST_REQUEST_GRACE
    };
    tokio::time::sleep(grace).await;
}

/// Waits for the drain and then as long as an HTTP/2 client may take for its first request. Later requests need no grace:
/// GOAWAY has two steps and races with none.
pub(crate) async fn goaway_grace(state: &ProxyState, requests: &RequestTracker) {
    state.drain.cancelled().await;
    if !requests.has_begun() {
        tokio::time::sleep(FIRST_REQUEST_GRACE).await;
    }
}

/// Tracker of the requests on one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestTracker(Arc<RequestCounts>);

#[derive(Debug, Default)]
struct RequestCounts {
    begun: AtomicUsize,
    open: AtomicUsize,
}

impl RequestTracker {
    /// Counts a request as open until the returned guard is dropped.
    pub(crate) fn begin(&self) -> OpenRequest {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        self.0.open.fetch_add(1, Ordering::Relaxed);
        OpenRequest(Arc::clone(&self.0))
    }

    /// Waits until no request has been open for [`QUIET_PERIOD`]. A client that compiles does not read its connections, so
    /// it does not notice a GOAWAY and does not close.
    pub(crate) async fn until_quiet(&self) {
        self.until_idle_for(QUIET_PERIOD).await;
    }

    /// Waits until no request has begun or been open for `period`, with a precision of a tenth of it.
    pub(crate) async fn until_idle_for(&self, period: Duration) {
        let step = period / 10;
        let (mut idle, mut before) = (Duration::ZERO, self.begun());
        while idle < period {
            tokio::time::sleep(step).await;
            let now = self.begun();
            let none = now == before && self.0.open.load(Ordering::Relaxed) == 0;
            idle = if none { idle + step } else { Duration::ZERO };
            before = now;
        }
    }

    fn has_begun(&self) -> bool {
        self.begun() > 0
    }

    /// Number of requests that have begun.
    pub(crate) fn begun(&self) -> usize {
        self.0.begun.load(Ordering::Relaxed)
    }
}

/// Guard of a request that is open.
#[derive(Debug)]
pub(crate) struct OpenRequest(Arc<RequestCounts>);

impl Drop for OpenRequest {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Response body that keeps its request open until it has been sent, and notes if the client reads it.
#[derive(Debug)]
pub(crate) struct TrackedBody<B> {
    body: B,
    _open: OpenRequest,
}

impl<B> TrackedBody<B> {
    pub(crate) fn new(body: B, open: OpenRequest) -> Self {
        unread::note_given(0);
        Self { body, _open: open }
    }
}

impl<B: Body + Unpin> Body for TrackedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => unread::note_given(frame.data_ref().map_or(0, Buf::remaining)),
            Poll::Ready(_) => {}
            Poll::Pending => unread::note_waiting(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Marks an HTTP/1.1 response as the last on its connection if the daemon drains.
pub(crate) fn close_if_draining<B>(state: &ProxyState, mut response: Response<B>) -> Response<B> {
    if state.drain.is_cancelled() {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// Applies to a CONNECT's head, its handshake and its first request, each. They usually follow at once. A client that opens
/// many connections and reads the bundle for each takes longer.
const FIRST_REQUEST_GRACE: Duration = Duration::from_secs(5);
const KEEP_ALIVE_GRACE: Duration = Duration::from_secs(1);
/// Long enough for a slow client to read the end of a response.
const QUIET_PERIOD: Duration = Duration::from_secs(5);
