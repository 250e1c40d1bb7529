//! One decrypted request's story, top to bottom.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::Scheme as UriScheme;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::Either;
use hyper::body::Incoming;

use crate::credential::generation::Lease;
use crate::credential::keeper::Cause;
use crate::credential::slot::Unavailable;
use crate::host::Origin;
use crate::policy::{Operation, path};
use crate::proxy::refuse::{Body, Refusal};
use crate::proxy::rewrite;
use crate::proxy::routes::{Service, Site};
use crate::proxy::upstream::{Upstream, repeatable};
use crate::proxy::worker::Worker;

/// A connection whose TLS ended here.
#[derive(Debug)]
pub(crate) struct Intercepted {
    pub(crate) worker: Worker,
    /// The CONNECT's host and port: the only identity (invariant 1).
    pub(crate) site: Arc<Site>,
    /// Whether the SNI was that host's name.
    pub(crate) name_agrees: bool,
}

/// Answers one request of an intercepted connection.
pub(crate) async fn serve(
    connection: Arc<Intercepted>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let answer = if connection.name_agrees {
        answer(&connection.worker, &connection.site, request).await
    } else {
        Err(Refusal::AuthorityMismatch)
    };
    Ok(answer.unwrap_or_else(|refusal| {
        tracing::debug!(site = %connection.site.origin, code = refusal.code(), "refused");
        refusal.response()
    }))
}

/// Checks, routes, rewrites and sends a request that is meant for `site`.
pub(crate) async fn answer(
    worker: &Worker,
    site: &Site,
    request: Request<Incoming>,
) -> Result<Response<Body>, Refusal> {
    worker.plane.counters.count_request();
    let (mut parts, body) = request.into_parts();
    identify(&parts, site)?;
    admit_method_and_framing(&parts)?;
    let routes = worker.plane.routes.load();
    // The routes of this moment, not of the CONNECT: a registry that was removed since is a stranger.
    let covering = match routes.site(&site.origin) {
        Some(present) => present.covering(parts.uri.path())?.cloned(),
        None => None,
    };
    drop(routes);
    let scheme = if site.plain { UriScheme::HTTP } else { UriScheme::HTTPS };
    let Some(service) = covering else {
        rewrite::request(&mut parts, &scheme, &site.authority);
        return forward(worker, &site.upstream, Request::from_parts(parts, Either::Left(body))).await;
    };
    permit(&service, &parts)?;
    rewrite::request(&mut parts, &scheme, &site.authority);
    authenticated(worker, &service, Request::from_parts(parts, Either::Left(body))).await
}

/// Sends a request with the registry's credential. Where that can be renewed and is rejected, it is renewed once, and a
/// request without a body that may be repeated is sent once more; another one the client has to repeat.
async fn authenticated(worker: &Worker, service: &Service, request: Request<Body>) -> Result<Response<Body>, Refusal> {
    let again = if service.keeper.renews() {
        repeatable(&request)
    } else {
        None
    };
    let lease = lease(service).await?;
    let number = lease.generation().number;
    match attempt(worker, service, lease, request).await {
        Err(rejected @ Refusal::TokenRejected(_)) if service.keeper.renews() => {
            let renewed = service.keeper.renew(number, Cause::Rejected).await;
            let again = again.filter(|_| renewed).ok_or(rejected)?;
            attempt(worker, service, self::lease(service).await?, again).await
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
) -> Result<Response<Body>, Refusal> {
    lease.generation().attachment().attach(request.headers_mut());
    let answer = forward(worker, &service.upstream, request).await?;
    judge(service, &lease, answer)
}

/// Sends a request that is ours by now and makes the registry's answer fit for the client.
pub(crate) async fn forward(
    worker: &Worker,
    upstream: &Upstream,
    request: Request<Body>,
) -> Result<Response<Body>, Refusal> {
    let (mut head, body) = upstream.send(worker.index, request).await?.into_parts();
    rewrite::response(&mut head.headers);
    // Ours to the client is whatever the client speaks.
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(head, Either::Left(body)))
}

/// Invariant 1: Host, `:authority` and the absolute form name the CONNECT's host and port, or say nothing.
fn identify(parts: &Parts, site: &Site) -> Result<(), Refusal> {
    let usual = if site.plain {
        &UriScheme::HTTP
    } else {
        &UriScheme::HTTPS
    };
    if parts.uri.scheme().is_some_and(|scheme| scheme != usual) {
        return Err(Refusal::AuthorityMismatch);
    }
    let mut named = false;
    if let Some(authority) = parts.uri.authority() {
        same_origin(authority.as_str(), site)?;
        named = true;
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    if let Some(host) = hosts.next() {
        same_origin(host.to_str().map_err(|_| Refusal::BadRequest)?, site)?;
        named = true;
    }
    // RFC 9112, section 3.2: no second Host; HTTP/1.1 without one is malformed. HTTP/1.0 may leave it out.
    if hosts.next().is_some() || (!named && parts.version != Version::HTTP_10) {
        return Err(Refusal::BadRequest);
    }
    Ok(())
}

fn same_origin(text: &str, site: &Site) -> Result<(), Refusal> {
    if text == site.authority.as_str() {
        return Ok(());
    }
    // git2-curl leaves the port out of Host: none means the CONNECT's.
    let named = Origin::parse(text, Some(site.origin.port)).map_err(|_| Refusal::BadRequest)?;
    if named == site.origin {
        Ok(())
    } else {
        Err(Refusal::AuthorityMismatch)
    }
}

fn admit_method_and_framing(parts: &Parts) -> Result<(), Refusal> {
    if parts.method == Method::TRACE || parts.method == Method::CONNECT {
        return Err(Refusal::MethodRefused);
    }
    // Request smuggling: two lengths for one body.
    if parts.headers.contains_key(CONTENT_LENGTH) && parts.headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::BadRequest);
    }
    // HTTP/1.0 knows no transfer codings (RFC 9112, section 6.1).
    if parts.version == Version::HTTP_10 && parts.headers.contains_key(TRANSFER_ENCODING) {
        return Err(Refusal::BadRequest);
    }
    Ok(())
}

/// Invariant 5. A path that is a write in any reading is a write.
fn permit(service: &Service, parts: &Parts) -> Result<(), Refusal> {
    let raw = parts.uri.path();
    let canonical = path::canonical(raw).ok_or(Refusal::BadRequest)?;
    let writes = [raw, &*canonical]
        .into_iter()
        .any(|path| Operation::of(service.registry.kind, &parts.method, path, parts.uri.query()) == Operation::Write);
    if writes && !service.writes_are_open() {
        return Err(Refusal::WriteDenied(service.name.clone()));
    }
    Ok(())
}

async fn lease(service: &Service) -> Result<Lease, Refusal> {
    service.lease().await.map_err(|unavailable| match unavailable {
        Unavailable::Locked => Refusal::StoreLocked,
        Unavailable::Missing => Refusal::CredentialUnavailable(service.name.clone()),
        Unavailable::Rejected => Refusal::TokenRejected(service.name.clone()),
    })
}

/// Notes the registry's word on the generation. A 401 would make git and pip ask the person for a password that is not
/// theirs to give; what they need to hear is who holds the token and how it is replaced.
fn judge(service: &Service, lease: &Lease, answer: Response<Body>) -> Result<Response<Body>, Refusal> {
    let status = answer.status();
    service.usage.note(status.as_u16());
    lease.generation().guard().note(status != StatusCode::UNAUTHORIZED);
    if status == StatusCode::UNAUTHORIZED {
        return Err(Refusal::TokenRejected(service.name.clone()));
    }
    Ok(answer)
}
