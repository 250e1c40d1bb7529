//! Connection of a client: plain TCP, or the TLS that `listen-tls` terminates.
//!
//! Inside the TLS is the same HTTP/1.1 as on a plain connection. [`connect`](crate::proxy::downstream::connect) reads the
//! first request of either.

use std::io;

use tokio::io::AsyncBufReadExt;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::proxy::tcp_or_tls::TcpOrTls;

/// Connection of a client: plain TCP on the address `listen`, TLS to the proxy on the address of `listen-tls`.
pub(crate) type ClientStream = TcpOrTls<TlsStream<TcpStream>>;

impl ClientStream {
    /// The TCP connection, below TLS if there is any.
    pub(crate) fn tcp(&self) -> &TcpStream {
        match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        }
    }

    /// Copies bytes that have arrived to `buffer`, and leaves them in the connection; zero bytes at its end.
    ///
    /// # Errors
    /// When reading fails.
    pub(crate) async fn peek(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.peek(buffer).await,
            Self::Tls(stream) => {
                let arrived = stream.fill_buf().await?;
                let length = arrived.len().min(buffer.len());
                let (Some(from), Some(to)) = (arrived.get(..length), buffer.get_mut(..length)) else {
                    return Ok(0);
                };
                to.copy_from_slice(from);
                Ok(length)
            }
        }
    }
}
