use std::sync::atomic::AtomicUsize;

use bytes::Bytes;
use http::Method;
use http_body_util::{BodyExt, Either, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::config::UpstreamSettings;
use crate::credential::Credential;
use crate::credential::tests::value;
use crate::proxy::upstream::Trust;
use crate::proxy::upstream::dial::Dialer;

/// Answers `each` requests a connection and closes it; counts connections and requests.
#[derive(Default)]
struct Origin {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl Origin {
    async fn start(each: usize) -> (Arc<Self>, Arc<Pool>) {
        Self::start_with(each, Rotations::default()).await
    }

    async fn start_with(each: usize, rotations: Rotations) -> (Arc<Self>, Arc<Pool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let origin = Arc::new(Self::default());
        let serving = Arc::clone(&origin);
        TokioExecutor::new().execute(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Ordering::Relaxed);
                TokioExecutor::new().execute(serve(Arc::clone(&serving), stream, each));
            }
        });
        let dialer = Dialer::new(&UpstreamSettings::default(), "127.0.0.1:1".parse().unwrap());
        let opener = Connector::new(&dialer, Trust::nobody()).unwrap();
        let pool = Pool::new(opener, rotations, Scheme::HTTP, address.to_string().parse().unwrap());
        (origin, pool)
    }

    fn counts(&self) -> (usize, usize) {
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        (count(&self.connections), count(&self.requests))
    }
}

async fn serve(origin: Arc<Origin>, mut stream: TcpStream, each: usize) {
    let mut buffer = [0; 4096];
    for _ in 0..each {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(length @ 1..) = stream.read(&mut buffer).await else {
                return;
            };
            head.extend_from_slice(&buffer[..length]);
        }
        origin.requests.fetch_add(1, Ordering::Relaxed);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
            .await
            .unwrap();
    }
}

fn request(pool: &Arc<Pool>, method: Method) -> Request<Body> {
    let mut request = Request::new(Either::Right(Full::new(Bytes::new())));
    *request.method_mut() = method;
    *request.uri_mut() = pool.target.to_string().parse().unwrap();
    request
}

async fn ask(pool: &Arc<Pool>, method: Method) -> Result<Bytes, ProxyError> {
    let (response, place) = pool.send(request(pool, method)).await?;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    drop(place);
    Ok(body)
}

#[tokio::test]
async fn a_connection_comes_back_and_is_used_again() {
    let (origin, pool) = Origin::start(100).await;
    for _ in 0..5 {
        assert_eq!(ask(&pool, Method::GET).await.unwrap(), "ok");
    }
    assert_eq!(origin.counts(), (1, 5));
}

#[tokio::test]
async fn a_rotation_lets_go_of_what_is_idle_and_of_what_is_out_when_it_comes_back() {
    let (origin, pool) = Origin::start(100).await;
    ask(&pool, Method::GET).await.unwrap();
    pool.retire();
    assert!(!pool.is_in_use(), "it was idle");
    let (response, place) = pool.send(request(&pool, Method::GET)).await.unwrap();
    pool.retire();
    response.into_body().collect().await.unwrap();
    drop(place);
    assert!(!pool.is_in_use(), "it was out");
    ask(&pool, Method::GET).await.unwrap();
    assert_eq!(origin.counts(), (3, 3));
}

#[tokio::test]
async fn a_rotated_credential_closes_idle_connections_without_a_request() {
    let credential = Credential::fixed();
    credential.rotate(value(1)).await;
    let (origin, pool) = Origin::start_with(100, credential.rotations()).await;
    ask(&pool, Method::GET).await.unwrap();
    credential.rotate(value(2)).await;
    while pool.is_in_use() {
        tokio::task::yield_now().await;
    }
    ask(&pool, Method::GET).await.unwrap();
    credential.rotate(value(3)).await;
    // At once, before the task that watches has run.
    ask(&pool, Method::GET).await.unwrap();
    assert_eq!(origin.counts(), (3, 3));
}

#[tokio::test]
async fn after_a_reset_no_request_goes_where_the_last_one_went() {
    let (origin, pool) = Origin::start(100).await;
    for number in 1..4 {
        ask(&pool, Method::GET).await.unwrap();
        pool.reset();
        assert!(!pool.is_in_use());
        assert_eq!(origin.counts(), (number, number));
    }
}

#[tokio::test]
async fn a_warm_pool_has_opened_before_the_request() {
    let (origin, pool) = Origin::start(100).await;
    pool.warm();
    pool.warm();
    while !pool.is_in_use() || pool.state().idle.is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(origin.counts(), (1, 0));
    ask(&pool, Method::GET).await.unwrap();
    assert_eq!(origin.counts(), (1, 1));
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_not_felt() {
    let (origin, pool) = Origin::start(1).await;
    for method in [Method::GET, Method::GET, Method::POST, Method::POST] {
        // The close may come before or after the next request goes out: a write is sent once, whichever it is.
        let sent = origin.counts().1;
        let answer = ask(&pool, method.clone()).await;
        assert!(answer.is_ok() || method == Method::POST, "{answer:?}");
        assert!(origin.counts().1 <= sent + 1);
    }
}

#[tokio::test]
async fn who_waits_for_an_opening_that_fails_hears_so() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (_, pool) = Origin::start(1).await;
    let nowhere = Authority::try_from(listener.local_addr().unwrap().to_string()).unwrap();
    drop(listener);
    let pool = Pool::new(pool.opener.clone(), Rotations::default(), Scheme::HTTP, nowhere);
    let (first, second) = tokio::join!(ask(&pool, Method::GET), ask(&pool, Method::GET));
    assert_eq!(first.unwrap_err(), ProxyError::UpstreamUnreachable);
    assert_eq!(second.unwrap_err(), ProxyError::UpstreamUnreachable);
    assert!(!pool.is_in_use(), "nothing is left");
}
