//! The company's registry: a sparse index and downloads over HTTPS, with Basic authentication demanded on everything.
//!
//! It keeps a list of who asked for what with which `Authorization`. It has no publishing, owners or search. Next in the
//! walk: `shelf.rs`, what it answers.

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

pub(crate) use self::shelf::{Crate, Terms, Visit, basic};

use self::identity::Identity;
use self::shelf::Shelf;

mod identity;
mod shelf;

/// A running registry. Dropping it ends it.
pub(crate) struct Registry {
    address: SocketAddr,
    identity: Identity,
    shelf: Arc<Shelf>,
    _accepting: JoinSet<()>,
}

impl Registry {
    /// Opens on a free port of the loopback interface.
    pub(crate) async fn open(terms: Terms, crates: Vec<Crate>) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let identity = Identity::new(HOST)?;
        let shelf = Arc::new(Shelf::new(&origin(address), terms, crates));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, identity.acceptor(), Arc::clone(&shelf)));
        Ok(Self {
            address,
            identity,
            shelf,
            _accepting: accepting,
        })
    }

    /// The index, as it stands in cargo's configuration after `sparse+`.
    pub(crate) fn index(&self) -> String {
        format!("{}/index/", origin(self.address))
    }

    /// The certificate of the company's own authority.
    pub(crate) fn ca_pem(&self) -> &str {
        self.identity.ca_pem()
    }

    /// From now on only this `Authorization` is good.
    pub(crate) fn change_authorization(&self, authorization: &str) {
        self.shelf.change_authorization(authorization);
    }

    /// Who came since the last time this was asked.
    pub(crate) fn visits(&self) -> Vec<Visit> {
        self.shelf.visits()
    }

    /// Asks for `config.json` over the registry's own port, past everything; the answer's status line.
    pub(crate) async fn ask(&self, authorization: &str) -> io::Result<String> {
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

fn origin(address: SocketAddr) -> String {
    format!("https://{HOST}:{}", address.port())
}

/// Ends when it is dropped, and every connection with it.
async fn accept(listener: TcpListener, acceptor: TlsAcceptor, shelf: Arc<Shelf>) {
    let mut connections = JoinSet::new();
    while let Ok((socket, _)) = listener.accept().await {
        connections.spawn(serve(socket, acceptor.clone(), Arc::clone(&shelf)));
    }
}

/// What goes wrong on a connection is the client's to report.
async fn serve(socket: TcpStream, acceptor: TlsAcceptor, shelf: Arc<Shelf>) {
    let Ok(stream) = acceptor.accept(socket).await else {
        return;
    };
    let service = service_fn(move |request| {
        let response = shelf.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

const HOST: &str = "localhost";

#[cfg(test)]
mod tests;
