//! Many requests at the same moment: HTTP/2 streams on a few connections, all sent before the first response is read.

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2::{self, Connection, SendRequest};
use hyper::{Request, Uri};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::daemon::Daemon;
use crate::proxy_client::{ProxyClient, TlsTunnel};

/// Sends `requests` GETs of `url` through the daemon over `connections` connections and returns the statuses.
///
/// # Panics
/// When a request gets no response.
pub fn send(daemon: &Daemon, url: &str, requests: usize, connections: usize) -> Vec<u16> {
    let uri: Uri = url.parse().unwrap();
    let client = ProxyClient::trusting(&daemon.proxy(), &daemon.bundle());
    Runtime::new().unwrap().block_on(async {
        let mut senders = Vec::new();
        let mut open = JoinSet::new();
        for _ in 0..connections {
            let (sender, connection) = connect(&client, &uri).await;
            open.spawn(connection);
            senders.push(sender);
        }
        let mut responses = JoinSet::new();
        for number in 0..requests {
            let request = Request::get(uri.clone()).body(Empty::new()).unwrap();
            let response = senders[number % connections].send_request(request);
            responses.spawn(async { response.await.unwrap().status().as_u16() });
        }
        responses.join_all().await
    })
}

type Sender = SendRequest<Empty<Bytes>>;
type Driver = Connection<TokioIo<TlsTunnel>, Empty<Bytes>, TokioExecutor>;

async fn connect(client: &ProxyClient, uri: &Uri) -> (Sender, Driver) {
    let tunnel = client.open(uri.authority().unwrap().as_str(), &["h2"]).await.unwrap();
    http2::handshake(TokioExecutor::new(), TokioIo::new(tunnel))
        .await
        .unwrap()
}
