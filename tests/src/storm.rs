//! Many requests at the same moment: HTTP/2 streams on a few connections through the proxy, sent before the first answer
//! is read.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::certificates::read_pem;
use crate::daemon::Daemon;

/// Sends `requests` GETs of `url` through the daemon over `connections` connections; the statuses.
///
/// # Panics
/// When a request gets no answer.
pub fn storm(daemon: &Daemon, url: &str, requests: usize, connections: usize) -> Vec<u16> {
    let (uri, proxy): (Uri, Uri) = (url.parse().unwrap(), daemon.proxy().parse().unwrap());
    let tls = client_config(&daemon.bundle());
    Runtime::new().unwrap().block_on(async {
        let mut senders = Vec::new();
        let mut open = JoinSet::new();
        for _ in 0..connections {
            let (sender, connection) = connect(&proxy, &uri, Arc::clone(&tls)).await;
            open.spawn(connection);
            senders.push(sender);
        }
        let mut answers = JoinSet::new();
        for number in 0..requests {
            let request = Request::get(uri.clone()).body(Empty::new()).unwrap();
            let answer = senders[number % connections].send_request(request);
            answers.spawn(async { answer.await.unwrap().status().as_u16() });
        }
        answers.join_all().await
    })
}

type Requests = SendRequest<Empty<Bytes>>;
type Carrying = Connection<TokioIo<TlsStream<TcpStream>>, Empty<Bytes>, TokioExecutor>;

async fn connect(proxy: &Uri, uri: &Uri, tls: Arc<ClientConfig>) -> (Requests, Carrying) {
    let mut stream = TcpStream::connect(proxy.authority().unwrap().as_str()).await.unwrap();
    let authority = uri.authority().unwrap();
    let connect = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n");
    stream.write_all(connect.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    let name = ServerName::try_from(authority.host().to_owned()).unwrap();
    let stream = TlsConnector::from(tls).connect(name, stream).await.unwrap();
    http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .unwrap()
}

fn client_config(bundle: &Path) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read_pem(bundle));
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}
