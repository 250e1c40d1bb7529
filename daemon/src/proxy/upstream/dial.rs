//! Opens TCP connections to upstreams, straight or through a corporate proxy.
//!
//! The corporate proxy is the configured one, or what the environment says as curl reads it; `no-proxy` excepts hosts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::Matcher;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower_service::Service;

use crate::config::UpstreamSettings;
use crate::host::{Host, Origin};
use crate::policy::address::is_public;

/// Opens connections; a clone shares the settings.
#[derive(Clone, Debug)]
pub struct Dialer {
    connector: HttpConnector<Resolver>,
    proxies: Arc<Matcher>,
    guarded: bool,
}

impl Dialer {
    /// A dialer by the configuration, or where it is silent by the environment.
    ///
    /// `ours` is where we listen ourselves: a proxy there is us, set for clients in the same environment, and ignored.
    pub fn new(settings: &UpstreamSettings, ours: std::net::SocketAddr) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Resolver { guarded: false });
        configure(&mut connector);
        Self {
            connector,
            proxies: Arc::new(proxies(settings, ours)),
            guarded: false,
        }
    }

    /// The same for the bearers of grants: it dials public addresses and nothing else. A name is resolved once, all its
    /// addresses must be public, and those are dialled. Behind a corporate proxy names are the proxy's to resolve.
    #[must_use]
    pub fn guarded(&self) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Resolver { guarded: true });
        configure(&mut connector);
        Self {
            connector,
            proxies: Arc::clone(&self.proxies),
            guarded: true,
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
        if self.guarded
            && let Some(Ok(Host::Address(address))) = uri.host().map(str::parse)
            && let Err(forbidden) = admit(address)
        {
            return Box::pin(std::future::ready(Err(DialError::Forbidden(forbidden))));
        }
        let mut connector = self.connector.clone();
        let Some(proxy) = self.proxies.intercept(&uri) else {
            return Box::pin(async move {
                connector
                    .call(uri)
                    .await
                    .map_err(|error| DialError::Unreachable(Box::new(error)))
            });
        };
        // The proxy itself is wherever the configuration says.
        let mut connector = HttpConnector::new_with_resolver(Resolver { guarded: false });
        configure(&mut connector);
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

fn configure(connector: &mut HttpConnector<Resolver>) {
    connector.enforce_http(false);
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(CONNECT));
    connector.set_happy_eyeballs_timeout(Some(HAPPY_EYEBALLS));
    connector.set_keepalive(Some(KEEP_ALIVE));
    // A network that is gone says nothing: who acknowledges nothing for so long is not there (tcp(7), TCP_USER_TIMEOUT).
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}

/// The system's resolver, and what it may find.
#[derive(Clone, Debug)]
struct Resolver {
    guarded: bool,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (guarded, mut system) = (self.guarded, GaiResolver::new());
        Box::pin(async move {
            let found: Vec<SocketAddr> = system.call(name).await?.collect();
            if guarded {
                found.iter().try_for_each(|address| admit(address.ip()))?;
            }
            Ok(found.into_iter())
        })
    }
}

fn admit(address: IpAddr) -> Result<(), Forbidden> {
    if is_public(address) && !is_this_machine(address) {
        Ok(())
    } else {
        Err(Forbidden)
    }
}

/// Whether a public address is one of ours, where firewalls and listeners may think that we are a friend. To get there
/// the kernel would come from there; asking which costs no packet.
fn is_this_machine(address: IpAddr) -> bool {
    let any: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let from = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((address, DISCARD))?;
        socket.local_addr()
    };
    from().is_ok_and(|from| from.ip() == address)
}

/// Whether a connection was refused because it would not go to a public host.
pub(crate) fn is_forbidden(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Forbidden>())
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
    /// It is not a public host.
    #[error("not where a grant leads")]
    Forbidden(#[source] Forbidden),
    /// No address of the host answers.
    #[error("cannot connect")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The corporate proxy does not answer or says no.
    #[error("cannot connect through the corporate proxy")]
    Proxy(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The address is not one of the public internet.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the host is not a public one")]
pub struct Forbidden;

/// Any port does; nothing is sent.
const DISCARD: u16 = 9;
const CONNECT: Duration = Duration::from_secs(20);
const HAPPY_EYEBALLS: Duration = Duration::from_millis(250);
const KEEP_ALIVE: Duration = Duration::from_secs(60);
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED: Duration = Duration::from_secs(30);
