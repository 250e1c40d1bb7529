//! One decrypted request, from its checks to its response.
//!
//! [`handle`] is the whole story: authority, method, scope, operation, authorization, one generation of the credential,
//! upstream, response. What can fail before the credential is touched fails first.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Scheme as UriScheme;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::body::Incoming;

use crate::credential::refresher::RefreshReason;
use crate::credential::{Lease, Unavailable};
use crate::host::Origin;
use crate::policy::{Classification, Operation, RequestHead, path};
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::downstream::limits::RequestPermit;
use crate::proxy::exchange::body::{ClientBody, MinRateBody, RequestBody};
use crate::proxy::exchange::error::{BodyFormat, ProxyError};
use crate::proxy::exchange::{answer, inspect, rewrite};
use crate::proxy::routes::{InterceptedHost, RegistryRoute};
use crate::proxy::state::Worker;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::pool::PooledConnection;

/// Body of a response to a client: the upstream's as it streams in, or an error text. While the upstream's streams, the
/// request counts as in flight and its connection is in use.
pub(crate) type ResponseBody = Either<MinRateBody<(RequestPermit, PooledConnection)>, Full<Bytes>>;

/// Client connection whose TLS regauthd has terminated.
#[derive(Debug)]
pub(crate) struct InterceptedConnection {
    pub(crate) worker: Worker,
    /// Client that sent the CONNECT.
    pub(crate) client: Client,
    /// Host and port of the CONNECT: the only identity (invariant 1).
    pub(crate) host: Arc<InterceptedHost>,
    /// True if the SNI named that host or was absent.
    pub(crate) sni_matches: bool,
}

/// Serves one request of an intercepted connection; an error becomes a response.
pub(crate) async fn serve(
    connection: Arc<InterceptedConnection>,
    request: Request<Incoming>,
) -> Result<Response<ResponseBody>, Infallible> {
    let format = BodyFormat::of(request.uri(), request.headers());
    let (head, body) = request.into_parts();
    let body = ClientBody::new(body, head.version, &connection.worker.state.tasks);
    let request = Request::from_parts(head, body);
    let response = if connection.sni_matches {
        handle(&connection.worker, &connection.client, &connection.host, request).await
    } else {
        Err(ProxyError::AuthorityMismatch)
    };
    Ok(response.unwrap_or_else(|error| {
        tracing::debug!(host = %connection.host.origin, code = error.code(), "refused a request");
        error.response(format).map(Either::Right)
    }))
}

/// Checks a request to `host`, and sends it with or without the credential of a registry.
pub(crate) async fn handle(
    worker: &Worker,
    client: &Client,
    host: &InterceptedHost,
    request: Request<ClientBody>,
) -> Result<Response<ResponseBody>, ProxyError> {
    worker.state.counters.count_request();
    check_framing(&request)?;
    let (mut parts, body) = request.into_parts();
    check_authority(&parts, host)?;
    check_method(&parts.method)?;
    let permit = client.begin_request()?;
    let body = Either::Left(MinRateBody::request(body));
    // The current routes, not those of the CONNECT: since then, the registry may have been removed or changed to or from
    // plain HTTP. Then the request gets no credential.
    let routes = worker.state.routes.load();
    let current = routes.host(&host.origin).filter(|current| current.plain == host.plain);
    let current = current.map(Arc::clone);
    drop(routes);
    let registry = match &current {
        Some(current) => current.match_scope(parts.uri.path())?,
        None => None,
    };
    let scheme = if host.plain { UriScheme::HTTP } else { UriScheme::HTTPS };
    // Before the policy checks, so that they see what is sent: a client can drop headers by naming them in Connection.
    rewrite::request(&mut parts, &scheme, &host.authority);
    let action_authorization = parts.headers.remove(answer::ACTION_AUTHORIZATION);
    let Some(registry) = registry else {
        client.authorize_passthrough(current.as_deref())?;
        return forward(worker, &host.upstream, Request::from_parts(parts, body), permit).await;
    };
    check_path_overrides(&parts)?;
    let (operation, body) = match classify(registry, &parts, &body)? {
        Classification::Known(operation) => (operation, body),
        // Boxed, since it is rare.
        Classification::ByBody(format) => Box::pin(inspect::classify(client, registry, format, body)).await?,
    };
    client.authorize(registry, operation)?;
    if let Some(authorization) = action_authorization {
        parts.headers.insert(registry.registry.scheme.header(), authorization);
        let request = Request::from_parts(parts, body);
        return send_without_credential(worker, registry, request, permit).await;
    }
    let lease = lease(registry).await?;
    // Again: writes may have been closed while the request waited for the lease.
    client.authorize(registry, operation)?;
    let request = Request::from_parts(parts, body);
    send_with_credential(worker, client, registry, lease, request, permit).await
}

/// Sends a request with the authorization that the registry's Git LFS server has given to the client for it.
async fn send_without_credential(
    worker: &Worker,
    registry: &RegistryRoute,
    request: Request<RequestBody>,
    permit: RequestPermit,
) -> Result<Response<ResponseBody>, ProxyError> {
    let mut response = forward(worker, &registry.upstream, request, permit).await?;
    rewrite::withhold_session(response.headers_mut());
    Ok(response)
}

/// Sends a request with the registry's credential. If the registry rejects a credential that can be refreshed, it is
/// refreshed once. A request that is safe to repeat is then sent again; the client has to repeat any other.
async fn send_with_credential(
    worker: &Worker,
    client: &Client,
    registry: &RegistryRoute,
    lease: Lease,
    request: Request<RequestBody>,
    permit: RequestPermit,
) -> Result<Response<ResponseBody>, ProxyError> {
    let copy = if registry.credential.shared.can_refresh() {
        rewrite::repeatable_copy(&request)
    } else {
        None
    };
    let number = lease.generation().value.number;
    match send_once(worker, registry, lease, request, permit).await {
        Err(rejected @ ProxyError::TokenRejected(_)) if registry.credential.shared.can_refresh() => {
            // Boxed, since it is rare and every request's future would have to be as large.
            Box::pin(async move {
                let refreshed = registry
                    .credential
                    .shared
                    .refresh(number, RefreshReason::Rejected)
                    .await;
                let copy = copy.filter(|_| refreshed).ok_or(rejected)?;
                let lease = self::lease(registry).await?;
                send_once(worker, registry, lease, copy, client.begin_request()?).await
            })
            .await
        }
        response => response,
    }
}

/// Sends a request with one generation of the credential, which it holds until the registry answers (invariant 11).
async fn send_once(
    worker: &Worker,
    registry: &RegistryRoute,
    lease: Lease,
    mut request: Request<RequestBody>,
    permit: RequestPermit,
) -> Result<Response<ResponseBody>, ProxyError> {
    let header = &lease.generation().header;
    header.attach(request.headers_mut());
    let is_checked = answer::prepare(&mut request);
    let response = forward(worker, &registry.upstream, request, permit).await?;
    let mut response = record_outcome(registry, &lease, response)?;
    rewrite::withhold_session(response.headers_mut());
    if header.is_leaked_in(response.headers()) {
        tracing::error!(registry = %registry.name, "withheld a response: the registry repeated its token in a header");
        return Err(ProxyError::UpstreamUnsafe);
    }
    if is_checked || answer::is_of_lfs(response.headers()) {
        let routes = worker.state.routes.load_full();
        return Box::pin(answer::check_answer(&routes, header, response)).await;
    }
    Ok(response)
}

/// Sends a rewritten request and prepares the upstream's response for the client.
pub(crate) async fn forward(
    worker: &Worker,
    upstream: &Upstream,
    request: Request<RequestBody>,
    permit: RequestPermit,
) -> Result<Response<ResponseBody>, ProxyError> {
    let (response, connection) = upstream.send(worker.index, request).await?;
    let (mut head, body) = response.into_parts();
    // Upgrade was stripped, so the upstream must not switch protocols (compare CVE-2021-32714).
    if head.status.is_informational() {
        return Err(ProxyError::UpstreamUnsafe);
    }
    rewrite::response(&mut head.headers);
    // hyper would repeat the reason phrase, which nobody has searched for the credential.
    head.extensions.clear();
    // hyper writes the version that the client speaks.
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(
        head,
        Either::Left(MinRateBody::response(body, (permit, connection))),
    ))
}

/// Checks invariant 1: Host, `:authority` and the absolute form name the CONNECT's host and port, or are absent.
fn check_authority(parts: &Parts, host: &InterceptedHost) -> Result<(), ProxyError> {
    let expected = if host.plain {
        &UriScheme::HTTP
    } else {
        &UriScheme::HTTPS
    };
    if parts.uri.scheme().is_some_and(|scheme| scheme != expected) {
        return Err(ProxyError::AuthorityMismatch);
    }
    let mut is_named = false;
    if let Some(authority) = parts.uri.authority() {
        check_origin(authority.as_str(), host)?;
        is_named = true;
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    if let Some(name) = hosts.next() {
        check_origin(name.to_str().map_err(|_| ProxyError::BadRequest)?, host)?;
        is_named = true;
    }
    // RFC 9112, section 3.2: a second Host is invalid, and so is HTTP/1.1 without one. HTTP/1.0 may omit it.
    if hosts.next().is_some() || (!is_named && parts.version != Version::HTTP_10) {
        return Err(ProxyError::BadRequest);
    }
    Ok(())
}

fn check_origin(text: &str, host: &InterceptedHost) -> Result<(), ProxyError> {
    if text == host.authority.as_str() {
        return Ok(());
    }
    // git2-curl omits the port in Host: then it is the CONNECT's.
    let named = Origin::parse(text, Some(host.origin.port)).map_err(|_| ProxyError::BadRequest)?;
    if named == host.origin {
        Ok(())
    } else {
        Err(ProxyError::AuthorityMismatch)
    }
}

/// Refuses methods that echo the request to its sender, or that open a channel we cannot inspect.
fn check_method(method: &Method) -> Result<(), ProxyError> {
    let refused = ["TRACE", "TRACK", "CONNECT"];
    if refused.iter().any(|name| method.as_str().eq_ignore_ascii_case(name)) {
        return Err(ProxyError::MethodRefused);
    }
    Ok(())
}

/// Refuses transfer codings other than `chunked` (RFC 9112, section 6.1). hyper has refused other ambiguous framings (two
/// lengths, codings on HTTP/1.0) and drops a length beside a coding. The upstream request is framed from scratch.
pub(crate) fn check_framing<B>(request: &Request<B>) -> Result<(), ProxyError> {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_none_or(is_chunked) && codings.next().is_none() {
        Ok(())
    } else {
        Err(ProxyError::BadRequest)
    }
}

/// Classifies a request as read or write. It is a write if any reading of its path is one, or if a header overrides its
/// method: some frameworks obey that header.
fn classify(registry: &RegistryRoute, parts: &Parts, body: &RequestBody) -> Result<Classification, ProxyError> {
    const WRITE: Classification = Classification::Known(Operation::Write);
    if parts.headers.keys().any(|name| is_among(&METHOD_OVERRIDES, name)) {
        return Ok(WRITE);
    }
    let raw = parts.uri.path();
    let canonical = path::canonical(raw).ok_or(ProxyError::BadRequest)?;
    let mut types = parts.headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
    // Servers disagree on which of two counts, so two count as none.
    let content_type = types.next().filter(|_| types.next().is_none());
    let of = |path: &str| {
        let head = RequestHead {
            method: &parts.method,
            path,
            query: parts.uri.query(),
            content_type,
            has_body: !body.is_end_stream(),
        };
        Classification::of(registry.registry.kind, &head)
    };
    let classification = of(raw);
    // A compressed body is not looked into.
    let is_unreadable =
        matches!(classification, Classification::ByBody(_)) && parts.headers.contains_key(CONTENT_ENCODING);
    if is_unreadable || of(&canonical) != classification {
        return Ok(WRITE);
    }
    Ok(classification)
}

/// Refuses headers that override the path: some frameworks obey them, and the scope matched another path.
fn check_path_overrides(parts: &Parts) -> Result<(), ProxyError> {
    if parts.headers.keys().any(|name| is_among(&PATH_OVERRIDES, name)) {
        return Err(ProxyError::BadRequest);
    }
    Ok(())
}

/// Returns true if a header has one of these names. `_` equals `-`, as for servers that pass headers on in environment variables
/// (RFC 3875, section 4.1.18).
fn is_among(names: &[&str], name: &HeaderName) -> bool {
    let same = |one: u8, other: u8| one == other || (one == b'_' && other == b'-');
    names.iter().any(|known| {
        known.len() == name.as_str().len()
            && name
                .as_str()
                .bytes()
                .zip(known.bytes())
                .all(|(one, other)| same(one, other))
    })
}

async fn lease(registry: &RegistryRoute) -> Result<Lease, ProxyError> {
    registry
        .credential
        .acquire()
        .await
        .map_err(|unavailable| match unavailable {
            Unavailable::Locked => ProxyError::StoreLocked,
            Unavailable::Missing => ProxyError::CredentialUnavailable(registry.name.clone()),
            Unavailable::Rejected => ProxyError::TokenRejected(registry.name.clone()),
        })
}

/// Reports the registry's status to its usage counters and the circuit breaker.
///
/// A 401 becomes [`ProxyError::TokenRejected`]: git and pip would ask the person for a password, which cannot help.
fn record_outcome(
    registry: &RegistryRoute,
    lease: &Lease,
    response: Response<ResponseBody>,
) -> Result<Response<ResponseBody>, ProxyError> {
    let status = response.status();
    registry.usage.note(status.as_u16());
    lease.generation().breaker.record(status != StatusCode::UNAUTHORIZED);
    if status == StatusCode::UNAUTHORIZED {
        return Err(ProxyError::TokenRejected(registry.name.clone()));
    }
    Ok(response)
}

const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
const PATH_OVERRIDES: [&str; 2] = ["x-original-url", "x-rewrite-url"];
