//! Interception: terminates the client's TLS with a leaf for exactly the CONNECT's host, then serves HTTP/1.1 or HTTP/2.
//!
//! [`request::serve`] handles each decrypted request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;

use crate::host::Host;
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::downstream::client_stream::ClientStream;
use crate::proxy::downstream::drain::{self, RequestTracker, TrackedBody};
use crate::proxy::downstream::http1;
use crate::proxy::downstream::socket::ClientSocket;
use crate::proxy::downstream::unread::StreamExecutor;
use crate::proxy::exchange::request::{self, InterceptedConnection};
use crate::proxy::routes::InterceptedHost;
use crate::proxy::state::Worker;
use crate::proxy::write_coalescer::coalesce;

/// Serves requests on an accepted CONNECT until the client is done or the daemon drains.
pub(crate) async fn serve(
    worker: Worker,
    client: Client,
    stream: ClientStream,
    host: Arc<InterceptedHost>,
    tls: Arc<rustls::ServerConfig>,
) {
    // The upstream connection opens during the client's handshake, and no longer than the client is there.
    let _opening = host.warm(worker.index);
    let (socket, reclaim) = ClientSocket::new(stream);
    let handshake = tokio::select! {
        handshake = tokio::time::timeout(HANDSHAKE_TIMEOUT, Box::pin(TlsAcceptor::from(tls).accept(socket))) => handshake,
        () = drain::first_request_grace(&worker.state) => return,
    };
    let stream = match handshake {
        // Boxed, since the futures below have room for several copies.
        Ok(Ok(stream)) => Box::new(stream),
        Ok(Err(error)) => {
            tracing::debug!(host = %host.origin, %error, "TLS handshake failed; does the client trust the bundle?");
            return;
        }
        Err(_) => return,
    };
    let (_, session) = stream.get_ref();
    let speaks_h2 = session.alpn_protocol() == Some(b"h2");
    let sni_matches = session
        .server_name()
        .is_none_or(|name| name.parse::<Host>() == Ok(host.origin.host.clone()));
    let connection = Arc::new(InterceptedConnection {
        worker,
        client,
        host,
        sni_matches,
    });
    let served = if speaks_h2 {
        let (socket, session) = stream.into_inner();
        Box::pin(serve_h2(connection, socket, session)).await
    } else {
        let state = Arc::clone(&connection.worker.state);
        let respond = move |request| request::serve(Arc::clone(&connection), request);
        Box::pin(http1::serve(&state, stream, Bytes::new(), respond)).await
    };
    if let Err(error) = served {
        tracing::debug!(error = &error as &dyn std::error::Error, "client connection ended");
        return;
    }
    reclaim.linger().await;
}

async fn serve_h2<S>(
    connection: Arc<InterceptedConnection>,
    socket: S,
    session: rustls::ServerConnection,
) -> hyper::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, coalescer) = coalesce(socket, session);
    let (state, requests) = (Arc::clone(&connection.worker.state), RequestTracker::default());
    let tracker = requests.clone();
    let service = service_fn(move |request| {
        let (connection, open) = (Arc::clone(&connection), tracker.begin());
        async move {
            let response = request::serve(connection, request).await;
            response.map(|response| response.map(|body| TrackedBody::new(body, open)))
        }
    });
    let mut builder = http2::Builder::new(StreamExecutor);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_RESET_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_send_buf_size(SEND_BUFFER_BYTES);
    let mut served = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        result = coalescer.drive(served.as_mut()) => return result,
        () = drain::goaway_grace(&state, &requests) => served.as_mut().graceful_shutdown(),
        // hyper has no idle timeout for HTTP/2, and an idle client answers pings forever.
        () = requests.until_idle_for(IDLE_TIMEOUT) => served.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        result = coalescer.drive(served) => result,
        () = requests.until_quiet() => Ok(()),
    }
}

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);
/// Limit for a connection without a request. cargo and git keep idle connections while they compile.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
const MAX_STREAMS: u32 = 256;
/// Streams that the client resets before we serve them: a connection with more is an attack (CVE-2023-44487).
const MAX_RESET_STREAMS: usize = 64;
const MAX_HEADER_BYTES: u32 = 32 * 1024;
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
const SEND_BUFFER_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use futures_util::stream::poll_fn;
    use http_body::Frame;
    use http_body_util::{BodyExt, Empty, StreamBody};
    use hyper::body::Incoming;
    use hyper::client::conn::http2 as client;
    use hyper_util::rt::TokioExecutor;
    use tokio::io::{AsyncWriteExt, DuplexStream};
    use tokio::sync::mpsc;
    use tokio::task::JoinSet;
    use tokio::time::Instant;
    use tokio_rustls::client::TlsStream;

    use super::*;
    use crate::host::Origin;
    use crate::proxy::downstream::authenticate::tests::owner;
    use crate::proxy::routes::tests::routes;
    use crate::proxy::state::tests::worker;
    use crate::proxy::write_coalescer::tests::connected;

    /// Connection on which every request fails the SNI check, so that it needs no registry.
    fn connection() -> Arc<InterceptedConnection> {
        let routes = routes(r#"registries.corp.scopes = ["https://corp.example/"]"#);
        let origin = Origin::parse("corp.example:443", None).unwrap();
        Arc::new(InterceptedConnection {
            worker: worker(),
            client: owner(),
            host: Arc::clone(routes.host(&origin).unwrap()),
            sni_matches: false,
        })
    }

    /// Client end of a served connection, and the task that measures how long it is served.
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

    /// Seconds until the connection ended; the maximum if it is still open after an hour.
    async fn seconds(mut over: JoinSet<Duration>) -> u64 {
        let ended = tokio::time::timeout(Duration::from_secs(4000), over.join_next()).await;
        ended.map_or(u64::MAX, |took| took.unwrap().unwrap().as_secs())
    }

    /// HTTP/2 client that answers pings.
    async fn responsive_client(stream: TlsStream<DuplexStream>) -> (client::SendRequest<Empty<Bytes>>, JoinSet<()>) {
        let (sender, driver) = client::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { driver.await.unwrap_or_default() });
        (sender, tasks)
    }

    async fn send_request(sender: &mut client::SendRequest<Empty<Bytes>>) {
        let request = http::Request::get("https://corp.example/").body(Empty::new()).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 421);
    }

    #[test]
    fn an_idle_connection_reserves_little_for_its_next_request() {
        fn size<F>(_: impl FnOnce(Arc<InterceptedConnection>, http::Request<Incoming>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(request::serve) <= 12 * 1024, "{}", size(request::serve));
    }

    #[tokio::test(start_paused = true)]
    async fn closes_an_idle_http2_connection_that_answers_pings() {
        for requests in [0, 1] {
            let (client, over) = served_h2().await;
            let (mut sender, _tasks) = responsive_client(client).await;
            for _ in 0..requests {
                send_request(&mut sender).await;
            }
            let seconds = seconds(over).await;
            assert!((300..=340).contains(&seconds), "{requests}: {seconds}");
        }
    }

    /// No other frame is allowed between HEADERS and CONTINUATION, so the client cannot answer pings either.
    #[tokio::test(start_paused = true)]
    async fn does_not_wait_for_an_http2_head_that_never_ends() {
        let (mut client, over) = served_h2().await;
        client.write_all(UNFINISHED_HEAD).await.unwrap();
        assert_eq!(
            seconds(over).await,
            (KEEP_ALIVE_INTERVAL + KEEP_ALIVE_TIMEOUT).as_secs()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn keeps_a_connection_with_occasional_requests() {
        let (client, mut over) = served_h2().await;
        let (mut sender, _tasks) = responsive_client(client).await;
        for _ in 0..12 {
            send_request(&mut sender).await;
            tokio::time::sleep(IDLE_TIMEOUT * 9 / 10).await;
        }
        assert!(over.try_join_next().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn ends_a_response_whose_window_stays_shut() {
        let (client, mut over) = served_h2().await;
        let mut builder = client::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(0);
        let (mut sender, driver) = builder.handshake(TokioIo::new(client)).await.unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { driver.await.unwrap_or_default() });
        let request = http::Request::get("https://corp.example/").body(Empty::<Bytes>::new());
        let response = sender.send_request(request.unwrap()).await.unwrap();
        let begin = Instant::now();
        let mut body = response.into_body();
        let frame = tokio::time::timeout(Duration::from_secs(4000), body.frame()).await;
        assert!(frame.unwrap().unwrap().is_err());
        assert_eq!(begin.elapsed().as_secs(), 600);
        assert!(over.try_join_next().is_none(), "the connection stays");
    }

    /// A reset at the heels of the response would hide it from libcurl 7.88, and a client may need to send all first.
    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_refused_upload_is_read_and_dropped_for_a_while() {
        let (client, _over) = served_h2().await;
        let (frames, mut unsent) = mpsc::channel::<Result<Frame<Bytes>, std::io::Error>>(1);
        let body = StreamBody::new(poll_fn(move |context| unsent.poll_recv(context)));
        let (mut sender, driver) = client::handshake(TokioExecutor::new(), TokioIo::new(client))
            .await
            .unwrap();
        let mut tasks = JoinSet::new();
        tasks.spawn(async { driver.await.unwrap_or_default() });
        let request = http::Request::post("https://corp.example/").body(body).unwrap();
        assert_eq!(sender.send_request(request).await.unwrap().status(), 421);
        let begin = Instant::now();
        let chunk = Bytes::from(vec![0; STREAM_WINDOW_BYTES as usize / 4]);
        for _ in 0..16 {
            frames.send(Ok(Frame::data(chunk.clone()))).await.unwrap();
        }
        // The client drops the body when the stream is reset.
        frames.closed().await;
        assert_eq!(begin.elapsed().as_secs(), 30);
    }

    /// Preface, SETTINGS, and HEADERS without END_HEADERS.
    const UNFINISHED_HEAD: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\
        \0\0\0\x04\0\0\0\0\0\
        \0\0\x01\x01\0\0\0\0\x01\x82";
}
