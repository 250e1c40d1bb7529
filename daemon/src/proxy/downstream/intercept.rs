//! Ends the client's TLS with a leaf for exactly the CONNECT's host, then serves HTTP/1.1 or HTTP/2 inside.

use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

use crate::host::Host;
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::downstream::drain;
use crate::proxy::downstream::socket::Socket;
use crate::proxy::downstream::tunnel::ESTABLISHED;
use crate::proxy::downstream::worker::Worker;
use crate::proxy::exchange::request::{self, Intercepted};
use crate::proxy::routes::InterceptedHost;
use crate::proxy::write_coalescer::cork;

/// Accepts the CONNECT and serves requests until the client is done or the daemon drains.
pub(crate) async fn serve(
    worker: Worker,
    client: Client,
    mut stream: TcpStream,
    site: Arc<InterceptedHost>,
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
        let (socket, session) = stream.into_inner();
        serve_h2(connection, socket, session).await
    } else {
        serve_h1(connection, stream).await
    };
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, "connection ended");
        return;
    }
    back.linger().await;
}

async fn serve_h1<S>(connection: Arc<Intercepted>, stream: S) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
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

async fn serve_h2<S>(connection: Arc<Intercepted>, socket: S, session: rustls::ServerConnection) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, cork) = cork(socket, session);
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
        result = cork.drive(served.as_mut()) => return result,
        () = drain::before_the_first_request(&plane, &requests) => served.as_mut().graceful_shutdown(),
        // hyper has no such deadline for HTTP/2, and a client that lives answers pings for ever.
        () = requests.pause_for(IDLE) => served.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        result = cork.drive(served) => result,
        () = requests.have_ended() => Ok(()),
    }
}

const HANDSHAKE: Duration = Duration::from_secs(20);
/// How long a connection may be without a request, and how long a request's head may take on HTTP/1.1; cargo and git keep
/// theirs open while they compile.
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

#[cfg(test)]
mod tests {
    use http_body_util::Empty;
    use hyper::body::Bytes;
    use hyper::client::conn::http2 as client;
    use tokio::io::{AsyncReadExt, DuplexStream};
    use tokio::task::JoinSet;
    use tokio::time::Instant;
    use tokio_rustls::client::TlsStream;

    use super::*;
    use crate::host::Origin;
    use crate::proxy::downstream::authenticate::tests::owner;
    use crate::proxy::downstream::worker::tests::worker;
    use crate::proxy::routes::tests::routes;
    use crate::proxy::write_coalescer::tests::connected;

    /// A connection whose every request is refused, so that it needs no registry.
    fn connection() -> Arc<Intercepted> {
        let routes = routes(r#"registries.corp.scopes = ["https://corp.example/"]"#);
        let origin = Origin::parse("corp.example:443", None).unwrap();
        Arc::new(Intercepted {
            worker: worker(),
            client: owner(),
            site: Arc::clone(routes.site(&origin).unwrap()),
            name_agrees: false,
        })
    }

    /// What a client would have on its end, and when ours was over.
    fn served_h1() -> (DuplexStream, JoinSet<Duration>) {
        let (theirs, ours) = tokio::io::duplex(64 * 1024);
        (theirs, timed(serve_h1(connection(), ours)))
    }

    async fn served_h2() -> (TlsStream<DuplexStream>, JoinSet<Duration>) {
        let (theirs, ours, session) = connected(64 * 1024).await;
        (theirs, timed(serve_h2(connection(), ours, session)))
    }

    fn timed(serving: impl Future<Output = hyper::Result<()>> + Send + 'static) -> JoinSet<Duration> {
        let begin = Instant::now();
        let mut over = JoinSet::new();
        over.spawn(async move {
            let _ = serving.await;
            begin.elapsed()
        });
        over
    }

    /// How many seconds it took, or an hour and a bit.
    async fn seconds(mut over: JoinSet<Duration>) -> u64 {
        let ended = tokio::time::timeout(Duration::from_secs(4000), over.join_next()).await;
        ended.map_or(u64::MAX, |took| took.unwrap().unwrap().as_secs())
    }

    /// A client of HTTP/2 that lives: it answers pings.
    async fn alive(stream: TlsStream<DuplexStream>) -> (client::SendRequest<Empty<Bytes>>, JoinSet<()>) {
        let (sender, life) = client::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        let mut living = JoinSet::new();
        living.spawn(async { life.await.unwrap_or_default() });
        (sender, living)
    }

    async fn ask(sender: &mut client::SendRequest<Empty<Bytes>>) {
        let request = http::Request::get("https://corp.example/").body(Empty::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 421);
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_of_http1_is_ended() {
        for beginning in [
            "",
            "GET / HTTP/1.1\r\nHost: corp.example\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: corp",
        ] {
            let (mut client, over) = served_h1();
            client.write_all(beginning.as_bytes()).await.unwrap();
            assert_eq!(seconds(over).await, IDLE.as_secs(), "{beginning:?}");
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer.contains(" 421 "), beginning.ends_with("\r\n\r\n"), "{answer}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_of_http2_is_ended_though_the_client_answers_pings() {
        for requests in [0, 1] {
            let (client, over) = served_h2().await;
            let (mut sender, _living) = alive(client).await;
            for _ in 0..requests {
                ask(&mut sender).await;
            }
            let seconds = seconds(over).await;
            assert!((300..=340).contains(&seconds), "{requests}: {seconds}");
        }
    }

    /// Between HEADERS and CONTINUATION no other frame is allowed, so it cannot answer either.
    #[tokio::test(start_paused = true)]
    async fn a_head_of_http2_that_does_not_end_is_not_waited_for() {
        let (mut client, over) = served_h2().await;
        client.write_all(UNFINISHED).await.unwrap();
        assert_eq!(seconds(over).await, (KEEP_ALIVE + KEEP_ALIVE_ANSWER).as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_is_used_now_and_then_is_kept() {
        let (client, mut over) = served_h2().await;
        let (mut sender, _living) = alive(client).await;
        for _ in 0..12 {
            ask(&mut sender).await;
            tokio::time::sleep(IDLE * 9 / 10).await;
        }
        assert!(over.try_join_next().is_none());
    }

    /// The preface, SETTINGS, and HEADERS without END_HEADERS.
    const UNFINISHED: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
        \0\0\0\x04\0\0\0\0\0\
        \0\0\x01\x01\0\0\0\0\x01\x82";
}
