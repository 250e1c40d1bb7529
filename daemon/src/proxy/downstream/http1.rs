//! HTTP/1.1 to clients: requests on one connection, until the client is done or the daemon drains.
//!
//! cargo and git keep idle connections while they compile. For each connection, hyper holds two buffers and room for the
//! future of a request, 27 KiB together. A connection without a request for [`RELEASE_AFTER`] drops them and keeps its
//! stream. The client's next byte creates them again.

mod idle_stream;

use std::convert::Infallible;
use std::error::Error as StdError;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::Instant;

use crate::proxy::downstream::drain::{self, RequestTracker, TrackedBody};
use crate::proxy::downstream::socket::SILENCE_TIMEOUT;
use crate::proxy::state::ProxyState;
use idle_stream::{IdleStream, Releasable};

/// Serves the requests on a stream. `head` are the bytes of the first request that were read before.
///
/// # Errors
/// When the stream fails, the client violates HTTP/1.1, or the head of a request takes too long.
pub(crate) async fn serve<S, F, R, B>(state: &ProxyState, stream: S, head: Bytes, respond: F) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Result<Response<B>, Infallible>>,
    B: Body + Unpin + 'static,
    B::Error: Into<Box<dyn StdError + Send + Sync>>,
{
    let requests = RequestTracker::default();
    if !head.is_empty() {
        drop(requests.begin());
    }
    let releasable = Releasable::default();
    let service = service_fn(|request: Request<Incoming>| {
        releasable.note_request(&request);
        let (open, response) = (requests.begin(), respond(request));
        async {
            let response = drain::close_if_draining(state, response.await?);
            Ok::<_, Infallible>(response.map(|body| TrackedBody::new(body, open)))
        }
    });
    let connection = Connection {
        state,
        requests: &requests,
        releasable: &releasable,
    };
    connection
        .serve(IdleStream::new(stream, head, &releasable), service)
        .await
}

/// HTTP/1.1 connection, apart from its stream.
struct Connection<'a> {
    state: &'a ProxyState,
    requests: &'a RequestTracker,
    releasable: &'a Releasable,
}

impl Connection<'_> {
    async fn serve<S, T>(&self, mut stream: IdleStream<'_, S>, service: T) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: HttpService<Incoming> + Copy,
        T::ResBody: 'static,
        <T::ResBody as Body>::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        // The first head, or the end of the last response, begins the time in which the next head must be complete.
        let mut deadline = Instant::now() + IDLE_TIMEOUT;
        loop {
            let begun = self.requests.begun();
            let Some(idle) = Box::pin(self.serve_until_idle(stream, service, deadline)).await? else {
                return Ok(());
            };
            stream = idle;
            if self.has_begun_since(begun) {
                deadline = Instant::now() + IDLE_TIMEOUT - RELEASE_AFTER;
            }
            // With a part of a head there is nothing to wait for, and the deadline stays.
            if stream.has_unread() {
                continue;
            }
            if !self.next_byte(&mut stream, deadline).await {
                let _ = tokio::time::timeout(SILENCE_TIMEOUT, stream.shutdown()).await;
                return Ok(());
            }
            deadline = deadline.max(Instant::now() + HEAD_TIMEOUT);
        }
    }

    /// Serves requests with hyper. Returns the stream once the connection is idle, and `None` at its end.
    async fn serve_until_idle<'s, S, T>(
        &self,
        stream: IdleStream<'s, S>,
        service: T,
        deadline: Instant,
    ) -> hyper::Result<Option<IdleStream<'s, S>>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
        T: HttpService<Incoming>,
        T::ResBody: 'static,
        <T::ResBody as Body>::Error: Into<Box<dyn StdError + Send + Sync>>,
    {
        let begun = self.requests.begun();
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT)
            .max_header_size(MAX_HEADER_BYTES)
            .max_buf_size(BUFFER_BYTES);
        let mut served = builder.serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            // A request that arrives at this moment is served first.
            biased;
            result = &mut served => return result.map(|()| None),
            () = drain::keep_alive_grace(self.state, self.requests) => {
                std::pin::Pin::new(&mut served).graceful_shutdown();
                return served.await.map(|()| None);
            }
            () = self.first_head_overdue(begun, deadline) => return Ok(None),
            () = self.until_idle() => {}
        }
        let parts = served.into_parts();
        let mut stream = parts.io.into_inner();
        stream.unread(parts.read_buf);
        Ok(Some(stream))
    }

    /// Waits for the deadline of the head that hyper reads first; forever if it is complete by then. Later heads have hyper's own
    /// limit.
    async fn first_head_overdue(&self, begun: usize, deadline: Instant) {
        tokio::time::sleep_until(deadline).await;
        if self.has_begun_since(begun) {
            std::future::pending().await
        }
    }

    fn has_begun_since(&self, begun: usize) -> bool {
        self.requests.begun() > begun
    }

    async fn until_idle(&self) {
        loop {
            self.requests.until_idle_for(RELEASE_AFTER).await;
            if self.releasable.is_set() {
                return;
            }
        }
    }

    /// Waits for the next byte of the client; false at the end of the stream, at the deadline, and when the daemon drains.
    async fn next_byte<S: AsyncRead + Unpin>(&self, stream: &mut IdleStream<'_, S>, deadline: Instant) -> bool {
        tokio::select! {
            more = stream.wait_for_byte() => more,
            () = tokio::time::sleep_until(deadline) => false,
            () = drain::keep_alive_grace(self.state, self.requests) => false,
        }
    }
}

/// Limit for a connection without a request, and for the head of a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
/// A client that sends its requests one after the other pauses for less.
const RELEASE_AFTER: Duration = Duration::from_secs(1);
/// Minimum time for the head of a request that begins at the end of [`IDLE_TIMEOUT`].
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_HEADER_BYTES: usize = 32 * 1024;
const BUFFER_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
