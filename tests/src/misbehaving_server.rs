//! Server for `localhost` that does what servers should not: silent after accept or in the TLS handshake, bodies that stop,
//! are cut or are reset, connections that close without a word. It counts its connections, so that a test sees who keeps
//! them.
//!
//! HTTP/1.1 is chosen by path, see [`MisbehavingServer::url`]. HTTP/2 has one [`Http2Ending`] for all requests.

mod http1;
mod http2;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::AsyncRead;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use self::http1::serve_h1;
use self::http2::serve_h2;
use crate::certificates::Authority;
use crate::http_server::runtime;
use crate::poll;

/// Silence of one connection. It lasts until the client closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Silence {
    /// Nothing is read or sent.
    AfterAccept,
    /// The first TLS record is read and not answered.
    InHandshake,
    /// TLS is open, and nothing follows: no SETTINGS frame, no response.
    AfterHandshake,
}

/// Frames after the head and the body `half` of each HTTP/2 response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http2Ending {
    /// RST_STREAM with NO_ERROR.
    ResetWithNoError,
    /// As before, and the head has `content-length: 4`: the body is complete.
    ResetAfterItsLength,
    /// GOAWAY for stream 0 with NO_ERROR, then the connection closes.
    GoAwayAndClose,
    /// GOAWAY that names the stream as processed, then the connection closes.
    GoAwayLaterAndClose,
    /// END_STREAM, then RST_STREAM with NO_ERROR: complete (RFC 9113, section 8.1).
    EndThenReset,
}

/// Builder of a [`MisbehavingServer`].
#[derive(Debug)]
pub struct Builder {
    tls: Option<Arc<ServerConfig>>,
    first: VecDeque<Silence>,
    rest: Option<Silence>,
    http2: Option<Http2Ending>,
}

impl Builder {
    /// Makes the first connections silent, one for each entry.
    pub fn first(mut self, silences: &[Silence]) -> Self {
        self.first = silences.iter().copied().collect();
        self
    }

    /// Makes all connections silent.
    pub fn always(mut self, silence: Silence) -> Self {
        self.rest = Some(silence);
        self
    }

    /// Starts the server on a free port.
    pub fn start(self) -> MisbehavingServer {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime().block_on(TcpListener::bind(any)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_tls = self.tls.is_some();
        let shared = Arc::new(Shared {
            acceptor: self.tls.map(TlsAcceptor::from),
            http2: self.http2,
            open: AtomicUsize::new(0),
            accepted: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
            most_held: AtomicUsize::new(0),
            requests: Mutex::default(),
            release: watch::Sender::new(false),
        });
        let (mut first, rest, serving) = (self.first, self.rest, Arc::clone(&shared));
        let task = runtime().spawn(async move {
            // Aborting the task drops the set and aborts its connections.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let silence = first.pop_front().or(rest);
                serving.accepted.fetch_add(1, Ordering::Relaxed);
                serving.open.fetch_add(1, Ordering::Relaxed);
                let serving = Arc::clone(&serving);
                connections.spawn(async move {
                    let _closes = Decrement(&serving.open);
                    serve(&serving, stream, silence).await;
                });
                while connections.try_join_next().is_some() {}
            }
        });
        MisbehavingServer {
            port,
            is_tls,
            shared,
            accepting: task.abort_handle(),
        }
    }
}

/// Running server.
#[derive(Debug)]
pub struct MisbehavingServer {
    port: u16,
    is_tls: bool,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl MisbehavingServer {
    /// Builder of a server that speaks HTTP/1.1 only, with a certificate of this authority.
    pub fn http1(authority: &Authority) -> Builder {
        Self::builder(authority, "http/1.1", None)
    }

    /// Builder of a server that speaks HTTP/2 only and ends each response like this.
    pub fn http2(authority: &Authority, ending: Http2Ending) -> Builder {
        Self::builder(authority, "h2", Some(ending))
    }

    /// Builder of a server without TLS, for HTTP/1.1 or as a corporate proxy.
    pub fn plain() -> Builder {
        Builder {
            tls: None,
            first: VecDeque::new(),
            rest: None,
            http2: None,
        }
    }

    fn builder(authority: &Authority, protocol: &str, http2: Option<Http2Ending>) -> Builder {
        let tls = authority.issue(&["localhost"]).server_config(&[protocol]);
        Builder {
            tls: Some(tls),
            http2,
            ..Self::plain()
        }
    }

    /// `localhost:PORT`.
    pub fn authority(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// URL with a path, which starts with a slash. The last segment says what an HTTP/1.1 response does:
    ///
    /// | path | response |
    /// |---|---|
    /// | `/half-length` | `half` of 100 bytes, then the connection closes |
    /// | `/half-chunked` | one chunk, then the connection closes |
    /// | `/stops` | `half` of 100 bytes, then silence until the client closes |
    /// | `/until-close` | no length; `whole` and close_notify |
    /// | `/no-close-notify` | no length; `whole`, and the connection closes without close_notify |
    /// | `/reset` | no length; `half`, then a TCP reset |
    /// | `/early` | 413 without reading the request's body, then the connection closes |
    /// | `/dribble` | five bytes, one a second |
    /// | `/hangs-up` | complete, then the connection closes without `Connection: close` |
    /// | `/both-lengths` | complete, with a length of 100 beside chunks |
    /// | `/held` | complete, after [`MisbehavingServer::release`] |
    /// | any other | complete: `ok` |
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}{path}", self.authority())
    }

    /// Connections so far.
    pub fn accepted(&self) -> usize {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Connections that are open.
    pub fn open(&self) -> usize {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// Waits until clients have closed all connections but this many, at most for `limit`; returns whether they have.
    pub fn closes_to(&self, open: usize, limit: Duration) -> bool {
        poll::within(limit, || (self.open() <= open).then_some(())).is_some()
    }

    /// Requests for `/held` that wait now, and the most that have waited at once.
    pub fn held(&self) -> (usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (count(&self.shared.held), count(&self.shared.most_held))
    }

    /// Answers requests for `/held`, now and from now on.
    pub fn release(&self) {
        self.shared.release.send_replace(true);
    }

    /// Request lines of HTTP/1.1 so far.
    ///
    /// # Panics
    /// When a connection's task panicked.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for MisbehavingServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Shared {
    acceptor: Option<TlsAcceptor>,
    http2: Option<Http2Ending>,
    open: AtomicUsize,
    accepted: AtomicUsize,
    held: AtomicUsize,
    most_held: AtomicUsize,
    requests: Mutex<Vec<String>>,
    release: watch::Sender<bool>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shared")
    }
}

struct Decrement<'a>(&'a AtomicUsize);

impl Drop for Decrement<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn serve(shared: &Shared, mut stream: TcpStream, silence: Option<Silence>) {
    let _ = stream.set_nodelay(true);
    match silence {
        Some(Silence::AfterAccept | Silence::InHandshake) => until_closed(&mut stream).await,
        Some(Silence::AfterHandshake) => {
            if let Some(acceptor) = &shared.acceptor
                && let Ok(mut stream) = acceptor.accept(stream).await
            {
                until_closed(&mut stream).await;
            }
        }
        None => match &shared.acceptor {
            None => serve_h1(shared, stream, |stream| stream).await,
            Some(acceptor) => match (acceptor.accept(stream).await, shared.http2) {
                (Ok(stream), Some(ending)) => serve_h2(stream, ending).await.unwrap_or(()),
                (Ok(stream), None) => serve_h1(shared, stream, |stream| stream.into_inner().0).await,
                (Err(_), _) => {}
            },
        },
    }
}

/// Takes what the client sends until it closes.
async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) {
    let _ = tokio::io::copy(stream, &mut tokio::io::sink()).await;
}
