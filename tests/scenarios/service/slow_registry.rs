//! Registry that answers late, so that requests are in flight.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::{Request, Response};
use regauth_tests::certificates::Authority;
use regauth_tests::ctl::Ctl;
use regauth_tests::http_server::{Handler, HttpServer};

/// Registry that delays each response.
pub(super) struct SlowRegistry {
    authority: Authority,
    responses: Arc<AtomicUsize>,
    address: SocketAddr,
    pub(super) delay: Duration,
    _server: HttpServer,
}

#[derive(Clone)]
struct DelayedHandler(Duration, Arc<AtomicUsize>);

impl Handler for DelayedHandler {
    async fn answer(&self, _: Request<Incoming>) -> Response<Full<Bytes>> {
        tokio::time::sleep(self.0).await;
        self.1.fetch_add(1, Ordering::Relaxed);
        Response::new(Full::new(Bytes::from_static(&[b'x'; 2000])))
    }
}

impl SlowRegistry {
    pub(super) fn start(delay: Duration) -> Self {
        let (authority, responses) = (Authority::new("Corp Root"), Arc::default());
        let tls = authority.issue(&["localhost"]).server_config(&["h2", "http/1.1"]);
        let (server, address) = HttpServer::on_tcp(
            ([127, 0, 0, 1], 0).into(),
            Some(tls),
            DelayedHandler(delay, Arc::clone(&responses)),
        );
        Self {
            authority,
            responses,
            address,
            delay,
            _server: server,
        }
    }

    pub(super) fn responses(&self) -> usize {
        self.responses.load(Ordering::Relaxed)
    }

    pub(super) fn authority(&self) -> String {
        format!("localhost:{}", self.address.port())
    }

    pub(super) fn url(&self) -> String {
        format!("https://{}/answer", self.authority())
    }

    pub(super) fn add_to(&self, ctl: impl Fn(&[&str]) -> Ctl) {
        let ca = self.authority.file();
        let scope = format!("https://{}/", self.authority());
        let add = [
            "add-registry",
            "corp",
            "--token-stdin",
            "--no-verify",
            "--scheme",
            "bearer",
        ];
        ctl(&[&add[..], &["--scope", &scope, "--ca-file", ca.to_str().unwrap()]].concat()).succeeds();
    }
}
