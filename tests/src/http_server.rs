//! Small hyper server for [`crate::registry_api`] and [`crate::mock_server`], on a runtime that the harness shares.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Runtime;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

/// Running server. Dropping it closes its connections.
#[derive(Debug)]
pub struct HttpServer {
    accepting: AbortHandle,
}

impl HttpServer {
    /// Serves HTTP/1.1 and HTTP/2 on a Unix socket.
    pub fn on_unix_socket<S: Handler>(path: &Path, service: S) -> Self {
        let _inside = runtime().enter();
        let listener = UnixListener::bind(path).unwrap();
        Self::accepting(Listening::Unix(listener), service)
    }

    /// Serves on a free port of `address`, over TLS with a configuration. Returns the address it listens on.
    pub fn on_tcp<S: Handler>(address: SocketAddr, tls: Option<Arc<ServerConfig>>, service: S) -> (Self, SocketAddr) {
        let listener = runtime().block_on(TcpListener::bind(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let listening = match tls {
            Some(config) => Listening::Tls(listener, config.into()),
            None => Listening::Tcp(listener),
        };
        (Self::accepting(listening, service), address)
    }

    fn accepting<S: Handler>(listening: Listening, service: S) -> Self {
        let task = runtime().spawn(async move {
            // Aborting the task drops the set and aborts its connections.
            let mut connections = JoinSet::new();
            while listening.accept(&mut connections, service.clone()).await.is_ok() {
                while connections.try_join_next().is_some() {}
            }
        });
        Self {
            accepting: task.abort_handle(),
        }
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Answers requests.
pub trait Handler: Clone + Send + Sync + 'static {
    /// Answers one request.
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Response<Full<Bytes>>> + Send;
}

enum Listening {
    Unix(UnixListener),
    Tcp(TcpListener),
    Tls(TcpListener, TlsAcceptor),
}

impl Listening {
    async fn accept<S: Handler>(&self, connections: &mut JoinSet<()>, service: S) -> io::Result<()> {
        match self {
            Self::Unix(listener) => connections.spawn(http(listener.accept().await?.0, service)),
            Self::Tcp(listener) => connections.spawn(http(listener.accept().await?.0, service)),
            Self::Tls(listener, acceptor) => {
                let handshake = acceptor.accept(listener.accept().await?.0);
                connections.spawn(async move {
                    // A client that rejects the certificate fails here. Tests check that in the client.
                    if let Ok(stream) = handshake.await {
                        http(stream, service).await;
                    }
                })
            }
        };
        Ok(())
    }
}

async fn http<I, S>(stream: I, service: S)
where
    I: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    S: Handler,
{
    let answer = service_fn(move |request| {
        let service = service.clone();
        async move { Ok::<_, Infallible>(service.answer(request).await) }
    });
    // A client that disconnects early is no error of the server.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(stream), answer)
        .await;
}

/// Runtime of all servers and clients of the harness.
pub(crate) fn runtime() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap()
    })
}
