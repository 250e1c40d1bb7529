use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Either, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::credential::Credential;
use crate::credential::tests::value;
use crate::proxy::upstream::Trust;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::proxy_rules::ProxyRules;
use crate::proxy::upstream::slots::MAX_H1_REQUESTS;

/// Server that answers `each` requests on a connection, then closes it. Counts both.
#[derive(Default)]
struct CountingServer {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl CountingServer {
    async fn start(each: usize) -> (Arc<Self>, Arc<Pool>) {
        Self::start_with(each, Rotations::default()).await
    }

    async fn start_with(each: usize, rotations: Rotations) -> (Arc<Self>, Arc<Pool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Arc::new(Self::default());
        let serving = Arc::clone(&server);
        TokioExecutor::new().execute(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::Relaxed);
                TokioExecutor::new().execute(serve(Arc::clone(&serving), stream, each));
            }
        });
        let dialer = Dialer::new(ProxyRules::direct(), Trust::nobody()).unwrap();
        let connector = Connector::new(&dialer, Trust::system(&[])).unwrap();
        let pool = Pool::new(
            connector,
            rotations,
            UriScheme::HTTP,
            address.to_string().parse().unwrap(),
        );
        (server, pool)
    }

    fn counts(&self) -> (usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (count(&self.connections), count(&self.requests))
    }
}

async fn serve(server: Arc<CountingServer>, mut stream: TcpStream, each: usize) {
    let mut buffer = [0; 4096];
    for _ in 0..each {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(length @ 1..) = stream.read(&mut buffer).await else {
                return;
            };
            head.extend_from_slice(&buffer[..length]);
        }
        server.requests.fetch_add(1, Ordering::Relaxed);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
    }
}

fn request(pool: &Arc<Pool>, method: Method) -> Request<RequestBody> {
    let mut request = Request::new(Either::Right(Full::new(Bytes::new())));
    *request.method_mut() = method;
    *request.uri_mut() = pool.destination.to_string().parse().unwrap();
    request
}

async fn send(pool: &Arc<Pool>, method: Method) -> Result<Bytes, ProxyError> {
    let (response, connection) = pool.send(request(pool, method), ClientKey::default(), None).await?;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    drop(connection);
    Ok(body)
}

#[tokio::test]
async fn an_http1_connection_is_reused() {
    let (server, pool) = CountingServer::start(100).await;
    for _ in 0..5 {
        assert_eq!(send(&pool, Method::GET).await.unwrap(), "ok");
    }
    assert_eq!(server.counts(), (1, 5));
}

#[tokio::test]
async fn a_rotation_closes_idle_connections_and_busy_ones_after_their_response() {
    let (server, pool) = CountingServer::start(100).await;
    send(&pool, Method::GET).await.unwrap();
    pool.retire();
    assert!(!pool.is_in_use(), "the connection was idle");
    let (response, connection) = pool
        .send(request(&pool, Method::GET), ClientKey::default(), None)
        .await
        .unwrap();
    pool.retire();
    response.into_body().collect().await.unwrap();
    drop(connection);
    assert!(!pool.is_in_use(), "the connection was busy");
    send(&pool, Method::GET).await.unwrap();
    assert_eq!(server.counts(), (3, 3));
}

#[tokio::test]
async fn a_rotated_credential_closes_idle_connections_without_a_request() {
    let credential = Credential::fixed();
    credential.rotate(value(1)).await;
    let (server, pool) = CountingServer::start_with(100, credential.rotations()).await;
    send(&pool, Method::GET).await.unwrap();
    credential.rotate(value(2)).await;
    while pool.is_in_use() {
        tokio::task::yield_now().await;
    }
    send(&pool, Method::GET).await.unwrap();
    credential.rotate(value(3)).await;
    // At once, before `watch_rotations` has run.
    send(&pool, Method::GET).await.unwrap();
    assert_eq!(server.counts(), (3, 3));
}

#[tokio::test]
async fn after_a_reset_every_request_opens_a_new_connection() {
    let (server, pool) = CountingServer::start(100).await;
    for number in 1..4 {
        send(&pool, Method::GET).await.unwrap();
        pool.reset();
        assert!(!pool.is_in_use());
        assert_eq!(server.counts(), (number, number));
    }
}

#[tokio::test]
async fn warming_opens_a_connection_before_the_request() {
    let (server, pool) = CountingServer::start(100).await;
    let _opening = (pool.warm(), pool.warm());
    while !pool.is_in_use() || pool.state().idle_h1.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.counts(), (1, 0));
    send(&pool, Method::GET).await.unwrap();
    assert_eq!(server.counts(), (1, 1));
}

#[tokio::test]
async fn a_request_survives_a_connection_that_the_upstream_closed() {
    let (server, pool) = CountingServer::start(1).await;
    for method in [Method::GET, Method::GET, Method::POST, Method::POST] {
        // The server may close before or after the next request goes out. A write is sent once in both cases.
        let sent = server.counts().1;
        let result = send(&pool, method.clone()).await;
        assert!(result.is_ok() || method == Method::POST, "{result:?}");
        assert!(server.counts().1 <= sent + 1);
    }
}

/// Pool for a server that accepts connections and never answers, with the server's listener.
async fn silent_pool() -> (TcpListener, Arc<Pool>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_, other) = CountingServer::start(1).await;
    let authority = Authority::try_from(listener.local_addr().unwrap().to_string()).unwrap();
    let pool = Pool::new(
        other.connector.clone(),
        Rotations::default(),
        UriScheme::HTTPS,
        authority,
    );
    (listener, pool)
}

#[tokio::test]
async fn an_opening_ends_when_the_last_client_has_gone() {
    let (listener, pool) = silent_pool().await;
    let mut waiting = Box::pin(send(&pool, Method::GET));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    let (mut accepted, _) = tokio::select! {
        accepted = listener.accept() => accepted.unwrap(),
        result = &mut waiting => panic!("the server is silent: {result:?}"),
    };
    drop(waiting);
    let mut hello = Vec::new();
    accepted.read_to_end(&mut hello).await.unwrap();
    assert!(!hello.is_empty());
    while pool.is_in_use() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_rotation_or_a_reset_abandons_an_opening_and_the_request_starts_another() {
    let (listener, pool) = silent_pool().await;
    let mut waiting = Box::pin(send(&pool, Method::GET));
    for abandon in [Pool::retire, Pool::reset] {
        let (mut stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.unwrap(),
            result = &mut waiting => panic!("the server is silent: {result:?}"),
        };
        abandon(&pool);
        let mut hello = Vec::new();
        tokio::select! {
            read = stream.read_to_end(&mut hello) => assert!(read.is_ok()),
            result = &mut waiting => panic!("the server is silent: {result:?}"),
        }
    }
}

#[tokio::test]
async fn a_connection_that_is_opened_after_a_rotation_is_kept() {
    let (server, pool) = CountingServer::start(100).await;
    let mut waiting = Box::pin(send(&pool, Method::GET));
    assert!(futures_util::poll!(waiting.as_mut()).is_pending());
    // The request waits for its connection.
    pool.retire();
    waiting.await.unwrap();
    assert!(pool.is_in_use(), "the connection carries the new token");
    let (connections, _) = server.counts();
    send(&pool, Method::GET).await.unwrap();
    assert_eq!(server.counts(), (connections, 2));
}

#[tokio::test]
async fn http1_requests_share_few_connections() {
    let (server, pool) = CountingServer::start(1000).await;
    send(&pool, Method::GET).await.unwrap();
    let crowd = futures_util::future::join_all((0..200).map(|_| send(&pool, Method::GET))).await;
    assert!(crowd.iter().all(Result::is_ok));
    let (connections, requests) = server.counts();
    assert_eq!(requests, 201);
    assert!(connections <= MAX_H1_REQUESTS, "{connections}");
    assert_eq!(pool.state().slots.taken(), 0);
}

#[tokio::test]
async fn all_waiting_requests_fail_with_the_opening() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_, pool) = CountingServer::start(1).await;
    let closed_port = Authority::try_from(listener.local_addr().unwrap().to_string()).unwrap();
    drop(listener);
    let pool = Pool::new(
        pool.connector.clone(),
        Rotations::default(),
        UriScheme::HTTP,
        closed_port,
    );
    let (first, second) = tokio::join!(send(&pool, Method::GET), send(&pool, Method::GET));
    assert_eq!(first.unwrap_err(), ProxyError::Upstream(UpstreamFailure::Refused));
    assert_eq!(second.unwrap_err(), ProxyError::Upstream(UpstreamFailure::Refused));
    assert!(!pool.is_in_use(), "no connection is left");
}
