//! Exit two: the verified, pooled client.
//!
//! Connections are pooled across all clients of a registry and kept warm, so a new cargo process pays no DNS, TCP or TLS
//! round trip. Each worker has a pool of its own: a request and its upstream connection live on one thread.
//! Verification has no off switch; a registry's `ca-file` adds roots for that registry only.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::{Client, Error as ClientError};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::proxy::dial::{Dialer, Forbidden};
use crate::proxy::lanes::{self, Lanes, Place};
use crate::proxy::refuse::{Body, Refusal};
use crate::proxy::rewrite;
use crate::registry::ClientIdentity;

/// A registry's way out: one pooled client a worker, all with the same trust.
pub struct Upstream {
    connector: HttpsConnector<Dialer>,
    clients: ArcSwap<Vec<Lanes<PooledClient>>>,
}

type PooledClient = Client<HttpsConnector<Dialer>, Body>;

impl fmt::Debug for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upstream")
            .field("workers", &self.clients.load().len())
            .finish()
    }
}

impl Upstream {
    /// Clients for `workers` workers that trust `roots` and nothing else.
    ///
    /// # Errors
    /// [`TrustError`] when the client certificate does not fit its key.
    pub fn new(dialer: &Dialer, trust: Trust, workers: usize) -> Result<Self, TrustError> {
        let tls = trust.client_config()?;
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            // Plain HTTP is for scopes on loopback; every other scope's URL is https.
            .https_or_http()
            .enable_all_versions()
            .wrap_connector(dialer.clone());
        Ok(Self {
            clients: ArcSwap::from_pointee(clients(&connector, workers.max(1))),
            connector,
        })
    }

    /// Lets go of the connections as soon as they are idle: their buffers still hold the last token.
    pub fn renew(&self) {
        let workers = self.clients.load().len();
        self.clients.store(Arc::new(clients(&self.connector, workers)));
    }

    /// Sends a request from a worker and waits for the head of the answer.
    ///
    /// A request without a body that may be repeated is sent once more when a pooled connection turned out to be
    /// closed; a write never is.
    ///
    /// # Errors
    /// A [`Refusal`] that says why there is no answer.
    pub async fn send(&self, worker: usize, request: Request<Body>) -> Result<(Response<Incoming>, Place), Refusal> {
        let (client, place) = {
            let clients = self.clients.load();
            let lanes = clients.get(worker % clients.len());
            lanes.and_then(Lanes::enter).ok_or(Refusal::UpstreamUnreachable)?
        };
        let again = repeatable(&request);
        let first = within_deadline(client.request(request)).await?;
        match (first, again) {
            (Ok(response), _) => Ok((response, place)),
            (Err(error), Some(request)) if !error.is_connect() => within_deadline(client.request(request))
                .await?
                .map(|response| (response, place))
                .map_err(|error| refusal(&error)),
            (Err(error), _) => Err(refusal(&error)),
        }
    }
}

fn clients(connector: &HttpsConnector<Dialer>, workers: usize) -> Vec<Lanes<PooledClient>> {
    let client = |lane| {
        let stream_window = if lane == 0 {
            H2_STREAM_WINDOW
        } else {
            H2_LATER_STREAM_WINDOW
        };
        Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .http1_max_buf_size(H1_BUFFER)
            .http2_initial_stream_window_size(stream_window)
            .http2_initial_connection_window_size(stream_window * lanes::MOST)
            .http2_max_header_list_size(MAX_HEADERS)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .http2_keep_alive_timeout(KEEP_ALIVE_ANSWER)
            .build(connector.clone())
    };
    (0..workers).map(|_| Lanes::new(client)).collect()
}

async fn within_deadline<T>(answer: impl Future<Output = T>) -> Result<T, Refusal> {
    tokio::time::timeout(ANSWER, answer)
        .await
        .map_err(|_| Refusal::UpstreamTimeout)
}

/// A copy of a request that may be sent twice, because it has no body and changes nothing.
pub(crate) fn repeatable(request: &Request<Body>) -> Option<Request<Body>> {
    if !request.body().is_end_stream() || !rewrite::is_repeatable(request.method()) {
        return None;
    }
    let mut copy = Request::new(Either::Right(Full::new(Bytes::new())));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

fn refusal(error: &ClientError) -> Refusal {
    tracing::debug!(error = error as &dyn StdError, "upstream");
    let mut refusal = Refusal::UpstreamUnreachable;
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(cause) = next {
        if cause.is::<Forbidden>() {
            return Refusal::PlaceDenied;
        }
        if cause.is::<rustls::Error>() {
            return Refusal::UpstreamUntrusted;
        }
        let io = cause.downcast_ref::<io::Error>();
        if io.is_some_and(|io| io.kind() == io::ErrorKind::TimedOut) {
            refusal = Refusal::UpstreamTimeout;
        }
        // `source()` of an io::Error passes over what it wraps.
        let wrapped = io
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn StdError + 'static));
        next = wrapped.or_else(|| cause.source());
    }
    refusal
}

/// Whom a registry's connections trust, and who they say they are.
#[derive(Clone, Debug)]
pub struct Trust {
    roots: RootCertStore,
    identity: Option<ClientIdentity>,
}

impl Trust {
    /// The system's roots, and those of `ca_file` if there is one.
    ///
    /// # Errors
    /// [`TrustError`] when the file cannot be read or holds no certificate.
    pub fn new(
        system: &[CertificateDer<'static>],
        ca_file: Option<&Path>,
        identity: Option<ClientIdentity>,
    ) -> Result<Self, TrustError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system.iter().cloned());
        if let Some(file) = ca_file {
            for certificate in certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|_| TrustError::NoCertificate(display(file)))?;
            }
        }
        Ok(Self { roots, identity })
    }

    /// Nobody at all.
    pub(crate) fn nobody() -> Self {
        Self {
            roots: RootCertStore::empty(),
            identity: None,
        }
    }

    fn client_config(self) -> Result<ClientConfig, TrustError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TrustError::Tls)?
            .with_root_certificates(self.roots);
        match self.identity {
            None => Ok(builder.with_no_client_auth()),
            Some(identity) => {
                let chain = certificates(&identity.certificate)?;
                let key = PrivateKeyDer::from_pem_file(&identity.key)
                    .map_err(|_| TrustError::NoKey(display(&identity.key)))?;
                builder.with_client_auth_cert(chain, key).map_err(TrustError::Tls)
            }
        }
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TrustError> {
    let text = std::fs::read(file).map_err(|error| TrustError::Unreadable(display(file), error.to_string()))?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(TrustError::NoCertificate(display(file))),
    }
}

fn display(file: &Path) -> String {
    file.display().to_string()
}

/// Why a registry's trust cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file is missing or may not be read.
    #[error("cannot read {0}: {1}")]
    Unreadable(String, String),
    /// The file has no PEM certificate that can be a root.
    #[error("{0} holds no usable certificate in PEM form")]
    NoCertificate(String),
    /// The file has no PEM key.
    #[error("{0} holds no private key in PEM form")]
    NoKey(String),
    /// rustls does not take it.
    #[error("the client certificate and key cannot be used: {0}")]
    Tls(rustls::Error),
}

/// How long a connection without requests is kept; registries and load balancers usually end theirs sooner.
const POOL_IDLE: Duration = Duration::from_secs(300);
/// How long a registry may take to answer: a large push is unpacked before the answer comes.
const ANSWER: Duration = Duration::from_secs(300);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);
const H1_BUFFER: usize = 256 * 1024;
/// A slow client leaves at most this much of one response in memory.
const H2_STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// There are later lanes only when hundreds of requests are open: most of them wait.
const H2_LATER_STREAM_WINDOW: u32 = 256 * 1024;
const MAX_HEADERS: u32 = 32 * 1024;
