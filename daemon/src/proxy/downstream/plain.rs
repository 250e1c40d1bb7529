//! Plain `http://` requests in absolute form: forwarded as any proxy would, never with a credential.
//!
//! The one exception is a registry that was added with an `http://` scope, which only loopback may have.
//!
//! Who asks is looked at anew with each request, so with whose grant the connection ends is said by the last one.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::header::{HeaderValue, PROXY_AUTHORIZATION};
use http::uri::{Authority, Scheme as UriScheme};
use http::{Method, Request, Response};
use http_body_util::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::host::Origin;
use crate::proxy::downstream::authenticate::{Client, UnauthenticatedClient};
use crate::proxy::downstream::connect::is_ours;
use crate::proxy::downstream::drain;
use crate::proxy::downstream::worker::Worker;
use crate::proxy::exchange::body::MinRateBody;
use crate::proxy::exchange::error::{Body, BodyFormat, ProxyError};
use crate::proxy::exchange::{request, rewrite};

/// Serves a connection whose first request's head is `head` and no CONNECT.
pub(crate) async fn serve(worker: Worker, visitor: UnauthenticatedClient, stream: TcpStream, head: Vec<u8>) {
    let (plane, requests) = (Arc::clone(&worker.plane), drain::Requests::default());
    // It is here because of its first one.
    drop(requests.begin());
    let (read, write) = stream.into_split();
    let stream = tokio::io::join(std::io::Cursor::new(head).chain(read), write);
    let (asks, asking) = watch::channel(None);
    let service = service_fn(move |request| respond(worker.clone(), visitor.clone(), asks.clone(), request));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_header_size(MAX_HEADERS)
        .max_buf_size(BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    let ended = async {
        let mut served = std::pin::pin!(served);
        tokio::select! {
            result = served.as_mut() => return result,
            () = drain::between_requests(&plane, &requests) => served.as_mut().graceful_shutdown(),
        }
        served.await
    };
    let ended = tokio::select! {
        ended = ended => ended,
        () = over(asking) => return,
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "plain connection ended");
    }
}

/// Waits until the grant is over of whoever asked last.
async fn over(mut asking: watch::Receiver<Option<Client>>) {
    loop {
        let client = asking.borrow_and_update().clone();
        let over = async {
            match client {
                Some(client) => client.over().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = over => return,
            asked = asking.changed() => if asked.is_err() {
                return std::future::pending().await;
            },
        }
    }
}

async fn respond(
    worker: Worker,
    visitor: UnauthenticatedClient,
    asks: watch::Sender<Option<Client>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let form = BodyFormat::of(request.headers());
    let answer = answer(&worker, &visitor, &asks, request).await;
    Ok(drain::last(
        &worker.plane,
        answer.unwrap_or_else(|refusal| refusal.response(form)),
    ))
}

async fn answer(
    worker: &Worker,
    visitor: &UnauthenticatedClient,
    asks: &watch::Sender<Option<Client>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, ProxyError> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(ProxyError::MethodRefused);
    }
    // Each request anew: a proxy in front of us may mix several clients' on one connection.
    let authorization = request.headers().get_all(PROXY_AUTHORIZATION).iter();
    let client = visitor.admit(&worker.plane, authorization.map(HeaderValue::as_bytes))?;
    asks.send_replace(Some(client.clone()));
    let (origin, authority) = target(&request)?;
    if is_ours(&origin, worker) {
        return Err(ProxyError::BadRequest);
    }
    let site = worker
        .plane
        .routes
        .load()
        .site(&origin)
        .filter(|site| site.plain)
        .map(Arc::clone);
    if let Some(site) = site {
        return request::answer(worker, &client, &site, request).await;
    }
    request::admit_framing(&request)?;
    let counted = client.begin_request()?;
    let (mut parts, body) = request.into_parts();
    rewrite::request(&mut parts, &UriScheme::HTTP, &authority);
    request::forward(
        worker,
        client.strangers(&worker.plane),
        Request::from_parts(parts, Either::Left(MinRateBody::request(body))),
        counted,
    )
    .await
}

/// The absolute form (RFC 9112, section 3.2.2), which overrides Host; a browser's request to ourselves has none.
fn target(request: &Request<Incoming>) -> Result<(Origin, Authority), ProxyError> {
    let uri = request.uri();
    if uri.scheme() != Some(&UriScheme::HTTP) {
        return Err(ProxyError::BadRequest);
    }
    let authority = uri.authority().ok_or(ProxyError::BadRequest)?;
    let origin = Origin::parse(authority.as_str(), Some(80)).map_err(|_| ProxyError::BadRequest)?;
    Ok((origin, authority.clone()))
}

const IDLE: Duration = Duration::from_secs(300);
const MAX_HEADERS: usize = 32 * 1024;
const BUFFER: usize = 256 * 1024;
