//! Opens TCP connections to upstreams, straight or through a corporate proxy.
//!
//! The corporate proxy is the configured one, or what the environment says as curl reads it; `no-proxy` excepts hosts.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::config::UpstreamSettings;
use crate::host::Origin;

/// Opens connections; a clone shares the settings.
#[derive(Clone, Debug)]
pub struct Dialer {
    connector: HttpConnector,
    proxies: Arc<Matcher>,
}

impl Dialer {
    /// A dialer by the configuration, or where it is silent by the environment.
    ///
    /// `ours` is where we listen ourselves: a proxy there is us, set for clients in the same environment, and ignored.
    pub fn new(settings: &UpstreamSettings, ours: std::net::SocketAddr) -> Self {
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(CONNECT));
        connector.set_happy_eyeballs_timeout(Some(HAPPY_EYEBALLS));
        connector.set_keepalive(Some(KEEP_ALIVE));
        Self {
            connector,
            proxies: Arc::new(proxies(settings, ours)),
        }
    }

    /// A connection to an origin, for a tunnel.
    ///
    /// # Errors
    /// [`DialError`] when the host or the proxy before it cannot be reached.
    pub async fn dial(&mut self, origin: &Origin) -> Result<TcpStream, DialError> {
        let uri = Uri::try_from(format!("https://{origin}/")).map_err(|_| DialError::Invalid)?;
        self.call(uri).await.map(TokioIo::into_inner)
    }
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<TcpStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        self.connector
            .poll_ready(context)
            .map_err(|error| DialError::Unreachable(Box::new(error)))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let mut connector = self.connector.clone();
        let Some(proxy) = self.proxies.intercept(&uri) else {
            return Box::pin(async move {
                connector
                    .call(uri)
                    .await
                    .map_err(|error| DialError::Unreachable(Box::new(error)))
            });
        };
        let mut tunnel = Tunnel::new(proxy.uri().clone(), connector);
        if let Some(authorization) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(authorization.clone());
        }
        Box::pin(async move {
            tunnel
                .call(uri)
                .await
                .map_err(|error| DialError::Proxy(Box::new(error)))
        })
    }
}

fn proxies(settings: &UpstreamSettings, ours: std::net::SocketAddr) -> Matcher {
    let configured = settings.proxy.as_ref().map(ToString::to_string);
    let except = settings.no_proxy.as_ref().map(|hosts| hosts.join(","));
    let (proxy, no_proxy) = match configured {
        Some(proxy) => (Some(proxy), except),
        None => (
            from_environment(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            except.or_else(no_proxy),
        ),
    };
    match proxy.filter(|proxy| !is_ours(proxy, ours)) {
        Some(proxy) => Matcher::builder().all(proxy).no(no_proxy.unwrap_or_default()).build(),
        None => Matcher::builder().build(),
    }
}

fn no_proxy() -> Option<String> {
    from_environment(&["no_proxy", "NO_PROXY"])
}

fn from_environment(names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|value| !value.is_empty())
}

fn is_ours(proxy: &str, ours: std::net::SocketAddr) -> bool {
    let Ok(uri) = proxy.parse::<Uri>() else { return false };
    let host = uri.host().and_then(|host| host.parse::<crate::host::Host>().ok());
    uri.port_u16() == Some(ours.port()) && host.is_some_and(|host| host.is_loopback())
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The origin cannot be named in a URL.
    #[error("the host cannot be named in a URL")]
    Invalid,
    /// No address of the host answers.
    #[error("cannot connect")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The corporate proxy does not answer or says no.
    #[error("cannot connect through the corporate proxy")]
    Proxy(#[source] Box<dyn std::error::Error + Send + Sync>),
}

const CONNECT: Duration = Duration::from_secs(20);
const HAPPY_EYEBALLS: Duration = Duration::from_millis(250);
const KEEP_ALIVE: Duration = Duration::from_secs(60);
