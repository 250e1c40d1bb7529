//! Dialed connection: TCP, or TLS to an `https://` proxy with a tunnel inside.

use hyper_util::client::legacy::connect::{Connected, Connection};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::proxy::tcp_or_tls::TcpOrTls;

/// Dialed connection to an origin: TCP directly, through a proxy in the clear, or to such a proxy. TLS through an `https://`
/// proxy, or to it.
pub(crate) type DialedStream = TcpOrTls<TlsStream<TcpStream>>;

impl DialedStream {
    /// The TCP connection below: to the origin, or to the proxy on the way.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }
}

impl Connection for DialedStream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
