//! HTTP endpoint on the address `metrics-listen`: the metrics (`/metrics`), and for Kubernetes and load balancers whether the
//! daemon works (`/healthz`) and wants more connections (`/readyz`).
//!
//! A port in use does not stop the daemon: `status` and the log say so, and the endpoint tries again.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderValue};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use regauth_shared::request::MetricsFormat;
use regauth_shared::response::Problem;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics;
use super::places::{Place, Places};
use crate::control::controller::Controller;
use crate::host::Origin;
use crate::proxy::downstream::accept::Liveness;

/// State of the endpoint, for `status`.
#[derive(Debug)]
pub(crate) struct MetricsEndpoint {
    state: Mutex<State>,
    liveness: Liveness,
}

#[derive(Debug, Default)]
enum State {
    /// Not configured, or not opened yet.
    #[default]
    Closed,
    Open(SocketAddr),
    Failed(SocketAddr, String),
}

impl MetricsEndpoint {
    /// Closed endpoint of a daemon with these workers.
    pub(crate) fn new(liveness: Liveness) -> Self {
        Self {
            state: Mutex::default(),
            liveness,
        }
    }

    /// URL of the metrics, while they are served.
    pub(crate) fn url(&self) -> Option<String> {
        match *self.lock() {
            State::Open(address) => Some(format!("http://{address}{PATH}")),
            State::Closed | State::Failed(..) => None,
        }
    }

    /// Reason why the metrics are not served.
    pub(crate) fn problem(&self) -> Option<Problem> {
        match &*self.lock() {
            State::Failed(address, error) => Some(Problem {
                message: format!("the metrics are not served on {address}: {error}"),
                hint:
                    "choose another `metrics-listen` in config.toml and restart regauthd, or end the program that has \
                       the port; `regauthctl metrics` prints them meanwhile"
                        .to_owned(),
            }),
            State::Closed | State::Open(_) => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the metrics until `end` is cancelled, if an address is configured.
pub(crate) async fn serve(controller: Arc<Controller>, end: CancellationToken) {
    let Some(address) = controller.at_start.metrics_listen else {
        return;
    };
    tokio::select! {
        () = end.cancelled() => {}
        () = listen_and_accept(&controller, address, &end) => {}
    }
}

async fn listen_and_accept(controller: &Arc<Controller>, address: SocketAddr, end: &CancellationToken) {
    let (listener, address) = loop {
        match listen(address).await {
            Ok(listening) => break listening,
            Err(error) => {
                let error = error.to_string();
                let state = std::mem::replace(&mut *controller.metrics.lock(), State::Failed(address, error.clone()));
                if !matches!(state, State::Failed(..)) {
                    tracing::error!(%address, error, "cannot serve the metrics");
                }
                tokio::time::sleep(RETRY_INTERVAL).await;
            }
        }
    };
    tracing::info!(%address, "serving the metrics");
    *controller.metrics.lock() = State::Open(address);
    accept(controller, &listener, end).await;
}

async fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn accept(controller: &Arc<Controller>, listener: &TcpListener, end: &CancellationToken) {
    let tasks = TaskTracker::new();
    let places = Places::new(MAX_CONNECTIONS);
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let place = places.take(peer.ip());
        // A scraper that does not read must not keep its place.
        #[cfg(target_os = "linux")]
        let _ = socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(UNREAD_TIMEOUT));
        let (controller, end) = (Arc::clone(controller), end.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = place.lost() => tracing::debug!("cut a connection to the metrics: too many are open"),
                () = answer_requests(&controller, &place, stream) => {}
            }
        });
        // A request that came with its connection is answered before many more connections can take the place.
        tokio::task::yield_now().await;
    }
}

async fn answer_requests(controller: &Controller, place: &Place, stream: TcpStream) {
    let service = service_fn(|request| async move {
        place.note_request();
        Ok::<_, Infallible>(answer(controller, &request).await)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // A scraper that breaks off is no fault of ours.
    let _ = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await;
}

async fn answer(controller: &Controller, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    if !is_local_or_address(request.headers()) {
        return text(
            StatusCode::MISDIRECTED_REQUEST,
            TEXT,
            "Use an address or localhost as the host name.\n",
        );
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "Use GET.\n");
    }
    match request.uri().path() {
        PATH => scrape(controller, request),
        "/healthz" => health(controller).await,
        "/readyz" => readiness(controller),
        _ => text(
            StatusCode::NOT_FOUND,
            TEXT,
            "The metrics are at /metrics, and the daemon's health is at /healthz and /readyz.\n",
        ),
    }
}

/// Does every thread respond? The control thread answers this itself, so only the workers are asked.
async fn health(controller: &Controller) -> Response<Full<Bytes>> {
    match tokio::time::timeout(HEALTH_TIMEOUT, controller.metrics.liveness.check()).await {
        Ok(()) => text(StatusCode::OK, TEXT, "ok\n"),
        Err(_) => text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "A worker does not respond.\n"),
    }
}

/// Should new connections come here? No longer as soon as the daemon is to end.
fn readiness(controller: &Controller) -> Response<Full<Bytes>> {
    if controller.stop.is_cancelled() || controller.proxy.drain.is_cancelled() {
        text(StatusCode::SERVICE_UNAVAILABLE, TEXT, "The daemon is about to end.\n")
    } else {
        text(StatusCode::OK, TEXT, "ok\n")
    }
}

fn scrape(controller: &Controller, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let accepts =
        |value: &HeaderValue| memchr::memmem::find(value.as_bytes(), b"application/openmetrics-text").is_some();
    let (format, content_type) = if request.headers().get_all(ACCEPT).iter().any(accepts) {
        (
            MetricsFormat::OpenMetrics,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )
    } else {
        (MetricsFormat::Prometheus, "text/plain; version=0.0.4; charset=utf-8")
    };
    text(StatusCode::OK, content_type, metrics(controller, format))
}

/// Refuses host names that a page in a browser could have bound to this machine's address (DNS rebinding). The checks of load
/// balancers have no Host, and those of browsers always do.
fn is_local_or_address(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(HOST) else { return true };
    let host = host.to_str().ok();
    let origin = host.and_then(|host| Origin::parse(host, Some(80)).ok());
    origin.is_some_and(|origin| origin.host.is_loopback() || matches!(origin.host, crate::host::Host::Address(_)))
}

fn text(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

const PATH: &str = "/metrics";
const TEXT: &str = "text/plain; charset=utf-8";
/// Time between two attempts to listen.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Longest wait for the workers. Kubernetes waits for one second unless it is told otherwise.
const HEALTH_TIMEOUT: Duration = Duration::from_millis(800);
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Connections at a time.
const MAX_CONNECTIONS: usize = 16;
const MAX_HEAD: usize = 16 * 1024;
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time for which a scraper may leave an answer unread.
#[cfg(target_os = "linux")]
const UNREAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Prometheus keeps its connection between scrapes, and opens another one when it is closed.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(600);
