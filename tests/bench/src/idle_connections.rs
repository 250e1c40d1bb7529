//! Clients that are connected and say nothing more.

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

use crate::contender::Contender;
use crate::origin::{HOST, STRANGER};

/// Idle connections through a proxy, open until dropped.
pub(crate) struct Idle<T> {
    _streams: Vec<T>,
    _sink: Option<JoinSet<()>>,
    _runtime: Runtime,
}

/// This many keep-alive connections that have had one answer each.
pub(crate) fn intercepted(
    contender: &Contender,
    authority: &str,
    path: &str,
    number: usize,
) -> Idle<TlsStream<TcpStream>> {
    let runtime = runtime();
    let tls = trusting(&contender.roots);
    let proxy = contender.proxy().unwrap();
    let streams = runtime.block_on(async {
        let mut streams = Vec::new();
        for _ in 0..number {
            let tunnel = connect(&proxy, authority).await;
            let mut stream = handshake(tunnel, &tls).await;
            ask(&mut stream, authority, path).await;
            streams.push(stream);
        }
        streams
    });
    Idle {
        _streams: streams,
        _sink: None,
        _runtime: runtime,
    }
}

/// This many tunnels to a host that nobody configured and that says nothing.
pub(crate) fn tunnels(contender: &Contender, number: usize) -> Idle<TcpStream> {
    let runtime = runtime();
    let proxy = contender.proxy().unwrap();
    let (streams, sink) = runtime.block_on(async {
        let listener = TcpListener::bind((STRANGER, 0)).await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let mut sink = JoinSet::new();
        sink.spawn(async move {
            let mut held = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                held.push(stream);
            }
        });
        let mut streams = Vec::new();
        for _ in 0..number {
            streams.push(connect(&proxy, &authority).await);
        }
        (streams, sink)
    });
    Idle {
        _streams: streams,
        _sink: Some(sink),
        _runtime: runtime,
    }
}

/// How long it takes from nothing to TLS that is ready for a request.
pub(crate) fn first_handshake(contender: &Contender, authority: &str) -> Duration {
    let tls = trusting(&contender.roots);
    let proxy = contender.proxy().unwrap();
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

async fn ask(stream: &mut TlsStream<TcpStream>, authority: &str, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !is_whole(&answer) {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "it broke off");
    }
    assert!(
        answer.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

/// The small file's answer: a head, and a body of 1 KiB.
fn is_whole(answer: &[u8]) -> bool {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n");
    head.is_some_and(|head| answer.len() >= head + 4 + 1024)
}

fn trusting(roots: &Path) -> TlsConnector {
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
