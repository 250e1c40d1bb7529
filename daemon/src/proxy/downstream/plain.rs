//! Plain HTTP: `http://` requests in absolute form, forwarded as any proxy would, without a credential.
//!
//! The exception is a registry with an `http://` scope, which only a loopback address may have: its requests take the same
//! way as intercepted ones.
//!
//! Each request is authenticated on its own. The connection ends with the grant of the client that sent the last one.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CONNECTION, HOST, HeaderValue, PROXY_AUTHORIZATION};
use http::uri::{Authority, Scheme as UriScheme};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Either;
use hyper::body::Incoming;
use tokio::sync::watch;

use crate::host::Origin;
use crate::proxy::downstream::authenticate::{Client, UnauthenticatedClient};
use crate::proxy::downstream::client_stream::ClientStream;
use crate::proxy::downstream::http1;
use crate::proxy::downstream::socket::ClientSocket;
use crate::proxy::exchange::answer::ACTION_AUTHORIZATION;
use crate::proxy::exchange::body::{ClientBody, MinRateBody};
use crate::proxy::exchange::error::{BodyFormat, ProxyError};
use crate::proxy::exchange::recording::{RecordedBody, Recording};
use crate::proxy::exchange::request;
use crate::proxy::exchange::request_problem::RequestProblem;
use crate::proxy::exchange::rewrite;
use crate::proxy::exchange::send::{self, ResponseBody};
use crate::proxy::state::Worker;

/// Serves a connection whose first request is no CONNECT; `head` is that request's head.
pub(crate) async fn serve(worker: Worker, client: UnauthenticatedClient, stream: ClientStream, head: Vec<u8>) {
    let (socket, reclaim) = ClientSocket::plain(stream);
    let (last_client, client_changes) = watch::channel(None);
    let state = Arc::clone(&worker.state);
    let respond = move |request| respond(worker.clone(), client.clone(), last_client.clone(), request);
    let served = http1::serve(&state, socket, head.into(), respond);
    let ended = tokio::select! {
        ended = served => ended,
        () = last_grant_ended(client_changes) => return,
    };
    if let Err(error) = ended {
        tracing::debug!(error = &error as &dyn std::error::Error, "plain connection ended");
    }
    reclaim.linger().await;
}

/// Waits until the grant of the client that sent the last request ends.
async fn last_grant_ended(mut client_changes: watch::Receiver<Option<Client>>) {
    loop {
        let client = client_changes.borrow_and_update().clone();
        let grant_ended = async {
            match client {
                Some(client) => client.grant_ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = grant_ended => return,
            changed = client_changes.changed() => if changed.is_err() {
                return std::future::pending().await;
            },
        }
    }
}

async fn respond(
    worker: Worker,
    client: UnauthenticatedClient,
    last_client: watch::Sender<Option<Client>>,
    request: Request<Incoming>,
) -> Result<Response<RecordedBody>, Infallible> {
    let mut recording = Recording::begin(&worker, client.caller());
    recording.note_head(&request);
    let format = BodyFormat::of(request.uri(), request.headers());
    let result = handle(&worker, &client, &last_client, request, &mut recording).await;
    let is_unauthenticated =
        matches!(&result, Err(error) if error.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    let mut response = recording.finish(result, format).await;
    if is_unauthenticated {
        // A closed connection frees its place among those without a grant. Clients try again on a new one.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }
    Ok(response)
}

async fn handle(
    worker: &Worker,
    unauthenticated: &UnauthenticatedClient,
    last_client: &watch::Sender<Option<Client>>,
    request: Request<Incoming>,
    recording: &mut Recording,
) -> Result<Response<ResponseBody>, ProxyError> {
    let client = authenticate(worker, unauthenticated, &request).await?;
    recording.note_client(&client);
    last_client.send_replace(Some(client.clone()));
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(ProxyError::MethodRefused);
    }
    let (origin, authority) = target(&request)?;
    recording.note_host(&authority);
    if worker.state.is_own_listener(&origin) {
        return Err(RequestProblem::OwnPort.into());
    }
    let routes = worker.state.routes.load();
    let host = routes.host(&origin).filter(|host| host.plain).map(Arc::clone);
    drop(routes);
    let (head, body) = request.into_parts();
    let body = ClientBody::new(body, head.version, &worker.state.tasks);
    let request = Request::from_parts(head, body);
    if let Some(host) = host {
        return request::handle(worker, &client, &host, request, recording).await;
    }
    // No registry's host. Only a refusal is an event.
    recording.discard();
    let (mut parts, body) = request.into_parts();
    rewrite::framing(&mut parts.headers).map_err(|_| RequestProblem::Framing)?;
    // RFC 9112, section 3.2: a second Host is invalid, also where the target overrides it.
    if parts.headers.get_all(HOST).iter().nth(1).is_some() {
        return Err(RequestProblem::Host.into());
    }
    let permit = client.begin_request()?;
    let version = parts.version;
    rewrite::request(&mut parts, &UriScheme::HTTP, &authority);
    parts.headers.remove(ACTION_AUTHORIZATION);
    let response = send::forward(
        worker,
        client.passthrough(&worker.state),
        Request::from_parts(parts, Either::Left(MinRateBody::request(version, body))),
        None,
        permit,
        recording,
    )
    .await;
    response.inspect_err(|error| worker.state.failures.host_failed(&origin, error))
}

/// Authenticates one request: a proxy in front of us may mix the requests of several clients on one connection.
async fn authenticate(
    worker: &Worker,
    unauthenticated: &UnauthenticatedClient,
    request: &Request<Incoming>,
) -> Result<Client, ProxyError> {
    let authorization = request.headers().get_all(PROXY_AUTHORIZATION).iter();
    let authenticated = unauthenticated.authenticate(&worker.state, authorization.map(HeaderValue::as_bytes));
    match authenticated.await {
        Ok(client) => {
            if client.bears_grant() {
                // From here on, only the permit of the bearer counts, as after a CONNECT.
                unauthenticated.release();
            }
            Ok(client)
        }
        Err(error) => {
            unauthenticated.slow_down(&worker.state, &error).await;
            Err(error)
        }
    }
}

/// Target of a request in absolute form (RFC 9112, section 3.2.2), which overrides Host. A browser that opens our own
/// address sends another form.
fn target(request: &Request<Incoming>) -> Result<(Origin, Authority), ProxyError> {
    let uri = request.uri();
    if uri.scheme() != Some(&UriScheme::HTTP) {
        return Err(ProxyError::BadRequest);
    }
    let authority = uri.authority().ok_or(ProxyError::BadRequest)?;
    let origin = Origin::parse(authority.as_str(), Some(80)).map_err(|_| ProxyError::BadRequest)?;
    Ok((origin, authority.clone()))
}
