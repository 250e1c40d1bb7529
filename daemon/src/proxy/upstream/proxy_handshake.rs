//! Handshakes with a corporate proxy: TLS to it, HTTP CONNECT (RFC 9110, section 9.3.6), SOCKS5 (RFC 1928 and 1929).
//!
//! Our own code: hyper-util's handshakes hide the status and the cause of a refusal, and drop bytes of the host that arrive
//! together with the proxy's reply. These read the reply and not a byte further.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::net::IpAddr;

use http::HeaderValue;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::ProxyLogin;
use crate::host::{Host, Origin};
use crate::proxy::upstream::proxy_rules::CorporateProxy;

/// Error of a connection through a corporate proxy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the corporate proxy {proxy} {problem}")]
pub struct CorporateProxyError {
    /// URL of the proxy and where it was set; without user and password.
    pub proxy: String,
    /// Kind of failure.
    pub problem: ProxyProblem,
}

impl CorporateProxyError {
    pub(crate) fn new(proxy: &CorporateProxy, problem: ProxyProblem) -> Self {
        Self {
            proxy: proxy.to_string(),
            problem,
        }
    }

    /// The error of a corporate proxy in an error's chain.
    pub(crate) fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        let mut next = Some(error);
        while let Some(cause) = next {
            if let Some(found) = cause.downcast_ref() {
                return Some(found);
            }
            // `source()` of an io::Error skips the error that it wraps.
            let wrapped = cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = wrapped
                .map(|inner| inner as &(dyn StdError + 'static))
                .or_else(|| cause.source());
        }
        None
    }

    /// Next step for the user: one sentence.
    pub fn advice(&self) -> &'static str {
        match self.problem {
            ProxyProblem::Unreachable | ProxyProblem::Silent => {
                "Check the network and the proxy's address; `regauthctl status` shows the proxies in use."
            }
            ProxyProblem::Untrusted => {
                "If your company's own authority signed its certificate, set that authority's PEM file as `ca-file` at \
                 the top of config.toml, and restart regauthd."
            }
            ProxyProblem::NotAProxy => "Check the proxy's scheme and port: http://, https://, socks5h:// or socks5://.",
            ProxyProblem::LoginRequired | ProxyProblem::LoginRejected => {
                "Run `regauthctl upstream http://USER@HOST:PORT`, which asks for the password and keeps it in the store."
            }
            ProxyProblem::PasswordLocked => "Open the store: `regauthctl unlock`; `regauthctl store` shows its state.",
            ProxyProblem::Refused(_) => {
                "Ask the proxy's operator to allow the host and its port, or list the host in `no-proxy` below \
                 [upstream] in config.toml if it is reachable without the proxy."
            }
            ProxyProblem::HostUnreachable(_) => {
                "Check the host's name and that the host is up; names are resolved by the proxy."
            }
        }
    }
}

/// Kind of failure of a connection through a corporate proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyProblem {
    /// No TCP connection to the proxy.
    #[error("cannot be reached")]
    Unreachable,
    /// No answer in time.
    #[error("did not answer in time")]
    Silent,
    /// Certificate of an `https://` proxy that is not trusted.
    #[error("has a certificate that regauth does not trust")]
    Untrusted,
    /// Bytes of another protocol, or a connection that was closed.
    #[error("did not answer as a proxy of its kind does")]
    NotAProxy,
    /// 407, and the URL has no user and password.
    #[error("requires a user and a password (407 Proxy Authentication Required)")]
    LoginRequired,
    /// 407, though a user and password were sent.
    #[error("rejected the user and the password (407 Proxy Authentication Required)")]
    LoginRejected,
    /// The password is in a store that has not been opened since the start.
    #[error("needs a password from the store, which is not open yet")]
    PasswordLocked,
    /// The proxy does not allow the host or port.
    #[error("refused to connect to the host ({0})")]
    Refused(ProxyReply),
    /// The proxy could not connect to the host.
    #[error("could not connect to the host ({0})")]
    HostUnreachable(ProxyReply),
}

/// Answer of a corporate proxy that is not a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyReply {
    /// HTTP status.
    Status(u16),
    /// SOCKS5 reply code (RFC 1928, section 6).
    Socks(u8),
}

impl fmt::Display for ProxyReply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "HTTP {status}"),
            Self::Socks(2) => f.write_str("SOCKS5: not allowed by the rules"),
            Self::Socks(3) => f.write_str("SOCKS5: network unreachable"),
            Self::Socks(4) => f.write_str("SOCKS5: host unreachable"),
            Self::Socks(5) => f.write_str("SOCKS5: connection refused"),
            Self::Socks(6) => f.write_str("SOCKS5: time to live expired"),
            Self::Socks(code) => write!(f, "SOCKS5: reply {code}"),
        }
    }
}

/// Any error of the proxy's bytes.
impl From<io::Error> for ProxyProblem {
    fn from(_: io::Error) -> Self {
        Self::NotAProxy
    }
}

/// TLS handshake with an `https://` proxy.
pub(super) async fn tls(
    connector: &TlsConnector,
    proxy: &Host,
    stream: TcpStream,
) -> Result<TlsStream<TcpStream>, ProxyProblem> {
    let name = match proxy {
        Host::Name(name) => ServerName::try_from(name.to_string()).map_err(|_| ProxyProblem::Untrusted)?,
        Host::Address(address) => ServerName::from(*address),
    };
    connector.connect(name, stream).await.map_err(|error| {
        tracing::debug!(
            error = &error as &dyn std::error::Error,
            "TLS with the corporate proxy failed"
        );
        let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match tls {
            Some(rustls::Error::InvalidCertificate(_)) => ProxyProblem::Untrusted,
            _ => ProxyProblem::NotAProxy,
        }
    })
}

/// Asks an HTTP proxy for a tunnel to a host.
pub(super) async fn connect<S>(
    stream: &mut S,
    target: &Origin,
    authorization: Option<&HeaderValue>,
) -> Result<(), ProxyProblem>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(value) = authorization {
        request.extend_from_slice(b"Proxy-Authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    stream.flush().await?;
    match read_status(stream).await? {
        200..300 => Ok(()),
        407 => Err(login_problem(authorization.is_some())),
        status @ 500.. => Err(ProxyProblem::HostUnreachable(ProxyReply::Status(status))),
        status => Err(ProxyProblem::Refused(ProxyReply::Status(status))),
    }
}

/// Failure that a 407 means.
pub(super) fn login_problem(had_login: bool) -> ProxyProblem {
    if had_login {
        ProxyProblem::LoginRejected
    } else {
        ProxyProblem::LoginRequired
    }
}

/// Reads the head of a response byte by byte, so that the tunnel's first bytes stay in the stream. Interim responses (RFC
/// 9110, section 15.2) are skipped.
async fn read_status<S: AsyncRead + Unpin>(stream: &mut S) -> Result<u16, ProxyProblem> {
    let mut head = Vec::with_capacity(256);
    loop {
        while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
            if head.len() == MAX_HEAD_BYTES {
                return Err(ProxyProblem::NotAProxy);
            }
            head.push(stream.read_u8().await?);
        }
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&head).map_err(|_| ProxyProblem::NotAProxy)?;
        match response.code {
            Some(status) if parsed.is_complete() && status >= 200 => return Ok(status),
            Some(_) if parsed.is_complete() => head.clear(),
            _ => return Err(ProxyProblem::NotAProxy),
        }
    }
}

/// Asks a SOCKS5 proxy for a connection to a host: by its name, or by `address` if it was resolved here.
pub(super) async fn socks5<S>(
    stream: &mut S,
    target: &Origin,
    address: Option<IpAddr>,
    login: Option<&ProxyLogin>,
) -> Result<(), ProxyProblem>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let methods: &[u8] = if login.is_some() {
        &[SOCKS_VERSION, 2, NO_AUTHENTICATION, USER_AND_PASSWORD]
    } else {
        &[SOCKS_VERSION, 1, NO_AUTHENTICATION]
    };
    stream.write_all(methods).await?;
    stream.flush().await?;
    let [version, method] = read_array(stream).await?;
    match (version, method, login) {
        (SOCKS_VERSION, NO_AUTHENTICATION, _) => {}
        (SOCKS_VERSION, USER_AND_PASSWORD, Some(login)) => log_in(stream, login).await?,
        (SOCKS_VERSION, NO_ACCEPTABLE_METHOD | USER_AND_PASSWORD, _) => return Err(login_problem(login.is_some())),
        _ => return Err(ProxyProblem::NotAProxy),
    }
    let request = socks5_request(target, address)?;
    stream.write_all(&request).await?;
    stream.flush().await?;
    read_socks5_reply(stream).await
}

/// Authentication by user and password (RFC 1929).
async fn log_in<S>(stream: &mut S, login: &ProxyLogin) -> Result<(), ProxyProblem>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = vec![1];
    for text in [&*login.user, login.password.as_deref().unwrap_or_default()] {
        request.push(u8::try_from(text.len()).map_err(|_| ProxyProblem::LoginRejected)?);
        request.extend_from_slice(text.as_bytes());
    }
    stream.write_all(&request).await?;
    stream.flush().await?;
    match read_array(stream).await? {
        [_, 0] => Ok(()),
        _ => Err(ProxyProblem::LoginRejected),
    }
}

fn socks5_request(target: &Origin, address: Option<IpAddr>) -> Result<Vec<u8>, ProxyProblem> {
    let mut request = vec![SOCKS_VERSION, CONNECT_COMMAND, 0];
    let host = address.map_or_else(|| target.host.clone(), Host::Address);
    match host {
        Host::Address(IpAddr::V4(address)) => {
            request.push(IPV4);
            request.extend_from_slice(&address.octets());
        }
        Host::Address(IpAddr::V6(address)) => {
            request.push(IPV6);
            request.extend_from_slice(&address.octets());
        }
        Host::Name(name) => {
            request.push(DOMAIN_NAME);
            request.push(u8::try_from(name.len()).map_err(|_| ProxyProblem::NotAProxy)?);
            request.extend_from_slice(name.as_bytes());
        }
    }
    request.extend_from_slice(&target.port.to_be_bytes());
    Ok(request)
}

/// Reads the reply with the address that the proxy has bound, whose length depends on its type.
async fn read_socks5_reply<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), ProxyProblem> {
    let [version, reply, _, kind] = read_array(stream).await?;
    if version != SOCKS_VERSION {
        return Err(ProxyProblem::NotAProxy);
    }
    match reply {
        0 => {}
        2 => return Err(ProxyProblem::Refused(ProxyReply::Socks(reply))),
        _ => return Err(ProxyProblem::HostUnreachable(ProxyReply::Socks(reply))),
    }
    let length = match kind {
        IPV4 => 4,
        IPV6 => 16,
        DOMAIN_NAME => usize::from(stream.read_u8().await?),
        _ => return Err(ProxyProblem::NotAProxy),
    };
    let mut bound = vec![0; length + PORT_BYTES];
    stream.read_exact(&mut bound).await?;
    Ok(())
}

async fn read_array<const N: usize, S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

const MAX_HEAD_BYTES: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;
const SOCKS_VERSION: u8 = 5;
const NO_AUTHENTICATION: u8 = 0;
const USER_AND_PASSWORD: u8 = 2;
const NO_ACCEPTABLE_METHOD: u8 = 0xff;
const CONNECT_COMMAND: u8 = 1;
const IPV4: u8 = 1;
const DOMAIN_NAME: u8 = 3;
const IPV6: u8 = 4;
const PORT_BYTES: usize = 2;

#[cfg(test)]
mod tests;
