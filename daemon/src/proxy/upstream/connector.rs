//! Opening of one upstream connection: dial, TLS, ALPN, and the HTTP/1.1 or HTTP/2 handshake.

use std::error::Error as StdError;
use std::fmt;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use http::header::{CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHORIZATION, TRANSFER_ENCODING};
use http::uri::{Authority, Scheme as UriScheme, Uri};
use http::{HeaderValue, Method, Request, Response};
use http_body::Body as _;
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::Executor;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConnection;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use crate::proxy::descriptors;
use crate::proxy::exchange::body::{BodyProgress, RequestBody};
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::dial::{Dialer, is_forbidden};
use crate::proxy::upstream::endings::{FirstBytes, LenientClose};
use crate::proxy::upstream::failure::{UpstreamFailure, is_stalled_upload};
use crate::proxy::upstream::opening::HEDGE_DELAY;
use crate::proxy::upstream::proxy_handshake::CorporateProxyError;
use crate::proxy::upstream::proxy_rules::CorporateProxy;
use crate::proxy::upstream::stream::DialedStream;
use crate::proxy::upstream::trust::{CertificateRequests, Trust, TrustError};
use crate::proxy::upstream::windows::Windows;
use crate::proxy::write_coalescer::{WriteCoalescer, coalesce};

/// Opener of verified connections. Clones share the trust and the cache of resumable TLS sessions.
#[derive(Clone)]
pub(crate) struct Connector {
    https: HttpsConnector<Dialer>,
    dialer: Dialer,
    has_client_certificate: bool,
    /// False if the registry's certificates cannot be read: then no connection is opened.
    is_usable: bool,
}

impl Connector {
    /// Connector that dials with `dialer` and trusts only `trust`.
    ///
    /// # Errors
    /// [`TrustError`] when the client certificate does not fit its key.
    pub(super) fn new(dialer: &Dialer, trust: Trust) -> Result<Self, TrustError> {
        let (has_client_certificate, is_usable) = (trust.has_client_certificate(), trust.is_usable());
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(trust.client_config()?)
            // Plain HTTP is for scopes on loopback; the URL of every other scope is https.
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(dialer.clone());
        Ok(Self {
            https,
            dialer: dialer.clone(),
            has_client_certificate,
            is_usable,
        })
    }

    /// Opens a connection to `destination`, the pool's only one if `is_first`, and counts its requests in `load`.
    ///
    /// # Errors
    /// A [`ProxyError`] for the client when the destination cannot be reached or verified.
    pub(super) async fn open(
        self,
        destination: &Destination,
        is_first: bool,
        load: &Arc<ConnectionLoad>,
    ) -> Result<NewConnection, ProxyError> {
        if !self.is_usable {
            return Err(ProxyError::Upstream(UpstreamFailure::CertificatesUnreadable));
        }
        let has_certificate = self.has_client_certificate;
        let (opened, was_requested) =
            CertificateRequests::notice(self.clone().connect(destination, is_first, load)).await;
        opened.map_err(|error| match self.proxy_error(&*error) {
            ProxyError::Upstream(failure) if was_requested => {
                ProxyError::Upstream(failure.after_certificate_request(has_certificate))
            }
            other => other,
        })
    }

    /// Maps an error of a connection to the error for the client, by the causes in its chain.
    pub(super) fn proxy_error(&self, error: &(dyn StdError + 'static)) -> ProxyError {
        tracing::debug!(error, "upstream request failed");
        descriptors::warn_if_exhausted(error);
        if is_forbidden(error) {
            ProxyError::HostDenied
        } else if is_stalled_upload(error) {
            ProxyError::ClientTimeout
        } else if let Some(error) = CorporateProxyError::find(error) {
            error.clone().into()
        } else {
            let failure = UpstreamFailure::of(error);
            ProxyError::Upstream(failure.with_client_certificate(self.has_client_certificate))
        }
    }

    async fn connect(
        mut self,
        destination: &Destination,
        is_first: bool,
        load: &Arc<ConnectionLoad>,
    ) -> Result<NewConnection, Box<dyn StdError + Send + Sync>> {
        let begin = Instant::now();
        let stream = match self.https.call(destination.uri.clone()).await? {
            MaybeHttpsStream::Https(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") => {
                let round_trip = begin.elapsed() / HANDSHAKE_ROUND_TRIPS;
                let windows = Windows::take(round_trip, is_first);
                return handshake_h2(stream.into_inner(), windows, load).await;
            }
            stream => stream,
        };
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(H1_BUFFER_BYTES)
            .max_headers(MAX_HEADERS)
            // RFC 9112, sections 5.1 and 5.2: a proxy removes the blanks and joins the lines. curl and browsers accept both.
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .handshake(LenientClose::new(stream, Arc::clone(load)))
            .await?;
        load.note_first_bytes();
        Ok(NewConnection {
            sender: RequestSender::H1(sender),
            driver: Box::pin(drive_until_idle(connection, Arc::clone(load))),
        })
    }
}

type Stream = TlsStream<TokioIo<TokioIo<DialedStream>>>;

async fn handshake_h2(
    stream: Stream,
    windows: Windows,
    load: &Arc<ConnectionLoad>,
) -> Result<NewConnection, Box<dyn StdError + Send + Sync>> {
    let (socket, session) = stream.into_inner();
    let (stream, coalescer) = coalesce(socket.into_inner().into_inner(), session);
    let (sender, connection) = http2::Builder::new(CoalescingExecutor::new(coalescer))
        .timer(TokioTimer::new())
        .initial_stream_window_size(windows.stream)
        .initial_connection_window_size(windows.connection)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .handshake(TokioIo::new(FirstBytes::new(stream, Arc::clone(load))))
        .await?;
    load.note_open(windows.connection);
    let driver = drive_until_idle(connection, Arc::clone(load));
    Ok(NewConnection {
        sender: RequestSender::H2(sender),
        driver: Box::pin(async move {
            let _windows = windows;
            driver.await;
        }),
    })
}

/// Executor for the tasks of one HTTP/2 connection. hyper spawns the task that reads and writes first, and that one drives
/// the write coalescer; the tasks of request bodies follow.
#[derive(Clone)]
struct CoalescingExecutor(Arc<Mutex<Option<WriteCoalescer<DialedStream, ClientConnection>>>>);

impl CoalescingExecutor {
    fn new(coalescer: WriteCoalescer<DialedStream, ClientConnection>) -> Self {
        Self(Arc::new(Mutex::new(Some(coalescer))))
    }
}

impl<F> Executor<F> for CoalescingExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let coalescer = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match coalescer {
            Some(coalescer) => TokioExecutor::new().execute(async move { coalescer.drive(pin!(task)).await }),
            None => TokioExecutor::new().execute(task),
        }
    }
}

/// Connection after its handshake.
pub(super) struct NewConnection {
    pub(super) sender: RequestSender,
    /// Reads and writes the connection while it is polled.
    pub(super) driver: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// URL scheme, host and port that a pool's connections lead to.
pub(super) struct Destination {
    uri: Uri,
    scheme: UriScheme,
    authority: Authority,
    host: HeaderValue,
    /// Corporate proxy that the connections lead to instead: it takes plain requests in absolute form.
    corporate_proxy: Option<Arc<CorporateProxy>>,
}

impl Destination {
    pub(super) fn new(scheme: UriScheme, authority: Authority) -> Self {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme.clone());
        parts.authority = Some(authority.clone());
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        Self {
            // A scheme, an authority and a path make a URI, and an authority's characters are valid in a header.
            uri: Uri::from_parts(parts).unwrap_or_default(),
            host: HeaderValue::from_str(authority.as_str()).unwrap_or(HeaderValue::from_static("")),
            scheme,
            authority,
            corporate_proxy: None,
        }
    }

    /// The destination by the way that the connector takes: plain requests may go to a corporate proxy.
    pub(super) fn through(self, connector: &Connector) -> Self {
        Self {
            corporate_proxy: connector.dialer.forwarding_proxy(&self.scheme, &self.authority),
            ..self
        }
    }

    pub(super) fn corporate_proxy(&self) -> Option<&CorporateProxy> {
        self.corporate_proxy.as_deref()
    }

    /// Host and port.
    pub(super) fn authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn is(&self, scheme: &UriScheme, authority: &Authority) -> bool {
        self.scheme == *scheme && self.authority == *authority
    }

    /// Turns a request into the form that HTTP/1.1 wants: for an origin a path and a Host (RFC 9112, section 3.2.1), for a
    /// corporate proxy the absolute form, a Host and the proxy's login.
    fn set_h1_form(&self, request: &mut Request<RequestBody>) {
        if let Some(proxy) = &self.corporate_proxy {
            if let Some(authorization) = &proxy.authorization {
                (request.headers_mut()).insert(PROXY_AUTHORIZATION, authorization.clone());
            }
        } else if let Some(path) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = path.into();
        }
        request.headers_mut().insert(HOST, self.host.clone());
        // hyper drops the body of a GET or HEAD that has no length, unless the request itself says that one follows.
        let may_lose_body = matches!(*request.method(), Method::GET | Method::HEAD);
        if may_lose_body && !request.body().is_end_stream() && !request.headers().contains_key(CONTENT_LENGTH) {
            let chunked = HeaderValue::from_static("chunked");
            request.headers_mut().insert(TRANSFER_ENCODING, chunked);
        }
    }

    /// Turns a request that was not sent back into absolute form.
    pub(super) fn set_absolute_form(&self, request: &mut Request<RequestBody>) {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        request.headers_mut().remove(HOST);
        request.headers_mut().remove(TRANSFER_ENCODING);
        request.headers_mut().remove(PROXY_AUTHORIZATION);
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// Handle that sends requests on a connection.
#[derive(Debug)]
pub(crate) enum RequestSender {
    /// One request at a time.
    H1(http1::SendRequest<RequestBody>),
    /// Many requests at a time.
    H2(http2::SendRequest<RequestBody>),
}

impl RequestSender {
    /// Sends a request in absolute form.
    ///
    /// # Errors
    /// The error holds the request if none of its bytes were sent.
    pub(super) async fn send(
        &mut self,
        destination: &Destination,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::H1(sender) => {
                destination.set_h1_form(&mut request);
                sender.try_send_request(request).await
            }
            Self::H2(sender) => {
                // See `expectation`.
                request.headers_mut().remove(EXPECT);
                if let Either::Left(body) = request.body_mut() {
                    body.release();
                }
                sender.try_send_request(request).await
            }
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::H1(sender) => sender.is_closed(),
            Self::H2(sender) => sender.is_closed(),
        }
    }

    /// The sender of an HTTP/1.1 connection, to be returned to the pool after its request.
    pub(super) fn into_h1(self) -> Option<http1::SendRequest<RequestBody>> {
        match self {
            Self::H1(sender) => Some(sender),
            Self::H2(_) => None,
        }
    }
}

/// Request counters of one connection, and notes about it.
#[derive(Debug)]
pub(crate) struct ConnectionLoad {
    /// Requests in flight.
    active: AtomicU32,
    /// Requests since the connection was opened.
    total: AtomicU32,
    /// The pool's count of retirements when the connection was opened.
    pub(super) retirements: u64,
    /// End of the TLS handshake.
    opened: OnceLock<Instant>,
    /// Flow-control window of an HTTP/2 connection.
    window: AtomicU32,
    /// Decrypted bytes that have arrived since the connection was last without a request.
    received: AtomicU64,
    /// Bytes of response bodies that clients have taken since then.
    delivered: BodyProgress,
    /// True if the server has sent its first bytes, or cannot be expected to before a request.
    has_spoken: AtomicBool,
    has_no_close_notify: AtomicBool,
}

impl ConnectionLoad {
    /// Counters of a connection that is opened after so many retirements of its pool.
    pub(super) fn after(retirements: u64) -> Arc<Self> {
        Arc::new(Self {
            active: AtomicU32::new(0),
            total: AtomicU32::new(0),
            retirements,
            opened: OnceLock::new(),
            window: AtomicU32::new(u32::MAX),
            received: AtomicU64::new(0),
            delivered: BodyProgress::default(),
            has_spoken: AtomicBool::new(false),
            has_no_close_notify: AtomicBool::new(false),
        })
    }

    fn note_open(&self, window: u32) {
        let _ = self.opened.set(Instant::now());
        self.window.store(window, Ordering::Relaxed);
    }

    pub(super) fn note_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counter of the bytes of response bodies that clients take.
    pub(super) fn delivered(&self) -> BodyProgress {
        self.delivered.clone()
    }

    /// Returns true if unread responses take half of the connection's window, so that they might stop another one.
    ///
    /// Heads and aborted responses count as unread until the connection is without a request. A connection that looks
    /// full for that reason gets no new request, so that time comes.
    pub(super) fn is_full(&self) -> bool {
        let unread = self
            .received
            .load(Ordering::Relaxed)
            .saturating_sub(self.delivered.bytes());
        unread > u64::from(self.window.load(Ordering::Relaxed) / 2)
    }

    pub(super) fn note_first_bytes(&self) {
        // A load first: a store by every read would keep the cache line busy.
        if !self.has_spoken.load(Ordering::Relaxed) {
            self.has_spoken.store(true, Ordering::Relaxed);
        }
    }

    /// Returns true if the server has been silent since the TLS handshake, for longer than a handshake takes.
    pub(super) fn is_suspiciously_silent(&self) -> bool {
        let is_old = |opened: &Instant| opened.elapsed() > HEDGE_DELAY;
        !self.has_spoken.load(Ordering::Relaxed) && self.opened.get().is_some_and(is_old)
    }

    pub(super) fn note_missing_close_notify(&self) {
        self.has_no_close_notify.store(true, Ordering::Relaxed);
    }

    /// Returns true if the server closed TLS without `close_notify`.
    pub(crate) fn has_no_close_notify(&self) -> bool {
        self.has_no_close_notify.load(Ordering::Relaxed)
    }

    pub(super) fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts a request; returns true if the connection has carried an earlier one.
    pub(super) fn begin_request(&self) -> bool {
        if self.active.fetch_add(1, Ordering::Relaxed) == 0 {
            self.received.store(0, Ordering::Relaxed);
            self.delivered.reset();
        }
        self.total.fetch_add(1, Ordering::Relaxed) > 0
    }

    pub(super) fn end_request(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn has_carried_requests(&self) -> bool {
        self.total.load(Ordering::Relaxed) > 0
    }

    /// Waits until the connection has had no request for [`IDLE_TIMEOUT`].
    async fn until_idle(&self) {
        let mut before = self.total.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(IDLE_TIMEOUT).await;
            let now = self.total.load(Ordering::Relaxed);
            if now == before && self.active() == 0 {
                return;
            }
            before = now;
        }
    }
}

async fn drive_until_idle<E: StdError + 'static>(
    connection: impl Future<Output = Result<(), E>>,
    load: Arc<ConnectionLoad>,
) {
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(error = &error as &dyn StdError, "upstream connection failed");
            }
        }
        () = load.until_idle() => {}
    }
}

/// An idle connection is closed after this time, at most twice that. Registries and load balancers usually close theirs
/// sooner.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const H1_BUFFER_BYTES: usize = 256 * 1024;
/// Requests on one HTTP/2 connection: fewer than the 100 streams that servers should allow (RFC 9113, section 6.5.2).
pub(super) const MAX_STREAMS: u32 = 96;
/// Round trips until a connection is verified: TCP and TLS 1.3, without the DNS lookup.
const HANDSHAKE_ROUND_TRIPS: u32 = 2;
/// The limit of HTTP/1.1, where the head has to fit in the buffer. Browsers and curl accept about as much.
const MAX_HEADER_BYTES: u32 = 256 * 1024;
/// hyper allocates this many entries, 16 KiB, for each response. Its default of 100 on the stack is less than some registries
/// send.
const MAX_HEADERS: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_full_while_unread_responses_take_half_of_its_window() {
        let load = ConnectionLoad::after(0);
        load.note_open(1000);
        load.begin_request();
        load.note_received(501);
        assert!(load.is_full());
        load.delivered().add(1);
        assert!(!load.is_full());
        load.note_received(1);
        assert!(load.is_full());
        load.end_request();
        load.begin_request();
        assert!(
            !load.is_full(),
            "aborted responses count until the connection is without a request"
        );
    }
}
