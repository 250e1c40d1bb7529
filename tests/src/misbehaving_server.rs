//! Server for `localhost` that does what servers should not: silent after accept or in the TLS handshake, bodies that stop,
//! are cut or are reset, connections that close without a word. It counts its connections, so that a test sees who keeps
//! them.
//!
//! HTTP/1.1 is chosen by path, see [`MisbehavingServer::url`]. HTTP/2 has one [`Http2Ending`] for all requests.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;
use crate::http_server::runtime;
use crate::http2_frames;
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

/// Serves requests; `below` gives the socket below TLS.
async fn serve_h1<S>(shared: &Shared, mut stream: S, below: impl FnOnce(S) -> TcpStream)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(head) = read_head(&mut stream).await {
        let line = head.lines().next().unwrap_or_default().to_owned();
        let path = line.split(' ').nth(1).unwrap_or_default();
        let behaviour = path.rsplit('/').next().unwrap_or_default().to_owned();
        let behaviour = behaviour.split('?').next().unwrap_or_default();
        shared.requests.lock().unwrap().push(line.clone());
        if behaviour != "early" && read_body(&mut stream, &head).await.is_none() {
            return;
        }
        if behaviour == "held" {
            hold(shared).await;
        }
        let (answer, next) = answer(behaviour);
        if stream.write_all(answer.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
        match next {
            Next::Serve => {}
            Next::Close => {
                let _ = stream.shutdown().await;
                return;
            }
            Next::CloseBelow => {
                let _ = below(stream).shutdown().await;
                return;
            }
            Next::Reset => {
                // The body must arrive before the reset, which discards unread bytes.
                tokio::time::sleep(ARRIVAL).await;
                let _ = below(stream).set_zero_linger();
                return;
            }
            Next::Silence => return until_closed(&mut stream).await,
            Next::Dribble => {
                if dribble(&mut stream).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Bytes of a response, and what follows them.
fn answer(behaviour: &str) -> (String, Next) {
    let (rest, next) = match behaviour {
        "half-length" => ("content-length: 100\r\n\r\nhalf", Next::Close),
        "half-chunked" => ("transfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", Next::Close),
        "stops" => ("content-length: 100\r\n\r\nhalf", Next::Silence),
        "until-close" => ("connection: close\r\n\r\nwhole", Next::Close),
        "no-close-notify" => ("connection: close\r\n\r\nwhole", Next::CloseBelow),
        "reset" => ("connection: close\r\n\r\nhalf", Next::Reset),
        "early" => return (TOO_LARGE.to_owned(), Next::Close),
        "dribble" => ("content-length: 5\r\n\r\n", Next::Dribble),
        "both-lengths" => (
            "content-length: 100\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Next::Serve,
        ),
        "hangs-up" => ("content-length: 2\r\n\r\nok", Next::Close),
        _ => ("content-length: 2\r\n\r\nok", Next::Serve),
    };
    (format!("HTTP/1.1 200 OK\r\n{rest}"), next)
}

/// Sends one byte a second.
async fn dribble(stream: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
    for byte in b"whole" {
        tokio::time::sleep(Duration::from_secs(1)).await;
        stream.write_all(&[*byte]).await?;
        stream.flush().await?;
    }
    Ok(())
}

enum Next {
    Serve,
    Close,
    CloseBelow,
    Reset,
    Silence,
    Dribble,
}

/// Waits for [`MisbehavingServer::release`].
async fn hold(shared: &Shared) {
    let held = shared.held.fetch_add(1, Ordering::Relaxed) + 1;
    shared.most_held.fetch_max(held, Ordering::Relaxed);
    let _ends = Decrement(&shared.held);
    let _ = shared.release.subscribe().wait_for(|released| *released).await;
}

async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// Reads a body with a length; chunked bodies are read up to the chunk of length zero.
async fn read_body(stream: &mut (impl AsyncRead + Unpin), head: &str) -> Option<()> {
    let header = |name: &str| {
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    };
    if let Some(length) = header("content-length").and_then(|length| length.parse::<u64>().ok()) {
        let read = tokio::io::copy(&mut stream.take(length), &mut tokio::io::sink()).await;
        return (read.ok()? == length).then_some(());
    }
    if header("transfer-encoding").is_some() {
        let mut body = Vec::new();
        while !body.ends_with(b"0\r\n\r\n") {
            body.push(stream.read_u8().await.ok()?);
        }
    }
    Some(())
}

async fn serve_h2(mut stream: impl AsyncRead + AsyncWrite + Unpin, ending: Http2Ending) -> std::io::Result<()> {
    stream.write_all(&http2_frames::frame(SETTINGS, 0, 0, &[])).await?;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await?;
        let [a, b, c, kind, flags, id @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        stream.read_exact(&mut payload).await?;
        match (kind, flags & 1) {
            (SETTINGS, 0) => stream.write_all(&http2_frames::frame(SETTINGS, 1, 0, &[])).await?,
            (PING, 0) => stream.write_all(&http2_frames::frame(PING, 1, 0, &payload)).await?,
            (HEADERS, _) => {
                let id = u32::from_be_bytes(id);
                stream.write_all(&response(id, ending)).await?;
                stream.flush().await?;
                if matches!(ending, Http2Ending::GoAwayAndClose | Http2Ending::GoAwayLaterAndClose) {
                    return stream.shutdown().await;
                }
            }
            _ => {}
        }
    }
}

fn response(stream: u32, ending: Http2Ending) -> Vec<u8> {
    use http2_frames::{frame, headers};
    let mut head = vec![(":status", "200")];
    if ending == Http2Ending::ResetAfterItsLength {
        head.push(("content-length", "4"));
    }
    let ends = ending == Http2Ending::EndThenReset;
    let go_away = |last: u32| frame(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat());
    let last = match ending {
        Http2Ending::GoAwayAndClose => go_away(0),
        Http2Ending::GoAwayLaterAndClose => go_away(stream),
        _ => frame(RST_STREAM, 0, stream, &[0; 4]),
    };
    [
        headers(stream, &head, false),
        frame(DATA, u8::from(ends), stream, b"half"),
        last,
    ]
    .concat()
}

const TOO_LARGE: &str = "HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
/// Time for bytes on loopback to be read by the peer.
const ARRIVAL: Duration = Duration::from_millis(300);
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
