//! Bodies in transit: streamed as they come, cut when the sender stalls.
//!
//! A body ends only as its framing says. An HTTP/2 stream that ends without END_STREAM was cut, also if its reset or the
//! GOAWAY names no error. An HTTP/1.1 response without a length or chunks ends with the connection.
//!
//! A body that moves costs one addition a frame. A body that stalls costs one timer, which is read when its window ends.
//! Trailers are dropped: cargo, git, pip and npm send none, and nobody has checked the headers in them.

mod copy;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, Request, Version, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use tokio::runtime::Handle;
use tokio::time::{Instant, Sleep};
use tokio_util::task::TaskTracker;

use crate::proxy::exchange::expectation::BodyHold;
use crate::proxy::read_ahead::Budget;
use crate::proxy::upstream::connection_load::ConnectionLoad;

use copy::{BodyCopy, CopiedBody};

/// Body of an upstream request: the client's as it streams in, or an empty or short one of our own.
pub(crate) type RequestBody = Either<MinRateBody<(), ClientBody>, Full<Bytes>>;

/// Counter of the bytes of a request's body; `None` if it has none.
pub(crate) fn upload_progress(request: &mut Request<RequestBody>) -> Option<BodyProgress> {
    match request.body_mut() {
        Either::Left(body) if !body.is_end_stream() => Some(body.progress()),
        _ => None,
    }
}

/// Body of a client's request. What is unread when it is dropped is read and discarded over HTTP/2, within limits.
///
/// An HTTP/2 server that drops an unfinished body resets the stream. The reset follows our response at once, and libcurl
/// before 8 then reports an error in place of the response. Over HTTP/1.1, hyper and the socket's lingering do the same.
#[derive(Debug)]
pub struct ClientBody {
    /// `None` only while the body is dropped.
    body: Option<Incoming>,
    /// Tracker of the task that discards the rest; `None` over HTTP/1.1.
    tasks: Option<TaskTracker>,
}

impl ClientBody {
    /// Wraps the body of a request that came with this version of HTTP.
    pub(crate) fn new(body: Incoming, version: Version, tasks: &TaskTracker) -> Self {
        Self {
            body: Some(body),
            tasks: (version == Version::HTTP_2).then(|| tasks.clone()),
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let unread = self.body.take().filter(|body| !body.is_end_stream());
        // Outside of a runtime the connection is gone as well.
        if let (Some(body), Some(tasks), Ok(_)) = (unread, &self.tasks, Handle::try_current()) {
            tasks.spawn(discard(body));
        }
    }
}

/// Reads a body to its end, or until a limit is reached or the connection ends.
async fn discard(mut body: Incoming) {
    let reading = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, |data| data.len() as u64);
            if discarded > MAX_DISCARDED_BYTES {
                break;
            }
        }
    };
    let _ = tokio::time::timeout(DISCARD_TIMEOUT, reading).await;
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, Body::size_hint)
    }
}

/// Body that fails when its sender falls below a minimum rate. Holds a guard `G` until it is dropped.
#[derive(Debug)]
pub struct MinRateBody<G = (), B = Incoming> {
    body: B,
    min_rate: MinRate,
    received: u64,
    window: Option<Pin<Box<Sleep>>>,
    progress: Option<BodyProgress>,
    hold: Option<BodyHold>,
    copy: Option<Box<BodyCopy>>,
    end: End,
    _guard: G,
}

/// Framing of a body's end.
#[derive(Debug)]
pub(crate) enum End {
    /// A length or chunks, which the HTTP library checks.
    Framed,
    /// END_STREAM. The HTTP library also ends a body that was reset with NO_ERROR.
    Http2,
    /// The end of the connection to this host.
    Connection(Arc<ConnectionLoad>, Authority),
}

impl End {
    /// Framing of a response with this head; `peer` gives the connection and its host.
    pub(crate) fn of_response(
        version: Version,
        headers: &HeaderMap,
        peer: impl FnOnce() -> (Arc<ConnectionLoad>, Authority),
    ) -> Self {
        match version {
            Version::HTTP_2 => Self::Http2,
            _ if headers.contains_key(header::CONTENT_LENGTH) || headers.contains_key(header::TRANSFER_ENCODING) => {
                Self::Framed
            }
            _ => {
                let (load, host) = peer();
                Self::Connection(load, host)
            }
        }
    }
}

/// Minimum number of bytes within each window.
#[derive(Clone, Copy, Debug)]
struct MinRate {
    bytes: u64,
    window: Duration,
}

impl MinRateBody<(), ClientBody> {
    /// Body of a client's request: at least ten bytes a second, the limit of cargo and curl.
    pub(crate) fn request(version: Version, body: ClientBody) -> Self {
        let end = if version == Version::HTTP_2 {
            End::Http2
        } else {
            End::Framed
        };
        Self::new(body, CLIENT_MIN_RATE, end, ())
    }
}

impl<G> MinRateBody<G> {
    /// Body of a registry's response, which counts its bytes in `delivered`. A registry may pause to compute: git hosts then send five bytes every five seconds.
    pub(crate) fn response(body: Incoming, end: End, delivered: BodyProgress, guard: G) -> Self {
        let mut body = Self::new(body, REGISTRY_MIN_RATE, end, guard);
        body.progress = Some(delivered);
        body
    }
}

impl<G, B> MinRateBody<G, B> {
    /// Counter of the bytes that pass from now on.
    pub fn progress(&mut self) -> BodyProgress {
        self.progress.get_or_insert_default().clone()
    }

    /// Keeps the body back until `hold` is ready.
    pub(super) fn hold(&mut self, hold: BodyHold) {
        self.hold = Some(hold);
    }

    /// Copies the body as it passes. The copy is delivered at its end, unless it is cut, longer than `max_size` bytes or
    /// beyond the budget.
    pub(in crate::proxy) fn copy(&mut self, max_size: usize, budget: Arc<Budget>) -> CopiedBody {
        let (copy, copied) = BodyCopy::new(max_size, budget);
        self.copy = Some(Box::new(copy));
        copied
    }

    /// Lets a body go that was kept back.
    pub(in crate::proxy) fn release(&mut self) {
        self.hold = None;
    }

    fn new(body: B, min_rate: MinRate, end: End, guard: G) -> Self {
        Self {
            body,
            min_rate,
            received: 0,
            window: None,
            progress: None,
            hold: None,
            copy: None,
            end,
            _guard: guard,
        }
    }

    /// Ready when the rate was too low. To be polled while the sender keeps us waiting.
    fn poll_stalled(&mut self, context: &mut Context<'_>) -> Poll<StalledBody> {
        let min_rate = self.min_rate;
        let window = self.window.get_or_insert_with(|| {
            self.received = 0;
            Box::pin(tokio::time::sleep(min_rate.window))
        });
        loop {
            ready!(window.as_mut().poll(context));
            let now = Instant::now();
            // If the window ended long ago, the receiver was the slow side: nobody polled us meanwhile.
            let was_polled = now < window.deadline() + POLL_DELAY;
            if was_polled && self.received < min_rate.bytes {
                return Poll::Ready(StalledBody);
            }
            self.received = 0;
            window.as_mut().reset(now + min_rate.window);
        }
    }
}

impl<G, B: Body> MinRateBody<G, B> {
    /// Adds a buffer to the copy, and delivers it with the last one: hyper does not ask for more after that.
    fn add_to_copy(&mut self, data: Option<&Bytes>) {
        let Some(mut copy) = self.copy.take() else { return };
        if data.is_some_and(|data| !copy.add(data)) {
            return;
        }
        if data.is_none() || self.body.is_end_stream() {
            copy.end();
        } else {
            self.copy = Some(copy);
        }
    }

    /// Checks the end of the body; an error if it was cut.
    fn end(&self) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        match &self.end {
            End::Framed => None,
            // All bytes of a declared length are the whole body.
            End::Http2 if self.body.is_end_stream() || self.body.size_hint().exact() == Some(0) => None,
            End::Http2 => Some(CutBody.into()),
            End::Connection(load, host) => {
                if load.has_no_close_notify() {
                    tracing::info!(
                        %host,
                        "passed on a response whose end is not certain: the host closed TLS without close_notify"
                    );
                }
                None
            }
        }
    }
}

impl<G, B> Body for MinRateBody<G, B>
where
    G: Unpin,
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Unpin,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(hold) = &mut self.hold {
            match ready!(hold.poll(context)) {
                Ok(()) => self.hold = None,
                Err(withheld) => return Poll::Ready(Some(Err(withheld.into()))),
            }
        }
        loop {
            return match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(Some(Ok(frame))) => match frame.data_ref() {
                    Some(data) => {
                        let length = data.len() as u64;
                        self.received += length;
                        if let Some(progress) = &self.progress {
                            progress.add(length);
                        }
                        if self.copy.is_some() {
                            self.add_to_copy(frame.data_ref());
                        }
                        Poll::Ready(Some(Ok(frame)))
                    }
                    None => continue,
                },
                Poll::Ready(Some(Err(error))) => Poll::Ready(Some(Err(error.into()))),
                Poll::Ready(None) => {
                    let cut = self.end();
                    if cut.is_none() {
                        self.add_to_copy(None);
                    }
                    Poll::Ready(cut.map(Err))
                }
                Poll::Pending => self.poll_stalled(context).map(|stalled| Some(Err(stalled.into()))),
            };
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Counter of the bytes of bodies that have passed.
#[derive(Clone, Debug, Default)]
pub struct BodyProgress(Arc<AtomicU64>);

impl BodyProgress {
    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Counts from zero.
    pub(in crate::proxy) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Adds bytes.
    pub(in crate::proxy) fn add(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// The sender fell below the minimum rate.
#[derive(Debug, thiserror::Error)]
#[error("the body stalled")]
pub(in crate::proxy) struct StalledBody;

/// The sender reset the HTTP/2 stream, or left the connection, before END_STREAM.
#[derive(Debug, thiserror::Error)]
#[error("the body was cut before its end")]
struct CutBody;

const CLIENT_MIN_RATE: MinRate = MinRate {
    bytes: 600,
    window: Duration::from_secs(60),
};
const REGISTRY_MIN_RATE: MinRate = MinRate {
    bytes: 1,
    window: Duration::from_secs(300),
};
/// Limits for the rest of a refused body. A client that has read its answer stops long before.
const MAX_DISCARDED_BYTES: u64 = 256 * 1024 * 1024;
const DISCARD_TIMEOUT: Duration = Duration::from_secs(30);
/// Delay after the end of a window within which a runtime polls a body whose receiver waits.
const POLL_DELAY: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
