//! Idle client connections through a proxy, and the time of a first handshake.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use regauth_tests::certificates::read_pem;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::candidate::Candidate;
use crate::registry::{HOST, UNCONFIGURED_HOST};

/// Idle connections through a proxy. Dropping them closes them.
pub(crate) struct IdleConnections<T> {
    _streams: Vec<T>,
    _server: Option<JoinSet<()>>,
    _runtime: Runtime,
}

/// Opens intercepted keep-alive connections. Each has received one answer.
pub(crate) fn open_intercepted(
    candidate: &Candidate,
    authority: &str,
    path: &str,
    count: usize,
) -> IdleConnections<TlsStream<TcpStream>> {
    let runtime = runtime();
    let tls = connector(&candidate.roots);
    let proxy = candidate.proxy().unwrap();
    let streams = runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..count {
            let tunnel = connect(&proxy, authority).await;
            let mut stream = handshake(tunnel, &tls).await;
            request(&mut stream, authority, path).await;
            streams.push(stream);
        }
        streams
    });
    IdleConnections {
        _streams: streams,
        _server: None,
        _runtime: runtime,
    }
}

/// Opens blind tunnels to a host that is not configured. Its server sends nothing.
pub(crate) fn open_tunnels(candidate: &Candidate, count: usize) -> IdleConnections<TcpStream> {
    let runtime = runtime();
    let proxy = candidate.proxy().unwrap();
    let (streams, server) = runtime.block_on(async {
        let listener = TcpListener::bind((UNCONFIGURED_HOST, 0)).await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let mut server = JoinSet::new();
        server.spawn(async move {
            let mut accepted = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                accepted.push(stream);
            }
        });
        let mut streams = Vec::new();
        for _ in 0..count {
            streams.push(connect(&proxy, &authority).await);
        }
        (streams, server)
    });
    IdleConnections {
        _streams: streams,
        _server: Some(server),
        _runtime: runtime,
    }
}

/// Measures the time from the TCP connect to the end of the TLS handshake, on a new connection.
pub(crate) fn time_handshake(candidate: &Candidate, authority: &str) -> Duration {
    let tls = connector(&candidate.roots);
    let proxy = candidate.proxy().unwrap();
    runtime().block_on(async {
        let begin = Instant::now();
        handshake(connect(&proxy, authority).await, &tls).await;
        begin.elapsed()
    })
}

async fn connect(proxy: &str, authority: &str) -> TcpStream {
    let mut stream = TcpStream::connect(proxy.trim_start_matches("http://")).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    stream
}

async fn handshake(tunnel: TcpStream, tls: &TlsConnector) -> TlsStream<TcpStream> {
    let name = ServerName::try_from(HOST).unwrap();
    tls.connect(name, tunnel).await.unwrap()
}

async fn request(stream: &mut TlsStream<TcpStream>, authority: &str, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !is_complete(&answer) {
        assert_ne!(
            stream.read_buf(&mut answer).await.unwrap(),
            0,
            "the answer is incomplete"
        );
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// Returns whether the answer for the small file has arrived: a head and a body of 1 KiB.
fn is_complete(answer: &[u8]) -> bool {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    head.is_some_and(|head| answer.len() >= head + 4 + 1024)
}

fn connector(roots: &Path) -> TlsConnector {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(read_pem(roots));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    TlsConnector::from(Arc::new(config))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}
