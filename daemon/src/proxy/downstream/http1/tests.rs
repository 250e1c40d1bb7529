//! Tests of connections that are idle, and of some that only seem to be.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinSet;

use super::*;
use crate::proxy::state::tests::worker;

/// Client end of a served connection, and the task that measures how long it is served.
fn connect(capacity: usize) -> (DuplexStream, JoinSet<Duration>) {
    let (theirs, ours) = tokio::io::duplex(capacity);
    let mut over = JoinSet::new();
    over.spawn(async move {
        let begin = Instant::now();
        let _ = serve(&worker().state, ours, Bytes::new(), respond).await;
        begin.elapsed()
    });
    (theirs, over)
}

/// Responds with the path, and to `/large` with [`LARGE`] bytes. It does not wait for the body of the request.
async fn respond(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let mut tasks = JoinSet::new();
    tasks.spawn(body.collect());
    tasks.detach_all();
    let text = match head.uri.path() {
        "/large" => "x".repeat(LARGE),
        path => path.to_owned(),
    };
    Ok(Response::new(Full::from(text)))
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: corp.example\r\n\r\n")
}

/// Reads until the response's body `ends` the bytes so far.
async fn read_response(client: &mut DuplexStream, ends: &str) -> String {
    let mut response = Vec::new();
    while !response.ends_with(ends.as_bytes()) {
        let read = client.read_buf(&mut response).await.unwrap();
        assert_ne!(read, 0, "the connection ended: {}", String::from_utf8_lossy(&response));
    }
    String::from_utf8(response).unwrap()
}

async fn seconds(mut over: JoinSet<Duration>) -> u64 {
    over.join_next().await.unwrap().unwrap().as_secs()
}

#[tokio::test(start_paused = true)]
async fn closes_an_idle_connection() {
    for sent in ["", &get("/one"), &get("/one")[..20]] {
        let (mut client, over) = connect(64 * 1024);
        client.write_all(sent.as_bytes()).await.unwrap();
        assert_eq!(seconds(over).await, IDLE_TIMEOUT.as_secs(), "{sent:?}");
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        assert_eq!(response.ends_with("/one"), sent.ends_with("\r\n\r\n"), "{response}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_gives_its_stream_back() {
    let (_client, ours) = tokio::io::duplex(64);
    let (state, requests, releasable) = (worker().state, RequestTracker::default(), Releasable::default());
    let connection = Connection {
        state: &state,
        requests: &requests,
        releasable: &releasable,
    };
    let stream = IdleStream::new(ours, Bytes::new(), &releasable);
    let begin = Instant::now();
    let idle = connection.serve_until_idle(stream, service_fn(respond), begin + IDLE_TIMEOUT);
    assert!(idle.await.unwrap().is_some());
    assert_eq!(begin.elapsed(), RELEASE_AFTER);
}

#[tokio::test(start_paused = true)]
async fn a_request_is_served_after_any_pause() {
    let (mut client, mut over) = connect(64 * 1024);
    for (number, pause) in [0, 900, 1_100, 2_000, 299_000, 1_050, 5_000].into_iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        let request = get(&format!("/{number}"));
        let (begin, rest) = request.split_at(number * 5);
        client.write_all(begin.as_bytes()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(3)).await;
        client.write_all(rest.as_bytes()).await.unwrap();
        let response = read_response(&mut client, &format!("/{number}")).await;
        assert_eq!(response.matches("HTTP/1.1 200").count(), 1, "{response}");
    }
    assert!(over.try_join_next().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_ends_the_connection_in_time() {
    for (pause, limit) in [(0, IDLE_TIMEOUT), (290, Duration::from_secs(290) + HEAD_TIMEOUT)] {
        let (mut client, over) = connect(64 * 1024);
        tokio::time::sleep(Duration::from_secs(pause)).await;
        for byte in get("/").bytes().chain(std::iter::repeat(b'x')) {
            if client.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(17)).await;
        }
        assert_eq!(seconds(over).await, limit.as_secs());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_before_a_request_shortens_no_later_one() {
    let (mut client, over) = connect(64 * 1024);
    tokio::time::sleep(IDLE_TIMEOUT - Duration::from_secs(1)).await;
    client
        .write_all(b"PUT /upload HTTP/1.1\r\nHost: corp.example\r\nContent-Length: 1\r\n\r\nx")
        .await
        .unwrap();
    read_response(&mut client, "/upload").await;
    assert_eq!(
        seconds(over).await,
        (2 * IDLE_TIMEOUT - Duration::from_secs(1)).as_secs()
    );
}

/// A stream whose end is written slowly must not be served again after it.
#[tokio::test(start_paused = true)]
async fn a_connection_that_ends_serves_no_other_request() {
    let releasable = Releasable::default();
    let (_client, ours) = tokio::io::duplex(64);
    let mut stream = IdleStream::new(tokio::io::BufWriter::new(ours), Bytes::new(), &releasable);
    assert!(releasable.is_set());
    stream.write_all(&[0; 100]).await.unwrap();
    assert!(tokio::time::timeout(RELEASE_AFTER, stream.shutdown()).await.is_err());
    assert!(!releasable.is_set());
}

#[tokio::test(start_paused = true)]
async fn a_response_that_the_client_reads_late_is_complete() {
    let (mut client, _over) = connect(1024);
    client.write_all(get("/large").as_bytes()).await.unwrap();
    let mut response = Vec::new();
    while response
        .windows(4)
        .position(|end| end == b"\r\n\r\n")
        .is_none_or(|head| response.len() < head + 4 + LARGE)
    {
        tokio::time::sleep(RELEASE_AFTER * 3).await;
        assert_ne!(client.read_buf(&mut response).await.unwrap(), 0);
    }
    client.write_all(get("/next").as_bytes()).await.unwrap();
    assert!(read_response(&mut client, "/next").await.starts_with("HTTP/1.1 200"));
}

/// The rest of a request's body may come long after the response. If it were read as a request, one client behind a
/// multiplexing proxy could send requests of another.
#[tokio::test(start_paused = true)]
async fn the_late_rest_of_a_body_is_no_request() {
    let (mut client, _over) = connect(64 * 1024);
    let hidden = get("/hidden");
    let head = format!(
        "PUT /upload HTTP/1.1\r\nHost: corp.example\r\nContent-Length: {}\r\n\r\n",
        hidden.len()
    );
    client.write_all(head.as_bytes()).await.unwrap();
    read_response(&mut client, "/upload").await;
    tokio::time::sleep(RELEASE_AFTER * 10).await;
    client.write_all(hidden.as_bytes()).await.unwrap();
    client.write_all(get("/next").as_bytes()).await.unwrap();
    let response = read_response(&mut client, "/next").await;
    assert_eq!(response.matches("HTTP/1.1 200").count(), 1, "{response}");
}

const LARGE: usize = 100 * 1024;
