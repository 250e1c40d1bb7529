//! One decrypted request's story, top to bottom.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CONTENT_TYPE, HOST, HeaderName, HeaderValue, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Scheme as UriScheme;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Either;
use hyper::body::Incoming;

use crate::credential::refresher::RefreshReason;
use crate::credential::{Lease, Unavailable};
use crate::host::Origin;
use crate::policy::{Operation, path};
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::downstream::limits::InFlight;
use crate::proxy::downstream::worker::Worker;
use crate::proxy::exchange::body::MinRateBody;
use crate::proxy::exchange::error::{Body, BodyFormat, ProxyError};
use crate::proxy::exchange::rewrite;
use crate::proxy::routes::{InterceptedHost, Service};
use crate::proxy::upstream::{Upstream, repeatable};

/// A connection whose TLS ended here.
#[derive(Debug)]
pub(crate) struct Intercepted {
    pub(crate) worker: Worker,
    /// Who was let in.
    pub(crate) client: Client,
    /// The CONNECT's host and port: the only identity (invariant 1).
    pub(crate) site: Arc<InterceptedHost>,
    /// Whether the SNI was that host's name.
    pub(crate) name_agrees: bool,
}

/// Answers one request of an intercepted connection.
pub(crate) async fn serve(
    connection: Arc<Intercepted>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let form = BodyFormat::of(request.headers());
    let answer = if connection.name_agrees {
        answer(&connection.worker, &connection.client, &connection.site, request).await
    } else {
        Err(ProxyError::AuthorityMismatch)
    };
    Ok(answer.unwrap_or_else(|refusal| {
        tracing::debug!(site = %connection.site.origin, code = refusal.code(), "refused");
        refusal.response(form)
    }))
}

/// Checks, routes, rewrites and sends a request that is meant for `site`.
pub(crate) async fn answer(
    worker: &Worker,
    client: &Client,
    site: &InterceptedHost,
    request: Request<Incoming>,
) -> Result<Response<Body>, ProxyError> {
    worker.plane.counters.count_request();
    admit_framing(&request)?;
    let (mut parts, body) = request.into_parts();
    identify(&parts, site)?;
    admit_method(&parts.method)?;
    let counted = client.begin_request()?;
    let body = Either::Left(MinRateBody::request(body));
    // The routes of this moment, not of the CONNECT: a registry that was removed since is a stranger, and so is one that
    // has changed to plain HTTP or from there.
    let routes = worker.plane.routes.load();
    let present = routes.site(&site.origin).filter(|present| present.plain == site.plain);
    let present = present.map(Arc::clone);
    drop(routes);
    let covering = match &present {
        Some(present) => present.covering(parts.uri.path())?,
        None => None,
    };
    let scheme = if site.plain { UriScheme::HTTP } else { UriScheme::HTTPS };
    // First, so that what is judged is what leaves: a client can have headers dropped by naming them in Connection.
    rewrite::request(&mut parts, &scheme, &site.authority);
    let Some(service) = covering else {
        client.visit(present.as_deref())?;
        return forward(worker, &site.upstream, Request::from_parts(parts, body), counted).await;
    };
    admit_place(&parts)?;
    let operation = operation(service, &parts)?;
    client.permit(service, operation)?;
    let lease = lease(service).await?;
    // It may have waited, and writes may have been closed meanwhile.
    client.permit(service, operation)?;
    authenticated(
        worker,
        client,
        service,
        lease,
        Request::from_parts(parts, body),
        counted,
    )
    .await
}

/// Sends a request with the registry's credential. Where that can be renewed and is rejected, it is renewed once, and a
/// request without a body that may be repeated is sent once more; another one the client has to repeat.
async fn authenticated(
    worker: &Worker,
    client: &Client,
    service: &Service,
    lease: Lease,
    request: Request<Body>,
    counted: InFlight,
) -> Result<Response<Body>, ProxyError> {
    let again = if service.credential.shared.can_refresh() {
        repeatable(&request)
    } else {
        None
    };
    let number = lease.generation().value.number;
    match attempt(worker, service, lease, request, counted).await {
        Err(rejected @ ProxyError::TokenRejected(_)) if service.credential.shared.can_refresh() => {
            // Boxed, since it is rare and every request's future would have to be as large.
            Box::pin(async move {
                let renewed = service.credential.shared.refresh(number, RefreshReason::Rejected).await;
                let again = again.filter(|_| renewed).ok_or(rejected)?;
                let lease = self::lease(service).await?;
                attempt(worker, service, lease, again, client.begin_request()?).await
            })
            .await
        }
        answer => answer,
    }
}

/// One request, one generation (invariant 11), held until the registry has answered.
async fn attempt(
    worker: &Worker,
    service: &Service,
    lease: Lease,
    mut request: Request<Body>,
    counted: InFlight,
) -> Result<Response<Body>, ProxyError> {
    let header = &lease.generation().header;
    header.attach(request.headers_mut());
    let answer = forward(worker, &service.upstream, request, counted).await?;
    let mut answer = record_outcome(service, &lease, answer)?;
    rewrite::withhold_session(answer.headers_mut());
    if header.is_leaked_in(answer.headers()) {
        tracing::error!(registry = %service.name, "the registry repeats its token in a header");
        return Err(ProxyError::UpstreamUnsafe);
    }
    Ok(answer)
}

/// Sends a request that is ours by now and makes the registry's answer fit for the client.
pub(crate) async fn forward(
    worker: &Worker,
    upstream: &Upstream,
    request: Request<Body>,
    counted: InFlight,
) -> Result<Response<Body>, ProxyError> {
    let (answer, place) = upstream.send(worker.index, request).await?;
    let (mut head, body) = answer.into_parts();
    // Upgrade never left, so nobody may answer it (CVE-2021-32714 and its like end in such surprises).
    if head.status.is_informational() {
        return Err(ProxyError::UpstreamUnsafe);
    }
    rewrite::response(&mut head.headers);
    // hyper would repeat the reason phrase, words that nobody has checked for the credential.
    head.extensions.clear();
    // Ours to the client is whatever the client speaks.
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(
        head,
        Either::Left(MinRateBody::response(body, (counted, place))),
    ))
}

/// Invariant 1: Host, `:authority` and the absolute form name the CONNECT's host and port, or say nothing.
fn identify(parts: &Parts, site: &InterceptedHost) -> Result<(), ProxyError> {
    let usual = if site.plain {
        &UriScheme::HTTP
    } else {
        &UriScheme::HTTPS
    };
    if parts.uri.scheme().is_some_and(|scheme| scheme != usual) {
        return Err(ProxyError::AuthorityMismatch);
    }
    let mut named = false;
    if let Some(authority) = parts.uri.authority() {
        same_origin(authority.as_str(), site)?;
        named = true;
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    if let Some(host) = hosts.next() {
        same_origin(host.to_str().map_err(|_| ProxyError::BadRequest)?, site)?;
        named = true;
    }
    // RFC 9112, section 3.2: no second Host; HTTP/1.1 without one is malformed. HTTP/1.0 may leave it out.
    if hosts.next().is_some() || (!named && parts.version != Version::HTTP_10) {
        return Err(ProxyError::BadRequest);
    }
    Ok(())
}

fn same_origin(text: &str, site: &InterceptedHost) -> Result<(), ProxyError> {
    if text == site.authority.as_str() {
        return Ok(());
    }
    // git2-curl leaves the port out of Host: none means the CONNECT's.
    let named = Origin::parse(text, Some(site.origin.port)).map_err(|_| ProxyError::BadRequest)?;
    if named == site.origin {
        Ok(())
    } else {
        Err(ProxyError::AuthorityMismatch)
    }
}

/// Methods that repeat the request to whoever sent it, or open something that we cannot look into.
fn admit_method(method: &Method) -> Result<(), ProxyError> {
    let refused = ["TRACE", "TRACK", "CONNECT"];
    if refused.iter().any(|name| method.as_str().eq_ignore_ascii_case(name)) {
        return Err(ProxyError::MethodRefused);
    }
    Ok(())
}

/// RFC 9112, section 6.1: the one coding that we undo is `chunked`. hyper has refused the rest (two lengths that differ,
/// codings on HTTP/1.0) and takes a length beside a coding away; what goes upstream is framed anew.
pub(crate) fn admit_framing<B>(request: &Request<B>) -> Result<(), ProxyError> {
    let mut codings = request.headers().get_all(TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_none_or(is_chunked) && codings.next().is_none() {
        Ok(())
    } else {
        Err(ProxyError::BadRequest)
    }
}

/// A path that is a write in any reading is a write, and so is a request that names another method in a header: some
/// frameworks go by that one.
fn operation(service: &Service, parts: &Parts) -> Result<Operation, ProxyError> {
    if parts.headers.keys().any(|name| is_among(&METHOD_OVERRIDES, name)) {
        return Ok(Operation::Write);
    }
    let raw = parts.uri.path();
    let canonical = path::canonical(raw).ok_or(ProxyError::BadRequest)?;
    let mut contents = parts.headers.get_all(CONTENT_TYPE).iter().map(HeaderValue::as_bytes);
    // Of two, who knows which one counts.
    let content = contents.next().filter(|_| contents.next().is_none());
    let of = |path: &str| Operation::of(service.registry.kind, &parts.method, path, parts.uri.query(), content);
    if [raw, &*canonical].into_iter().any(|path| of(path) == Operation::Write) {
        Ok(Operation::Write)
    } else {
        Ok(Operation::Read)
    }
}

/// Some frameworks go by a path that a header names, and what matched the scope is another one.
fn admit_place(parts: &Parts) -> Result<(), ProxyError> {
    if parts.headers.keys().any(|name| is_among(&PATH_OVERRIDES, name)) {
        return Err(ProxyError::BadRequest);
    }
    Ok(())
}

/// As servers read names that hand them on in an environment (RFC 3875, section 4.1.18): there, `_` and `-` are one.
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

async fn lease(service: &Service) -> Result<Lease, ProxyError> {
    service
        .credential
        .acquire()
        .await
        .map_err(|unavailable| match unavailable {
            Unavailable::Locked => ProxyError::StoreLocked,
            Unavailable::Missing => ProxyError::CredentialUnavailable(service.name.clone()),
            Unavailable::Rejected => ProxyError::TokenRejected(service.name.clone()),
        })
}

/// Notes the registry's word on the generation. A 401 would make git and pip ask the person for a password that is not
/// theirs to give; what they need to hear is who holds the token and how it is replaced.
fn record_outcome(service: &Service, lease: &Lease, answer: Response<Body>) -> Result<Response<Body>, ProxyError> {
    let status = answer.status();
    service.usage.note(status.as_u16());
    lease.generation().breaker.record(status != StatusCode::UNAUTHORIZED);
    if status == StatusCode::UNAUTHORIZED {
        return Err(ProxyError::TokenRejected(service.name.clone()));
    }
    Ok(answer)
}

const METHOD_OVERRIDES: [&str; 3] = ["x-http-method-override", "x-http-method", "x-method-override"];
const PATH_OVERRIDES: [&str; 2] = ["x-original-url", "x-rewrite-url"];
