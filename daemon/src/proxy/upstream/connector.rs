//! Opens a connection, learns whether it speaks HTTP/1.1 or HTTP/2, and speaks that.

use std::error::Error as StdError;
use std::fmt;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::HOST;
use http::uri::{Authority, Scheme, Uri};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper::rt::Executor;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConnection;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use crate::proxy::exchange::error::Body;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::trust::{Trust, TrustError};
use crate::proxy::write_coalescer::{WriteCoalescer, cork};

/// Opens verified connections; a clone shares the trust and the TLS sessions that can be resumed.
#[derive(Clone)]
pub(crate) struct Connector(HttpsConnector<Dialer>);

impl Connector {
    /// Connections by `dialer` that trust `trust` and nothing else.
    ///
    /// # Errors
    /// [`TrustError`] when the client certificate does not fit its key.
    pub(super) fn new(dialer: &Dialer, trust: Trust) -> Result<Self, TrustError> {
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(trust.client_config()?)
            // Plain HTTP is for scopes on loopback; every other scope's URL is https.
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(dialer.clone());
        Ok(Self(connector))
    }

    /// Opens a connection to `target`, the `number`th of its kind at a time, whose use is told to `usage`.
    ///
    /// # Errors
    /// Whatever stands between us and a verified connection.
    pub(super) async fn open(
        mut self,
        target: &Target,
        number: usize,
        usage: &Arc<Use>,
    ) -> Result<NewConnection, Box<dyn StdError + Send + Sync>> {
        let begin = Instant::now();
        let stream = match self.0.call(target.uri.clone()).await? {
            MaybeHttpsStream::Https(stream) if stream.inner().get_ref().1.alpn_protocol() == Some(b"h2") => {
                let round_trip = begin.elapsed() / ROUND_TRIPS;
                return speak_h2(stream.into_inner(), round_trip, number, usage).await;
            }
            stream => stream,
        };
        let (sender, connection) = http1::Builder::new().max_buf_size(H1_BUFFER).handshake(stream).await?;
        Ok(NewConnection {
            sender: Sender::H1(sender),
            life: Box::pin(until_idle(connection, Arc::clone(usage))),
        })
    }
}

type Stream = TlsStream<TokioIo<TokioIo<TcpStream>>>;

async fn speak_h2(
    stream: Stream,
    round_trip: Duration,
    number: usize,
    usage: &Arc<Use>,
) -> Result<NewConnection, Box<dyn StdError + Send + Sync>> {
    let window = if number == 0 {
        window(round_trip)
    } else {
        LATER_STREAM_WINDOW
    };
    let (socket, session) = stream.into_inner();
    let (stream, cork) = cork(socket.into_inner().into_inner(), session);
    let (sender, connection) = http2::Builder::new(Tasks::driving(cork))
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(window * MOST_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .handshake(TokioIo::new(stream))
        .await?;
    Ok(NewConnection {
        sender: Sender::H2(sender),
        life: Box::pin(until_idle(connection, Arc::clone(usage))),
    })
}

/// Spawns what an HTTP/2 connection consists of: first the task that reads and writes, then those of request bodies.
#[derive(Clone)]
struct Tasks(Arc<Mutex<Option<WriteCoalescer<TcpStream, ClientConnection>>>>);

impl Tasks {
    fn driving(cork: WriteCoalescer<TcpStream, ClientConnection>) -> Self {
        Self(Arc::new(Mutex::new(Some(cork))))
    }
}

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        let cork = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        match cork {
            Some(cork) => TokioExecutor::new().execute(async move { cork.drive(pin!(task)).await }),
            None => TokioExecutor::new().execute(task),
        }
    }
}

/// How much of a response may be on its way: what a fast line brings in a round trip of this length. A slow client leaves
/// at most this much of one response in memory.
fn window(round_trip: Duration) -> u32 {
    let bytes = round_trip.as_micros() * BYTES_A_MICROSECOND;
    u32::try_from(bytes)
        .unwrap_or(u32::MAX)
        .clamp(LEAST_STREAM_WINDOW, MOST_STREAM_WINDOW)
}

/// A connection, and what has to be polled for it to live.
pub(super) struct NewConnection {
    pub(super) sender: Sender,
    pub(super) life: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// Where connections lead.
pub(super) struct Target {
    uri: Uri,
    scheme: Scheme,
    authority: Authority,
    host: HeaderValue,
}

impl Target {
    pub(super) fn new(scheme: Scheme, authority: Authority) -> Self {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(scheme.clone());
        parts.authority = Some(authority.clone());
        parts.path_and_query = Some(http::uri::PathAndQuery::from_static("/"));
        Self {
            // A scheme, an authority and a path are a URI; an authority's characters are a header value's.
            uri: Uri::from_parts(parts).unwrap_or_default(),
            host: HeaderValue::from_str(authority.as_str()).unwrap_or(HeaderValue::from_static("")),
            scheme,
            authority,
        }
    }

    pub(super) fn is(&self, scheme: &Scheme, authority: &Authority) -> bool {
        self.scheme == *scheme && self.authority == *authority
    }

    /// As HTTP/1.1 has it (RFC 9112, section 3.2.1): the path, and a Host.
    fn origin_form(&self, request: &mut Request<Body>) {
        if let Some(path) = request.uri().path_and_query().cloned() {
            *request.uri_mut() = path.into();
        }
        request.headers_mut().insert(HOST, self.host.clone());
    }

    /// The way back, for a request that was not sent.
    pub(super) fn absolute_form(&self, request: &mut Request<Body>) {
        let mut parts = http::uri::Parts::default();
        parts.scheme = Some(self.scheme.clone());
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = request.uri().path_and_query().cloned();
        *request.uri_mut() = Uri::from_parts(parts).unwrap_or_default();
        request.headers_mut().remove(HOST);
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.uri.fmt(f)
    }
}

/// What requests are given to.
#[derive(Debug)]
pub(crate) enum Sender {
    /// One request at a time.
    H1(http1::SendRequest<Body>),
    /// Many at a time.
    H2(http2::SendRequest<Body>),
}

impl Sender {
    /// Sends a request whose target is absolute.
    ///
    /// # Errors
    /// With the request, if not a byte of it was sent.
    pub(super) async fn send(
        &mut self,
        target: &Target,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match self {
            Self::H1(sender) => {
                target.origin_form(&mut request);
                sender.try_send_request(request).await
            }
            Self::H2(sender) => sender.try_send_request(request).await,
        }
    }

    /// What goes out with one request and comes back after it.
    pub(super) fn single(self) -> Option<http1::SendRequest<Body>> {
        match self {
            Self::H1(sender) => Some(sender),
            Self::H2(_) => None,
        }
    }
}

/// How much a connection is used.
#[derive(Debug, Default)]
pub(crate) struct Use {
    /// Requests that are being answered.
    busy: AtomicU32,
    /// Requests so far.
    total: AtomicU32,
    /// How many retirements there had been when it was opened.
    pub(super) retirements: u64,
}

impl Use {
    /// Not used yet, opened after so many retirements.
    pub(super) fn after(retirements: u64) -> Arc<Self> {
        Arc::new(Self {
            retirements,
            ..Self::default()
        })
    }

    pub(super) fn busy(&self) -> u32 {
        self.busy.load(Ordering::Relaxed)
    }

    pub(super) fn begin(&self) {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.total.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.busy.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits until there was no request for [`IDLE`].
    async fn unused(&self) {
        let mut before = self.total.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(IDLE).await;
            let now = self.total.load(Ordering::Relaxed);
            if now == before && self.busy() == 0 {
                return;
            }
            before = now;
        }
    }
}

/// Lives as long as the connection does and somebody uses it.
async fn until_idle<E: StdError + 'static>(connection: impl Future<Output = Result<(), E>>, usage: Arc<Use>) {
    tokio::select! {
        ended = connection => {
            if let Err(error) = ended {
                tracing::debug!(error = &error as &dyn StdError, "an upstream connection ended");
            }
        }
        () = usage.unused() => {}
    }
}

/// How long a connection without requests is kept, and at most twice that; registries and load balancers usually end
/// theirs sooner.
const IDLE: Duration = Duration::from_secs(300);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);
const H1_BUFFER: usize = 256 * 1024;
/// How many requests share a connection at most: fewer than the 100 streams that servers should allow (RFC 9113, section
/// 6.5.2).
pub(super) const MOST_STREAMS: u32 = 96;
/// How often a message goes there and back until a connection is verified: TCP and TLS 1.3, with the name found already.
const ROUND_TRIPS: u32 = 2;
/// 1 Gbit/s.
const BYTES_A_MICROSECOND: u128 = 125;
const LEAST_STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const MOST_STREAM_WINDOW: u32 = 8 * 1024 * 1024;
/// There are later connections only when a hundred requests are open: most of them wait.
const LATER_STREAM_WINDOW: u32 = 256 * 1024;
const MAX_HEADERS: u32 = 32 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_way_has_more_on_it() {
        for (milliseconds, mebibytes) in [(0, 2.0), (1, 2.0), (30, 3.6), (60, 7.2), (300, 8.0), (100_000, 8.0)] {
            let window = f64::from(window(Duration::from_millis(milliseconds))) / 1_048_576.0;
            assert!((window - mebibytes).abs() < 0.1, "{milliseconds} ms: {window} MiB");
        }
    }
}
