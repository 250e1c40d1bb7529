//! Clients that ask and ask again, each as soon as it has its answer, until they are told to stop; and what they felt.
//!
//! They repeat what real clients repeat, and nothing else. A connection that has just been opened owes an answer: whatever
//! happens on it is a failure. On a kept connection (HTTP/1.1) a request whose answer has not begun is sent once more on a
//! fresh one (RFC 9112, section 9.3.1), as curl, cargo and git do. On HTTP/2 a request that the server says it has not
//! processed (GOAWAY, REFUSED_STREAM; RFC 9113, section 8.7) is sent once more, too. A second failure is a failure.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Uri, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::read_pem;
use crate::serve::runtime;

/// How many clients of each kind.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// With a connection for each request.
    pub fresh: usize,
    /// With a connection each for all their requests, HTTP/1.1.
    pub kept: usize,
    /// With HTTP/2 connections that each carry [`STREAMS`] of them.
    pub streams: usize,
}

/// Running clients.
#[derive(Debug)]
pub struct Herd {
    shared: Arc<Shared>,
    clients: JoinSet<Felt>,
}

#[derive(Debug)]
struct Shared {
    proxy: String,
    uri: Uri,
    bundle: Vec<rustls_pki_types::CertificateDer<'static>>,
    stop: AtomicBool,
    asking: AtomicUsize,
    answers: AtomicUsize,
}

/// What clients felt.
#[derive(Clone, Debug, Default)]
pub struct Felt {
    /// Answers, whole and right.
    pub answers: usize,
    /// Requests that were sent once more, as such clients do.
    pub repeated: usize,
    /// What a person would have seen.
    pub failures: Vec<String>,
}

impl Herd {
    /// Starts clients that GET `url` through `proxy` (`host:port`), trusting `bundle`.
    ///
    /// # Panics
    /// When the URL is none.
    pub fn start(size: Size, proxy: &str, bundle: &Path, url: &str) -> Self {
        let shared = Arc::new(Shared {
            proxy: proxy.trim_start_matches("http://").to_owned(),
            uri: url.parse().unwrap(),
            bundle: read_pem(bundle),
            stop: AtomicBool::new(false),
            asking: AtomicUsize::new(0),
            answers: AtomicUsize::new(0),
        });
        let _inside = runtime().enter();
        let mut clients = JoinSet::new();
        for _ in 0..size.fresh {
            clients.spawn(fresh(Arc::clone(&shared)));
        }
        for _ in 0..size.kept {
            clients.spawn(kept(Arc::clone(&shared)));
        }
        for first in (0..size.streams).step_by(STREAMS) {
            let line = Arc::new(Line::default());
            for _ in first..size.streams.min(first + STREAMS) {
                clients.spawn(stream(Arc::clone(&shared), Arc::clone(&line)));
            }
        }
        Self { shared, clients }
    }

    /// Requests that have been sent and not answered.
    pub fn in_flight(&self) -> usize {
        self.shared.asking.load(Ordering::Relaxed)
    }

    /// Answers so far.
    pub fn answers(&self) -> usize {
        self.shared.answers.load(Ordering::Relaxed)
    }

    /// Lets every client finish what it has asked for; what they felt.
    pub fn stop(self) -> Felt {
        self.shared.stop.store(true, Ordering::Relaxed);
        let all = runtime().block_on(self.clients.join_all());
        all.into_iter().fold(Felt::default(), |mut sum, felt| {
            sum.answers += felt.answers;
            sum.repeated += felt.repeated;
            sum.failures.extend(felt.failures);
            sum
        })
    }
}

impl Shared {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    async fn dial(&self, protocol: &str) -> Result<TlsStream<TcpStream>, String> {
        let told = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
        let mut stream = TcpStream::connect(&self.proxy).await.map_err(told("connect"))?;
        let authority = self.uri.authority().unwrap();
        let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.map_err(told("CONNECT"))?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.map_err(told("CONNECT's answer"))?);
        }
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(String::from_utf8_lossy(&answer).into_owned());
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(self.bundle.iter().cloned());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = ServerName::try_from(authority.host().to_owned()).unwrap();
        let tls = TlsConnector::from(Arc::new(config));
        tls.connect(name, stream).await.map_err(told("handshake"))
    }

    async fn dial_http1(&self) -> Result<Requests1, String> {
        let stream = TokioIo::new(self.dial("http/1.1").await?);
        let (sender, connection) = http1::handshake(stream).await.map_err(|error| error.to_string())?;
        runtime().spawn(connection);
        Ok(sender)
    }

    async fn dial_http2(&self) -> Result<Requests2, String> {
        let stream = TokioIo::new(self.dial("h2").await?);
        let handshake = http2::handshake(TokioExecutor::new(), stream).await;
        let (sender, connection) = handshake.map_err(|error| error.to_string())?;
        runtime().spawn(connection);
        Ok(sender)
    }

    fn request(&self, last: bool) -> Request<Empty<Bytes>> {
        let path = self.uri.path_and_query().unwrap().as_str();
        let mut request = Request::get(path).header("host", self.uri.authority().unwrap().as_str());
        if last {
            request = request.header("connection", "close");
        }
        request.body(Empty::new()).unwrap()
    }

    fn request_http2(&self) -> Request<Empty<Bytes>> {
        Request::get(self.uri.clone()).body(Empty::new()).unwrap()
    }

    /// Counts as in flight while it lasts, and as an answer when it is one.
    async fn answer(&self, answer: impl Future<Output = hyper::Result<Response<Incoming>>>) -> Result<(), Failure> {
        self.asking.fetch_add(1, Ordering::Relaxed);
        let answer = answer.await.map_err(Failure::NoAnswer);
        let whole = match answer {
            Ok(answer) if answer.status() == 200 => {
                let whole = answer.into_body().collect().await;
                whole
                    .map(drop)
                    .map_err(|error| Failure::Other(format!("cut: {error:?}")))
            }
            Ok(answer) => Err(Failure::Other(format!("{} {:?}", answer.status(), answer.headers()))),
            Err(failure) => Err(failure),
        };
        self.asking.fetch_sub(1, Ordering::Relaxed);
        if whole.is_ok() {
            self.answers.fetch_add(1, Ordering::Relaxed);
        }
        whole
    }
}

type Requests1 = http1::SendRequest<Empty<Bytes>>;
type Requests2 = http2::SendRequest<Empty<Bytes>>;

enum Failure {
    /// The connection ended, and no answer had begun.
    NoAnswer(hyper::Error),
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
            Self::NoAnswer(error) => format!("no answer: {error:?}"),
            Self::Other(text) => text,
        }
    }
}

impl Felt {
    fn note(&mut self, kind: &str, result: Result<(), Failure>) {
        match result {
            Ok(()) => self.answers += 1,
            Err(failure) => self.failures.push(format!("{kind}: {}", failure.text())),
        }
    }
}

async fn fresh(shared: Arc<Shared>) -> Felt {
    let mut felt = Felt::default();
    while shared.goes_on() {
        let answer = match shared.dial_http1().await {
            Ok(mut sender) => shared.answer(sender.send_request(shared.request(true))).await,
            Err(error) => Err(error.into()),
        };
        felt.note("fresh", answer);
    }
    felt
}

async fn kept(shared: Arc<Shared>) -> Felt {
    let (mut felt, mut line) = (Felt::default(), None::<Requests1>);
    while shared.goes_on() {
        if let Some(mut sender) = line.take()
            && sender.ready().await.is_ok()
        {
            let answer = shared.answer(sender.send_request(shared.request(false))).await;
            if matches!(&answer, Err(Failure::NoAnswer(_))) {
                felt.repeated += 1;
            } else {
                line = Some(sender);
                felt.note("kept", answer);
                continue;
            }
        }
        let answer = match shared.dial_http1().await {
            Ok(mut sender) => {
                let answer = shared.answer(sender.send_request(shared.request(false))).await;
                line = Some(sender);
                answer
            }
            Err(error) => Err(error.into()),
        };
        felt.note("kept, on a fresh connection", answer);
    }
    felt
}

/// A connection that several clients share, and its number.
type Line = Mutex<(usize, Option<Requests2>)>;

async fn stream(shared: Arc<Shared>, line: Arc<Line>) -> Felt {
    let mut felt = Felt::default();
    while shared.goes_on() {
        let first = on_a_line(&shared, &line).await;
        let answer = match first {
            Err(Failure::NoAnswer(error)) if is_unprocessed(&error) => {
                felt.repeated += 1;
                on_a_line(&shared, &line).await
            }
            other => other,
        };
        felt.note("stream", answer);
    }
    felt
}

async fn on_a_line(shared: &Shared, line: &Line) -> Result<(), Failure> {
    let (number, mut sender) = {
        let mut present = line.lock().await;
        let usable = match &mut present.1 {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            *present = (present.0 + 1, Some(shared.dial_http2().await?));
        }
        (present.0, present.1.clone().unwrap())
    };
    let answer = shared.answer(sender.send_request(shared.request_http2())).await;
    let mut present = line.lock().await;
    if answer.is_err() && present.0 == number {
        present.1 = None;
    }
    answer
}

fn is_unprocessed(error: &hyper::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<h2::Error>() {
            let graceful = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            return graceful || error.reason() == Some(h2::Reason::REFUSED_STREAM);
        }
        cause = error.source();
    }
    // The connection was closed for new requests before this one was sent.
    error.is_canceled()
}

/// Clients that share an HTTP/2 connection.
pub const STREAMS: usize = 50;
