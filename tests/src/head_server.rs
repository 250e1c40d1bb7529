//! HTTP/1.1 server over TLS that answers the head of a request without reading the body, and counts what follows.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::certificates::Authority;
use crate::http_server::runtime;
use crate::poll;

/// Head that the server received, and the number of bytes after it.
#[derive(Clone, Debug)]
pub struct ReceivedHead {
    /// Request line and headers.
    pub text: String,
    /// Bytes after the head, until the peer closed the connection.
    pub following: usize,
}

/// Running server.
#[derive(Debug)]
pub struct HeadServer {
    port: u16,
    received: Arc<Mutex<Vec<ReceivedHead>>>,
    accepting: AbortHandle,
}

impl HeadServer {
    /// Starts a server for `localhost` that answers each head with these bytes, then reads until the peer closes.
    pub fn answering(authority: &Authority, answer: &str) -> Self {
        Self::start(authority, "", answer)
    }

    /// Starts a server that asks for the body with 100, and answers when the first bytes of it have arrived.
    pub fn continuing(authority: &Authority, answer: &str) -> Self {
        Self::start(authority, "HTTP/1.1 100 Continue\r\n\r\n", answer)
    }

    fn start(authority: &Authority, interim: &'static str, answer: &str) -> Self {
        let answer: Arc<str> = answer.into();
        let received = Arc::new(Mutex::new(Vec::new()));
        let acceptor = TlsAcceptor::from(authority.issue(&["localhost"]).server_config(&["http/1.1"]));
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let listener = runtime().block_on(TcpListener::bind(any)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let record = Arc::clone(&received);
        let task = runtime().spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, answer, record) = (acceptor.clone(), Arc::clone(&answer), Arc::clone(&record));
                connections.spawn(serve(stream, acceptor, interim, answer, record));
            }
        });
        Self {
            port,
            received,
            accepting: task.abort_handle(),
        }
    }

    /// `localhost:PORT`.
    pub fn authority(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// The first head whose connection has ended.
    ///
    /// # Panics
    /// When there is none within [`poll::TIMEOUT`].
    pub fn wait_for_head(&self) -> ReceivedHead {
        poll::wait_for("a connection's end", || self.received.lock().unwrap().first().cloned())
    }
}

impl Drop for HeadServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    interim: &'static str,
    answer: Arc<str>,
    record: Arc<Mutex<Vec<ReceivedHead>>>,
) {
    if let Some(head) = answer_head(stream, acceptor, interim, &answer).await {
        record.lock().unwrap().push(head);
    }
}

async fn answer_head(stream: TcpStream, acceptor: TlsAcceptor, interim: &str, answer: &str) -> Option<ReceivedHead> {
    let mut stream = acceptor.accept(stream).await.ok()?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let (mut following, mut piece) = (0, vec![0; 64 * 1024]);
    if !interim.is_empty() {
        stream.write_all(interim.as_bytes()).await.ok()?;
        following += stream.read(&mut piece).await.ok()?;
    }
    stream.write_all(answer.as_bytes()).await.ok()?;
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        following += length;
    }
    Some(ReceivedHead {
        text: String::from_utf8_lossy(&head).into_owned(),
        following,
    })
}
