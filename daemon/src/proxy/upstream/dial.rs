//! Connections to origins, direct or through a corporate proxy.
//!
//! [`ProxyRules`] choose the proxy. Loopback is never proxied, and plain HTTP of a registry goes only to an address that is
//! loopback after resolution: its token is not encrypted.

mod addresses;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use http::uri::{Authority, Scheme as UriScheme};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use self::addresses::{Addresses, Reach, Resolver};
use crate::config::ProxyScheme;
use crate::host::{Host, Origin};
use crate::proxy::upstream::opening::DialProgress;
use crate::proxy::upstream::proxy_handshake::{self, CorporateProxyError, ProxyProblem};
use crate::proxy::upstream::proxy_rules::{CorporateProxy, ProxyRules};
use crate::proxy::upstream::stream::DialedStream;
use crate::proxy::upstream::trust::{Trust, TrustError};

/// Opener of connections. Clones share the settings.
#[derive(Clone)]
pub struct Dialer {
    reach: Reach,
    proxies: Arc<ProxyRules>,
    /// For the TLS of `https://` proxies.
    proxy_tls: TlsConnector,
}

impl std::fmt::Debug for Dialer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dialer")
            .field("reach", &self.reach)
            .field("proxies", &self.proxies)
            .finish_non_exhaustive()
    }
}

impl Dialer {
    /// Dialer with these rules, for requests without a token. `trust` is for the certificates of `https://` proxies.
    ///
    /// # Errors
    /// [`TrustError`] when rustls rejects the TLS settings.
    pub fn new(proxies: ProxyRules, trust: Trust) -> Result<Self, TrustError> {
        Ok(Self {
            reach: Reach::Anywhere,
            proxies: Arc::new(proxies),
            proxy_tls: Arc::new(trust.client_config()?).into(),
        })
    }

    /// Dialer with the same settings for requests with a token: plain HTTP reaches loopback only, and never a proxy.
    #[must_use]
    pub fn for_registries(&self) -> Self {
        self.reaching(Reach::Registries)
    }

    /// Dialer that connects only to [`METADATA_SERVER`], without a proxy.
    #[must_use]
    pub(crate) fn for_metadata_server(&self) -> Self {
        self.reaching(Reach::MetadataServer)
    }

    /// Dialer with the same settings that connects only to public addresses, for the bearers of grants.
    ///
    /// It resolves a name once, requires all its addresses to be public, and connects to those. Behind a corporate proxy,
    /// the proxy resolves names, unless it is a `socks5://` one.
    #[must_use]
    pub fn public_only(&self) -> Self {
        self.reaching(Reach::Public)
    }

    fn reaching(&self, reach: Reach) -> Self {
        Self { reach, ..self.clone() }
    }

    /// The corporate proxies in use.
    pub fn proxies(&self) -> &ProxyRules {
        &self.proxies
    }

    /// HTTP proxy that takes plain requests for this origin in absolute form (RFC 9112, section 3.2.2). Such a connection
    /// leads to the proxy, not to the origin.
    pub(super) fn forwarding_proxy(&self, scheme: &UriScheme, authority: &Authority) -> Option<Arc<CorporateProxy>> {
        let host = authority.host().parse().ok()?;
        let plain = *scheme == UriScheme::HTTP && matches!(self.reach, Reach::Anywhere | Reach::Public);
        let proxy = plain.then(|| self.proxies.select(true, &host)).flatten()?;
        (!proxy.url.scheme.is_socks()).then(|| Arc::clone(proxy))
    }

    /// Connects to an origin, for a tunnel.
    ///
    /// # Errors
    /// [`DialError`] when the host or the corporate proxy cannot be reached.
    pub async fn dial(&mut self, origin: &Origin) -> Result<DialedStream, DialError> {
        let uri = Uri::try_from(format!("https://{origin}/")).map_err(|_| DialError::Invalid)?;
        self.call(uri).await.map(TokioIo::into_inner)
    }

    async fn connect(self, uri: Uri) -> Result<DialedStream, DialError> {
        let plain = uri.scheme() == Some(&UriScheme::HTTP);
        let target = origin(&uri, plain)?;
        let addresses = Addresses::of(self.reach, plain);
        if let Host::Address(address) = target.host {
            addresses.check(address)?;
        }
        // A token in the clear stays on this machine, or on its link to the metadata server.
        let is_local = matches!(addresses, Addresses::Loopback | Addresses::MetadataServer);
        let proxy = self.proxies.select(plain, &target.host);
        let Some(proxy) = proxy.filter(|_| !is_local) else {
            return direct(uri, addresses).await.map(DialedStream::Tcp);
        };
        let opening = self.through(proxy, plain, &target, addresses);
        let opened = tokio::time::timeout(PROXY_TIMEOUT, opening).await;
        opened.unwrap_or_else(|_| Err(CorporateProxyError::new(proxy, ProxyProblem::Silent).into()))
    }

    /// Connects through a proxy; for a plain request only to an HTTP proxy, which gets the request itself.
    async fn through(
        &self,
        proxy: &CorporateProxy,
        plain: bool,
        target: &Origin,
        addresses: Addresses,
    ) -> Result<DialedStream, DialError> {
        let failed = |problem| CorporateProxyError::new(proxy, problem);
        let login = proxy.login().map_err(failed)?;
        // `socks5://` leaves the name to us. It is resolved first, so that a refusal costs no connection.
        let address = match (&target.host, proxy.url.scheme) {
            (Host::Name(name), ProxyScheme::Socks5) => addresses.resolve(name).await?.first().map(SocketAddr::ip),
            _ => None,
        };
        let tcp = connect_to(proxy).await?;
        let mut stream = if proxy.url.scheme == ProxyScheme::Https {
            let tls = proxy_handshake::tls(&self.proxy_tls, &proxy.url.origin.host, tcp).await;
            DialedStream::Tls(Box::new(tls.map_err(failed)?))
        } else {
            DialedStream::Tcp(tcp)
        };
        let handshake = async {
            match proxy.url.scheme {
                ProxyScheme::Http | ProxyScheme::Https if plain => Ok(()),
                ProxyScheme::Http | ProxyScheme::Https => {
                    proxy_handshake::connect(&mut stream, target, login.authorization.as_ref()).await
                }
                ProxyScheme::Socks5 | ProxyScheme::Socks5h => {
                    proxy_handshake::socks5(&mut stream, target, address, login.login.as_ref()).await
                }
            }
        };
        handshake.await.map_err(failed)?;
        Ok(stream)
    }
}

/// TCP connection to a corporate proxy, whose own address may be private.
async fn connect_to(proxy: &CorporateProxy) -> Result<TcpStream, DialError> {
    let uri = Uri::try_from(format!("http://{}/", proxy.url.origin)).map_err(|_| DialError::Invalid)?;
    direct(uri, Addresses::All).await.map_err(|error| {
        tracing::debug!(error = &error as &dyn std::error::Error, "corporate proxy not reached");
        CorporateProxyError::new(proxy, ProxyProblem::Unreachable).into()
    })
}

/// TCP connection without a proxy.
async fn direct(uri: Uri, addresses: Addresses) -> Result<TcpStream, DialError> {
    let resolver = Resolver::new(addresses);
    let mut connector = HttpConnector::new_with_resolver(resolver.clone());
    configure(&mut connector);
    let connected = connector.call(uri).await;
    connected
        .map(TokioIo::into_inner)
        .map_err(|error| DialError::Unreachable {
            addresses: resolver.found().into(),
            source: Box::new(error),
        })
}

/// Host and port of a URL. Every pool's URL has a valid authority.
fn origin(uri: &Uri, plain: bool) -> Result<Origin, DialError> {
    let default_port = if plain { 80 } else { 443 };
    let authority = uri.authority().ok_or(DialError::Invalid)?;
    Origin::parse(authority.as_str(), Some(default_port)).map_err(|_| DialError::Invalid)
}

impl Service<Uri> for Dialer {
    type Response = TokioIo<DialedStream>;
    type Error = DialError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, DialError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), DialError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.clone();
        Box::pin(async move {
            let stream = dialer.connect(uri).await?;
            DialProgress::note_connected();
            Ok(TokioIo::new(stream))
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

/// Returns true if an error is a refusal to connect to an address that is not public.
pub(crate) fn is_forbidden(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| error.is::<Forbidden>())
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
    /// No address of the host accepts a connection, or its name has none.
    #[error("cannot connect")]
    Unreachable {
        /// Addresses of the host's name; empty for a host that is an address itself.
        addresses: Box<[IpAddr]>,
        /// Reason of the last one.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The corporate proxy cannot be reached or refuses.
    #[error("cannot connect through the corporate proxy")]
    Proxy(#[from] CorporateProxyError),
    /// Plain HTTP with a token, and an address that is not loopback.
    #[error("plain HTTP with a token goes to loopback only")]
    NotLoopback(#[source] NotLoopback),
}

impl DialError {
    /// Addresses that accepted no connection, from an error's chain.
    pub(crate) fn addresses<'a>(error: &'a (dyn std::error::Error + 'static)) -> &'a [IpAddr] {
        std::iter::successors(Some(error), |error| error.source())
            .find_map(|error| match error.downcast_ref() {
                Some(Self::Unreachable { addresses, .. }) => Some(&**addresses),
                _ => None,
            })
            .unwrap_or_default()
    }
}

impl From<NameLookupError> for DialError {
    fn from(error: NameLookupError) -> Self {
        Self::Unreachable {
            addresses: Box::default(),
            source: Box::new(error),
        }
    }
}

/// The system's resolver gave no address.
#[derive(Debug, thiserror::Error)]
#[error("cannot look up the name")]
pub(crate) struct NameLookupError(#[source] pub(crate) std::io::Error);

/// The address is not public, or is one of this machine's.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the host is not public")]
pub struct Forbidden;

/// A name of loopback has an address that is not loopback.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the name has an address that is not loopback")]
pub struct NotLoopback;

/// Metadata server of a Google machine, on its own link ("About VM metadata").
pub(crate) const METADATA_SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254));
/// Time for TCP and all handshakes with a corporate proxy. It answers a CONNECT after it has connected to the host. Shorter
/// than the deadline of the opening, so that the proxy is named.
const PROXY_TIMEOUT: Duration = Duration::from_secs(12);
/// Shorter than the deadline of the opening, so that the addresses are named.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(12);
const HAPPY_EYEBALLS_DELAY: Duration = Duration::from_millis(250);
const KEEP_ALIVE_TIME: Duration = Duration::from_secs(60);
#[cfg(target_os = "linux")]
const UNACKNOWLEDGED_TIMEOUT: Duration = Duration::from_secs(30);
