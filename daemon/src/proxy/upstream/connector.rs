//! Opening of one upstream connection: dial, TLS, ALPN, and the HTTP/1.1 or HTTP/2 handshake.

use std::error::Error as StdError;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::uri::{Authority, Scheme as UriScheme};
use hyper::client::conn::{http1, http2};
use hyper::rt::Executor;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConnection;
use tokio_rustls::client::TlsStream;
use tower_service::Service;

use crate::proxy::descriptors;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::connection_load::ConnectionLoad;
use crate::proxy::upstream::destination::{Destination, RequestSender};
use crate::proxy::upstream::dial::{DialError, Dialer, is_forbidden};
use crate::proxy::upstream::endings::{FirstBytes, LenientClose};
use crate::proxy::upstream::failure::{UpstreamFailure, is_stalled_upload};
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

    /// Corporate proxy that takes plain requests for a destination, if any.
    pub(super) fn forwarding_proxy(&self, scheme: &UriScheme, authority: &Authority) -> Option<Arc<CorporateProxy>> {
        self.dialer.forwarding_proxy(scheme, authority)
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
            let failure = UpstreamFailure::of(error).with_client_certificate(self.has_client_certificate);
            ProxyError::upstream(failure, DialError::addresses(error))
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
