//! Ends the client's TLS with a leaf for exactly the CONNECT's host, then serves HTTP/1.1 or HTTP/2 inside.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::host::Host;
use crate::proxy::client::Client;
use crate::proxy::drain;
use crate::proxy::request::{self, Intercepted};
use crate::proxy::routes::Site;
use crate::proxy::socket::Socket;
use crate::proxy::tunnel::ESTABLISHED;
use crate::proxy::worker::Worker;

/// Accepts the CONNECT and serves requests until the client is done or the daemon drains.
pub(crate) async fn serve(
    worker: Worker,
    client: Client,
    mut stream: TcpStream,
    site: Arc<Site>,
    tls: Arc<rustls::ServerConfig>,
) {
    if stream.write_all(ESTABLISHED).await.is_err() {
        return;
    }
    // Opened while the client is still shaking hands with us.
    site.warm(worker.index);
    let (socket, back) = Socket::lend(stream);
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(tls).accept(socket)) => handshake,
        () = drain::undecided(&worker.plane) => return,
    };
    let stream = match handshake {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(site = %site.origin, %error, "the client ended the handshake; does it trust the bundle?");
            return;
        }
        Err(_) => return,
    };
    let (_, session) = stream.get_ref();
    let speaks_h2 = session.alpn_protocol() == Some(b"h2");
    let name_agrees = session
        .server_name()
        .is_none_or(|name| name.parse::<Host>() == Ok(site.origin.host.clone()));
    let connection = Arc::new(Intercepted {
        worker,
        client,
        site,
        name_agrees,
    });
    let served = if speaks_h2 {
        serve_h2(connection, stream).await
    } else {
        serve_h1(connection, stream).await
    };
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
        return;
    }
    back.linger().await;
}

async fn serve_h1(connection: Arc<Intercepted>, stream: TlsStream<Socket>) -> hyper::Result<()> {
    let (plane, requests) = (Arc::clone(&connection.worker.plane), drain::Requests::default());
    let begun = requests.clone();
    let service = service_fn(move |request| {
        let (connection, _open) = (Arc::clone(&connection), begun.begin());
        async move {
            let plane = Arc::clone(&connection.worker.plane);
            let answer = request::serve(connection, request).await;
            answer.map(|answer| drain::last(&plane, answer))
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_header_size(MAX_HEADERS as usize)
        .max_buf_size(H1_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    tokio::select! {
        result = served.as_mut() => return result,
        () = drain::between_requests(&plane, &requests) => served.as_mut().graceful_shutdown(),
    }
    served.await
}

async fn serve_h2(connection: Arc<Intercepted>, stream: TlsStream<Socket>) -> hyper::Result<()> {
    let (plane, requests) = (Arc::clone(&connection.worker.plane), drain::Requests::default());
    let begun = requests.clone();
    let service = service_fn(move |request| {
        let (connection, open) = (Arc::clone(&connection), begun.begin());
        async move {
            let answer = request::serve(connection, request).await;
            answer.map(|answer| answer.map(|body| drain::Answering::new(body, open)))
        }
    });
    let served = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let mut served = std::pin::pin!(served);
    tokio::select! {
        result = served.as_mut() => return result,
        () = drain::before_the_first_request(&plane, &requests) => served.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        result = served => result,
        () = requests.have_ended() => Ok(()),
    }
}

const HANDSHAKE: Duration = Duration::from_secs(20);
/// How long a connection may wait for its next request's head; cargo and git keep theirs open while they compile.
const IDLE: Duration = Duration::from_secs(300);
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);
const STREAMS: u32 = 256;
/// Streams that were reset before we came to them: a connection with more is an attack (CVE-2023-44487).
const RESETS: usize = 64;
const MAX_HEADERS: u32 = 32 * 1024;
const H1_BUFFER: usize = 256 * 1024;
const STREAM_WINDOW: u32 = 1024 * 1024;
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;
const SEND_BUFFER: usize = 256 * 1024;
