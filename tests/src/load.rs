//! Load generator: clients that send a request as soon as the last one is answered, until they are stopped.
//!
//! The clients retry what real clients retry, and nothing else. A failure on a new connection is a failure. On a kept
//! HTTP/1.1 connection, a request without the beginning of a response is sent once more on a new connection (RFC 9112,
//! section 9.3.1), as curl, cargo and git do. On HTTP/2, a request that the server reports as unprocessed (GOAWAY,
//! REFUSED_STREAM; RFC 9113, section 8.7) is sent once more too. The second failure of a request counts as a failure.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Uri, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use crate::http_server::runtime;
use crate::proxy_client::ProxyClient;

/// Number of clients of each kind.
#[derive(Clone, Copy, Debug)]
pub struct ClientCounts {
    /// Clients with a new HTTP/1.1 connection for each request.
    pub fresh: usize,
    /// Clients with one HTTP/1.1 connection for all their requests.
    pub kept: usize,
    /// Clients on shared HTTP/2 connections, [`STREAMS_PER_CONNECTION`] each.
    pub streams: usize,
}

/// Running clients.
#[derive(Debug)]
pub struct LoadGenerator {
    shared: Arc<Shared>,
    clients: JoinSet<LoadReport>,
}

#[derive(Debug)]
struct Shared {
    client: ProxyClient,
    uri: Uri,
    stop: AtomicBool,
    in_flight: AtomicUsize,
    responses: AtomicUsize,
}

/// Results of the clients.
#[derive(Clone, Debug, Default)]
pub struct LoadReport {
    /// Complete responses with status 200.
    pub responses: usize,
    /// Requests that a client sent once more.
    pub retried: usize,
    /// Failures that a user would notice.
    pub failures: Vec<String>,
}

impl LoadGenerator {
    /// Starts clients that GET `url` through `proxy` (`host:port`) and trust the roots in `bundle`.
    ///
    /// # Panics
    /// When `url` is no URL.
    pub fn start(counts: ClientCounts, proxy: &str, bundle: &Path, url: &str) -> Self {
        let shared = Arc::new(Shared {
            client: ProxyClient::trusting(proxy, bundle),
            uri: url.parse().unwrap(),
            stop: AtomicBool::new(false),
            in_flight: AtomicUsize::new(0),
            responses: AtomicUsize::new(0),
        });
        let _inside = runtime().enter();
        let mut clients = JoinSet::new();
        for _ in 0..counts.fresh {
            clients.spawn(run_fresh_client(Arc::clone(&shared)));
        }
        for _ in 0..counts.kept {
            clients.spawn(run_kept_client(Arc::clone(&shared)));
        }
        for first in (0..counts.streams).step_by(STREAMS_PER_CONNECTION) {
            let connection = Arc::new(SharedConnection::default());
            for _ in first..counts.streams.min(first + STREAMS_PER_CONNECTION) {
                clients.spawn(run_stream_client(Arc::clone(&shared), Arc::clone(&connection)));
            }
        }
        Self { shared, clients }
    }

    /// Number of requests that are sent and not answered.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::Relaxed)
    }

    /// Number of complete responses so far.
    pub fn responses(&self) -> usize {
        self.shared.responses.load(Ordering::Relaxed)
    }

    /// Waits until each client has finished its request, and returns the sum of their reports.
    pub fn stop(self) -> LoadReport {
        self.shared.stop.store(true, Ordering::Relaxed);
        let reports = runtime().block_on(self.clients.join_all());
        reports.into_iter().fold(LoadReport::default(), |mut sum, report| {
            sum.responses += report.responses;
            sum.retried += report.retried;
            sum.failures.extend(report.failures);
            sum
        })
    }
}

impl Shared {
    fn is_running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn connect_http1(&self) -> Result<Http1Sender, String> {
        let tunnel = self.client.open(self.authority(), &["http/1.1"]).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(tunnel))
            .await
            .map_err(|error| error.to_string())?;
        runtime().spawn(connection);
        Ok(sender)
    }

    async fn connect_http2(&self) -> Result<Http2Sender, String> {
        let tunnel = self.client.open(self.authority(), &["h2"]).await?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(tunnel)).await;
        let (sender, connection) = handshake.map_err(|error| error.to_string())?;
        runtime().spawn(connection);
        Ok(sender)
    }

    fn authority(&self) -> &str {
        self.uri.authority().unwrap().as_str()
    }

    fn http1_request(&self, is_last: bool) -> Request<Empty<Bytes>> {
        let path = self.uri.path_and_query().unwrap().as_str();
        let mut request = Request::get(path).header("host", self.authority());
        if is_last {
            request = request.header("connection", "close");
        }
        request.body(Empty::new()).unwrap()
    }

    fn http2_request(&self) -> Request<Empty<Bytes>> {
        Request::get(self.uri.clone()).body(Empty::new()).unwrap()
    }

    /// Waits for a response and its body, and keeps the counters.
    async fn count(&self, response: impl Future<Output = hyper::Result<Response<Incoming>>>) -> Result<(), Failure> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        let result = match response.await {
            Ok(response) if response.status() == 200 => {
                let body = response.into_body().collect().await;
                body.map(drop)
                    .map_err(|error| Failure::Other(format!("cut: {error:?}")))
            }
            Ok(response) => Err(Failure::Other(format!(
                "{} {:?}",
                response.status(),
                response.headers()
            ))),
            Err(error) => Err(Failure::NoResponse(error)),
        };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if result.is_ok() {
            self.responses.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

type Http1Sender = http1::SendRequest<Empty<Bytes>>;
type Http2Sender = http2::SendRequest<Empty<Bytes>>;

enum Failure {
    /// The connection ended before the response began.
    NoResponse(hyper::Error),
    Other(String),
}

impl From<String> for Failure {
    fn from(text: String) -> Self {
        Self::Other(text)
    }
}

impl Failure {
    fn text(self) -> String {
        match self {
            Self::NoResponse(error) => format!("no response: {error:?}"),
            Self::Other(text) => text,
        }
    }
}

impl LoadReport {
    fn record(&mut self, kind: &str, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.responses += 1,
            Err(failure) => self.failures.push(format!("{kind}: {}", failure.text())),
        }
    }
}

async fn run_fresh_client(shared: Arc<Shared>) -> LoadReport {
    let mut report = LoadReport::default();
    while shared.is_running() {
        let result = match shared.connect_http1().await {
            Ok(mut sender) => shared.count(sender.send_request(shared.http1_request(true))).await,
            Err(error) => Err(error.into()),
        };
        report.record("fresh", result);
    }
    report
}

async fn run_kept_client(shared: Arc<Shared>) -> LoadReport {
    let (mut report, mut kept) = (LoadReport::default(), None::<Http1Sender>);
    while shared.is_running() {
        if let Some(mut sender) = kept.take()
            && sender.ready().await.is_ok()
        {
            let result = shared.count(sender.send_request(shared.http1_request(false))).await;
            if matches!(&result, Err(Failure::NoResponse(_))) {
                report.retried += 1;
            } else {
                kept = Some(sender);
                report.record("kept", result);
                continue;
            }
        }
        let result = match shared.connect_http1().await {
            Ok(mut sender) => {
                let result = shared.count(sender.send_request(shared.http1_request(false))).await;
                kept = Some(sender);
                result
            }
            Err(error) => Err(error.into()),
        };
        report.record("kept, on a new connection", result);
    }
    report
}

/// HTTP/2 connection that several clients share, and the number of times it was opened.
type SharedConnection = Mutex<(usize, Option<Http2Sender>)>;

async fn run_stream_client(shared: Arc<Shared>, connection: Arc<SharedConnection>) -> LoadReport {
    let mut report = LoadReport::default();
    while shared.is_running() {
        let result = match send_on(&shared, &connection).await {
            Err(Failure::NoResponse(error)) if is_unprocessed(&error) => {
                report.retried += 1;
                send_on(&shared, &connection).await
            }
            other => other,
        };
        report.record("stream", result);
    }
    report
}

async fn send_on(shared: &Shared, connection: &SharedConnection) -> Result<(), Failure> {
    let (number, mut sender) = {
        let mut current = connection.lock().await;
        let is_usable = match &mut current.1 {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !is_usable {
            *current = (current.0 + 1, Some(shared.connect_http2().await?));
        }
        (current.0, current.1.clone().unwrap())
    };
    let result = shared.count(sender.send_request(shared.http2_request())).await;
    let mut current = connection.lock().await;
    if result.is_err() && current.0 == number {
        current.1 = None;
    }
    result
}

fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let is_graceful = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            return is_graceful || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    // The connection was closed for new requests before this one was sent.
    error.is_canceled()
}

/// Number of clients that share one HTTP/2 connection.
pub const STREAMS_PER_CONNECTION: usize = 50;
