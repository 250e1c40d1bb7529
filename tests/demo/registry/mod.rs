//! The company's registry: sparse index and downloads over HTTPS, with Basic authentication on every path.
//!
//! It records every request with its `Authorization`. It has no publishing, owners or search. Next in the walk:
//! `handler.rs`, its answers.

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

pub(crate) use self::handler::{AccessRules, Crate, RecordedRequest, basic};

use self::handler::Handler;
use self::identity::Identity;

mod handler;
mod identity;

/// Running registry. Dropping it stops it.
pub(crate) struct Registry {
    address: SocketAddr,
    identity: Identity,
    handler: Arc<Handler>,
    _accepting: JoinSet<()>,
}

impl Registry {
    /// Starts on a free port of the loopback interface.
    pub(crate) async fn start(rules: AccessRules, crates: Vec<Crate>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let identity = Identity::new(HOST)?;
        let handler = Arc::new(Handler::new(&base_url(address), rules, crates));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, identity.acceptor(), Arc::clone(&handler)));
        Ok(Self {
            address,
            identity,
            handler,
            _accepting: accepting,
        })
    }

    /// URL of the index, as in cargo's configuration after `sparse+`.
    pub(crate) fn index(&self) -> String {
        format!("{}/index/", base_url(self.address))
    }

    /// Certificate of the company's CA.
    pub(crate) fn ca_pem(&self) -> &str {
        self.identity.ca_pem()
    }

    /// Replaces the accepted `Authorization`.
    pub(crate) fn set_authorization(&self, authorization: &str) {
        self.handler.set_authorization(authorization);
    }

    /// Returns the requests since the last call.
    pub(crate) fn take_requests(&self) -> Vec<RecordedRequest> {
        self.handler.take_requests()
    }

    /// Requests `config.json` directly, without a proxy, and returns the status line.
    pub(crate) async fn status_line_for(&self, authorization: &str) -> io::Result<String> {
        let socket = TcpStream::connect(self.address).await?;
        let mut stream = self.identity.connect(HOST, socket).await?;
        let request = format!(
            "GET /index/config.json HTTP/1.1\r\nHost: {HOST}:{}\r\nAuthorization: {authorization}\r\n\
             Connection: close\r\n\r\n",
            self.address.port()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        Ok(answer.lines().next().unwrap_or_default().to_owned())
    }
}

fn base_url(address: SocketAddr) -> String {
    format!("https://{HOST}:{}", address.port())
}

/// Accepts connections. Dropping the future closes all of them.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, handler: Arc<Handler>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(serve(socket, acceptor.clone(), Arc::clone(&handler)));
    }
}

/// Serves one connection. Errors are dropped here, since the client reports them.
async fn serve(socket: TcpStream, acceptor: TlsAcceptor, handler: Arc<Handler>) {
    let Ok(stream) = acceptor.accept(socket).await else {
        return;
    };
    let service = service_fn(move |request| {
        let response = handler.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

const HOST: &str = "localhost";

#[cfg(test)]
mod tests;
