//! HTTP/1.1 server over TLS that holds its responses, or its TLS handshakes, until the test releases them. It records each
//! request when it arrives and counts its open connections.
//!
//! Requests for a held path wait for [`HeldServer::release`]. `/lost` waits too, and the first such request then gets no
//! response: its connection closes. All others are answered at once: 200 with the credential, 401 without one and for
//! `/denied`.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;
use crate::http_server::runtime;
use crate::poll;

/// Running server.
#[derive(Debug)]
pub struct HeldServer {
    authority: Authority,
    port: u16,
    state: Arc<State>,
    accepting: AbortHandle,
}

#[derive(Debug)]
struct State {
    requests: Mutex<Vec<Arrival>>,
    held: BTreeSet<String>,
    released: watch::Sender<bool>,
    connections: AtomicUsize,
    holds_handshakes: AtomicBool,
    held_handshakes: AtomicUsize,
    ended_handshakes: AtomicUsize,
}

/// Request that has arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Path.
    pub path: String,
    /// Value of Authorization; empty if there is none.
    pub credential: String,
}

impl HeldServer {
    /// Starts a server for `localhost` that holds the responses to these paths.
    pub fn start(held: &[&str]) -> Self {
        let authority = Authority::new("Corp Root");
        let acceptor = TlsAcceptor::from(authority.issue(&["localhost"]).server_config(&["http/1.1"]));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime().block_on(TcpListener::bind(any)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State {
            requests: Mutex::default(),
            held: held.iter().map(|&path| path.to_owned()).collect(),
            released: watch::Sender::new(false),
            connections: AtomicUsize::new(0),
            holds_handshakes: AtomicBool::new(false),
            held_handshakes: AtomicUsize::new(0),
            ended_handshakes: AtomicUsize::new(0),
        });
        let shared = Arc::clone(&state);
        let task = runtime().spawn(async move {
            // Aborting the task drops the set and aborts its connections.
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, acceptor.clone(), Arc::clone(&shared)));
            }
        });
        Self {
            authority,
            port,
            state,
            accepting: task.abort_handle(),
        }
    }

    /// URL with `path`, which starts with a slash.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// Arguments of `add-registry` for this server, with a scope.
    pub fn location(&self, path: &str) -> Vec<String> {
        let ca = self.authority.file().display().to_string();
        ["--kind", "generic", "--scope", &self.url(path), "--ca-file", &ca]
            .map(str::to_owned)
            .into()
    }

    /// Requests so far for `path`, in order of arrival.
    pub fn arrivals(&self, path: &str) -> Vec<String> {
        let requests = self.state.requests.lock().unwrap();
        let same = requests.iter().filter(|arrival| arrival.path == path);
        same.map(|arrival| arrival.credential.clone()).collect()
    }

    /// Waits for at least `count` requests for `path`.
    ///
    /// # Panics
    /// After [`poll::TIMEOUT`].
    pub fn wait_for_arrivals(&self, path: &str, count: usize) -> Vec<String> {
        poll::wait_for(&format!("requests for {path}"), || {
            Some(self.arrivals(path)).filter(|found| found.len() >= count)
        })
    }

    /// Answers no TLS handshake of a new connection until [`HeldServer::release`].
    pub fn hold_handshakes(&self) {
        self.state.holds_handshakes.store(true, Ordering::SeqCst);
    }

    /// Waits for a connection whose handshake is held.
    ///
    /// # Panics
    /// After [`poll::TIMEOUT`].
    pub fn wait_for_held_handshake(&self) {
        poll::wait_for("a connection in the handshake", || {
            (self.state.held_handshakes.load(Ordering::SeqCst) > 0).then_some(())
        });
    }

    /// Waits until each connection whose handshake was held has sent a request or has been closed.
    ///
    /// # Panics
    /// After [`poll::TIMEOUT`].
    pub fn wait_for_held_connections(&self) {
        let [held, ended] = [&self.state.held_handshakes, &self.state.ended_handshakes];
        poll::wait_for("connections that were held", || {
            (ended.load(Ordering::SeqCst) == held.load(Ordering::SeqCst)).then_some(())
        });
    }

    /// Releases all held responses and handshakes, and holds no more.
    pub fn release(&self) {
        self.state.released.send_replace(true);
    }

    /// Number of open connections.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }
}

impl Drop for HeldServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    let mut held = None;
    if state.holds_handshakes.load(Ordering::SeqCst) {
        state.held_handshakes.fetch_add(1, Ordering::SeqCst);
        held = Some(Counted(&state.ended_handshakes));
        let _ = state.released.subscribe().wait_for(|released| *released).await;
    }
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let _open = OpenConnection::new(&state);
    let mut stream = BufStream::new(stream);
    while let Some(arrival) = read_head(&mut stream).await {
        let is_first = {
            let mut requests = state.requests.lock().unwrap();
            let is_first = !requests.iter().any(|before| before.path == arrival.path);
            requests.push(arrival.clone());
            is_first
        };
        drop(held.take());
        let is_lost = arrival.path == LOST && is_first;
        if is_lost || state.held.contains(&arrival.path) {
            let _ = state.released.subscribe().wait_for(|released| *released).await;
        }
        if is_lost {
            return;
        }
        let status = if arrival.credential.is_empty() || arrival.path == DENIED {
            "401 Unauthorized"
        } else {
            "200 OK"
        };
        let response = format!("HTTP/1.1 {status}\r\ncontent-length: 2\r\n\r\nok");
        if stream.write_all(response.as_bytes()).await.is_err() || stream.flush().await.is_err() {
            return;
        }
    }
}

/// Reads the head of a request without a body; `None` at the end of the connection.
async fn read_head(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Arrival> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let path = lines.first()?.split(' ').nth(1)?.to_owned();
    let credential = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("authorization")
            .then(|| value.trim().to_owned())
    });
    Some(Arrival {
        path,
        credential: credential.unwrap_or_default(),
    })
}

/// Counts when dropped.
struct Counted<'a>(&'a AtomicUsize);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

struct OpenConnection(Arc<State>);

impl OpenConnection {
    fn new(state: &Arc<State>) -> Self {
        state.connections.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(state))
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Path whose first request gets no response.
const LOST: &str = "/lost";
/// Path whose requests get 401, with any credential.
const DENIED: &str = "/denied";
