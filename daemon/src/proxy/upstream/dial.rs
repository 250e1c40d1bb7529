//! TCP connections to upstreams, direct or through a corporate proxy.
//!
//! The corporate proxy comes from the configuration, or from the environment as curl reads it. `no-proxy` lists hosts that
//! are reached without it.

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

/// Opener of TCP connections. Clones share the settings.
#[derive(Clone, Debug)]
pub struct Dialer {
    connector: HttpConnector<Resolver>,
    proxies: Arc<Matcher>,
    public_only: bool,
}

impl Dialer {
    /// Dialer with the configured settings, or those of the environment.
    ///
    /// `listen` is the address of our own listener. A proxy there is ignored: it is set for clients in the same environment.
    pub fn new(settings: &UpstreamSettings, listen: SocketAddr) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Resolver { public_only: false });
        configure(&mut connector);
        Self {
            connector,
            proxies: Arc::new(proxies(settings, listen)),
            public_only: false,
        }
    }

    /// Dialer with the same settings that connects only to public addresses, for the bearers of grants.
    ///
    /// It resolves a name once, requires all its addresses to be public, and connects to those. Behind a corporate proxy,
    /// the proxy resolves names.
    #[must_use]
    pub fn public_only(&self) -> Self {
        let mut connector = HttpConnector::new_with_resolver(Resolver { public_only: true });
        configure(&mut connector);
        Self {
            connector,
            proxies: Arc::clone(&self.proxies),
            public_only: true,
        }
    }

    /// Connects to an origin, for a tunnel.
    ///
    /// # Errors
    /// [`DialError`] when the host or the corporate proxy cannot be reached.
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
        if self.public_only
            && let Some(Ok(Host::Address(address))) = uri.host().map(str::parse)
            && let Err(forbidden) = check_public(address)
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
        // The address of the proxy itself may be private.
        let mut connector = HttpConnector::new_with_resolver(Resolver { public_only: false });
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
    connector.set_connect_timeout(Some(CONNECT_TIMEOUT));
    connector.set_happy_eyeballs_timeout(Some(HAPPY_EYEBALLS_DELAY));
    connector.set_keepalive(Some(KEEP_ALIVE_TIME));
    // A lost network reports no error. An upstream that acknowledges nothing for so long is gone (tcp(7),
    // TCP_USER_TIMEOUT).
    #[cfg(target_os = "linux")]
    connector.set_tcp_user_timeout(Some(UNACKNOWLEDGED_TIMEOUT));
}

/// The system's resolver, with a check of the addresses.
#[derive(Clone, Debug)]
struct Resolver {
    public_only: bool,
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = Box<dyn std::error::Error + Send + Sync>;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let (public_only, mut system) = (self.public_only, GaiResolver::new());
        Box::pin(async move {
            let found: Vec<SocketAddr> = system.call(name).await.map_err(NameLookupError)?.collect();
            if public_only {
                found.iter().try_for_each(|address| check_public(address.ip()))?;
            }
            Ok(found.into_iter())
        })
    }
}

fn check_public(address: IpAddr) -> Result<(), Forbidden> {
    if is_public(address) && !is_own_address(address) {
        Ok(())
    } else {
        Err(Forbidden)
    }
}

/// Returns true if a public address is one of this machine's own. The firewall and listeners may trust local connections.
///
/// To reach such an address, the kernel chooses it as the source address too. Connecting a UDP socket sends no packet.
fn is_own_address(address: IpAddr) -> bool {
    let unspecified: IpAddr = match address {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source_address = || {
        let socket = UdpSocket::bind((unspecified, 0))?;
        socket.connect((address, DISCARD_PORT))?;
        socket.local_addr()
    };
    source_address().is_ok_and(|source| source.ip() == address)
}

/// Returns true if an error is a refusal to connect to an address that is not public.
pub(crate) fn is_forbidden(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Forbidden>())
}

fn proxies(settings: &UpstreamSettings, listen: SocketAddr) -> Matcher {
    let configured = settings.proxy.as_ref().map(ToString::to_string);
    let no_proxy = settings.no_proxy.as_ref().map(|hosts| hosts.join(","));
    let (proxy, no_proxy) = match configured {
        Some(proxy) => (Some(proxy), no_proxy),
        None => (
            from_environment(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]),
            no_proxy.or_else(no_proxy_from_environment),
        ),
    };
    match proxy.filter(|proxy| !is_own_listener(proxy, listen)) {
        Some(proxy) => Matcher::builder().all(proxy).no(no_proxy.unwrap_or_default()).build(),
        None => Matcher::builder().build(),
    }
}

fn no_proxy_from_environment() -> Option<String> {
    from_environment(&["no_proxy", "NO_PROXY"])
}

fn from_environment(names: &[&str]) -> Option<String> {
    names
        .iter()
        .find_map(|name| std::env::var(name).ok())
        .filter(|value| !value.is_empty())
}

fn is_own_listener(proxy: &str, listen: SocketAddr) -> bool {
    let Ok(uri) = proxy.parse::<Uri>() else { return false };
    let host = uri.host().and_then(|host| host.parse::<Host>().ok());
    uri.port_u16() == Some(listen.port()) && host.is_some_and(|host| host.is_loopback())
}

/// Reason why a connection failed.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The origin cannot be part of a URL.
    #[error("the host is not valid in a URL")]
    Invalid,
    /// The client has a grant, and the host is not public.
    #[error("a grant does not allow this host")]
    Forbidden(#[source] Forbidden),
    /// No address of the host accepts a connection.
    #[error("cannot connect")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The corporate proxy cannot be reached or refuses the host.
    #[error("cannot connect through the corporate proxy")]
    Proxy(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The system's resolver gave no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot look up the name")]
pub(crate) struct NameLookupError(#[source] pub(crate) std::io::Error);

/// The address is not public, or is one of this machine's.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the host is not public")]
pub struct Forbidden;

/// Any port works, because nothing is sent.
const DISCARD_PORT: u16 = 9;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const HAPPY_EYEBALLS_DELAY: Duration = Duration::from_millis(250);
const KEEP_ALIVE_TIME: Duration = Duration::from_secs(60);
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);
