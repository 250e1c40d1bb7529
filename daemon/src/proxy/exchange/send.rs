//! Sending of an admitted request, and of its response back to the client.
//!
//! [`send_with_credential`] is the usual way. Requests outside of every scope, and those that bring a Git LFS server's own
//! authorization, go without the credential. All end in [`forward`].

use std::sync::Arc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING};
use http::uri::Uri;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body as _;
use http_body_util::{Either, Full};
use hyper::ext::ReasonPhrase;

use crate::credential::circuit_breaker::Sample;
use crate::credential::{Lease, Unavailable};
use crate::policy::{Answer, Operation};
use crate::proxy::downstream::authenticate::Client;
use crate::proxy::downstream::limits::RequestPermit;
use crate::proxy::exchange::body::{self, End, MinRateBody, RequestBody};
use crate::proxy::exchange::carried::CarriedCredential;
use crate::proxy::exchange::denial_review::{self, Denied, OnUnauthorized};
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::expectation::Expectation;
use crate::proxy::exchange::recording::Recording;
use crate::proxy::exchange::{answer, failure_log, rewrite, token_flow};
use crate::proxy::routes::{InterceptedHost, RegistryRoute};
use crate::proxy::state::Worker;
use crate::proxy::upstream::Upstream;
use crate::proxy::upstream::pool::PooledConnection;

/// Body of a response to a client: the upstream's as it streams in, or an error text. While the upstream's streams, the
/// request counts as in flight and its connection is in use.
pub(crate) type ResponseBody = Either<MinRateBody<(Option<Expectation>, RequestPermit, PooledConnection)>, Full<Bytes>>;

/// Sends a request with the registry's credential. A denial is reviewed: it may be about the path or about the token. A
/// token that can be refreshed is refreshed once. A request that is safe to repeat is then sent again; the client has to
/// repeat any other.
pub(in crate::proxy) async fn send_with_credential(
    worker: &Worker,
    (client, operation): (&Client, Operation),
    registry: &Arc<RegistryRoute>,
    lease: Lease,
    request: Request<RequestBody>,
    permit: RequestPermit,
    recording: &mut Recording,
) -> Result<Response<ResponseBody>, ProxyError> {
    if registry.token_flow.is_some() {
        // Boxed, since it is rare.
        let sending = token_flow::send(worker, (client, operation), registry, lease, request, permit, recording);
        return Box::pin(sending).await;
    }
    let copy = if registry.credential.shared.can_refresh() {
        rewrite::repeatable_copy(&request)
    } else {
        None
    };
    let program = OnUnauthorized::of(registry.registry.kind, request.headers());
    match send_once(worker, client, registry, lease, request, permit, recording).await? {
        (response, None) => Ok(response),
        // Boxed, since it is rare and every request's future would have to be as large.
        (response, Some(denied)) => {
            Box::pin(denial_review::review(
                worker,
                (client, operation),
                registry,
                program,
                (response, denied),
                copy,
                recording,
            ))
            .await
        }
    }
}

/// Sends a request with a lease of the credential (invariant 11). The lease is held until the response head has arrived.
/// After a rotation, an attempt that has not been sent takes the next generation.
pub(in crate::proxy) async fn send_once(
    worker: &Worker,
    client: &Client,
    registry: &Arc<RegistryRoute>,
    lease: Lease,
    request: Request<RequestBody>,
    permit: RequestPermit,
    recording: &mut Recording,
) -> Result<(Response<ResponseBody>, Option<Denied>), ProxyError> {
    let carried = CarriedCredential::new(registry, lease);
    send_carried(worker, client, registry, carried, request, permit, recording).await
}

/// As [`send_once`], with a credential that may be a short token.
pub(super) async fn send_carried(
    worker: &Worker,
    client: &Client,
    registry: &Arc<RegistryRoute>,
    mut carried: CarriedCredential<'_>,
    mut request: Request<RequestBody>,
    permit: RequestPermit,
    recording: &mut Recording,
) -> Result<(Response<ResponseBody>, Option<Denied>), ProxyError> {
    let is_checked = answer::prepare(&mut request);
    let sample = sample(worker, client, carried.lease()?, &request).filter(|_| registry.token_flow.is_none());
    let sent = forward(
        worker,
        &registry.upstream,
        request,
        Some(&mut carried),
        permit,
        recording,
    )
    .await;
    // Also for a request without an answer: it may have carried the token.
    if let Ok(generation) = carried.generation() {
        recording.note_generation(generation.value.number);
    }
    let mut response = sent?;
    let denied = record_outcome(worker, registry, carried.lease()?, &response, sample);
    rewrite::withhold_session(response.headers_mut());
    let header = carried.header()?;
    let reason = response.extensions().get::<ReasonPhrase>();
    if reason.is_some_and(|reason| header.is_leaked_in_text(reason.as_bytes())) {
        tracing::error!(registry = %registry.name, "removed a reason phrase: the registry repeated its token in it");
        response.extensions_mut().remove::<ReasonPhrase>();
    }
    if header.is_leaked_in(response.headers()) {
        tracing::error!(registry = %registry.name, "withheld a response: the registry repeated its token in a header");
        return Err(ProxyError::UpstreamUnsafe);
    }
    if is_checked || answer::is_of_lfs(response.headers()) {
        let token = carried.token();
        let header = Arc::clone(&carried.generation()?.header);
        // The registry has answered, so a rotation need not wait for the rest.
        drop(carried);
        let routes = worker.state.routes.load_full();
        let seal = &worker.state.action_seal;
        let header = token.as_deref().map_or(&*header, |token| &token.header);
        response = Box::pin(answer::check_answer(&routes, seal, header, response)).await?;
    }
    Ok((response, denied))
}

/// Sends a request with the authorization that the registry's Git LFS server has given to the client for it. A 401 loses
/// its password challenges, as one that answers our own token.
pub(super) async fn send_without_credential(
    worker: &Worker,
    registry: &RegistryRoute,
    request: Request<RequestBody>,
    permit: RequestPermit,
    recording: &mut Recording,
) -> Result<Response<ResponseBody>, ProxyError> {
    let program = OnUnauthorized::of(registry.registry.kind, request.headers());
    let mut response = forward(worker, &registry.upstream, request, None, permit, recording).await?;
    rewrite::withhold_session(response.headers_mut());
    denial_review::pass_on(registry, program, response)
}

/// Sends a request outside of every scope, without a credential. A refusal is counted: the request may have needed one.
pub(super) async fn pass_through(
    worker: &Worker,
    host: &InterceptedHost,
    current: Option<&InterceptedHost>,
    request: Request<RequestBody>,
    permit: RequestPermit,
    recording: &mut Recording,
) -> Result<Response<ResponseBody>, ProxyError> {
    let brings_its_own = request.headers().contains_key(AUTHORIZATION);
    let uri = request.uri().clone();
    // The upstream of the CONNECT may have been replaced since.
    let upstream = current.map_or(&host.upstream, |current| &current.upstream);
    let response = forward(worker, upstream, request, None, permit, recording).await?;
    let is_refused = matches!(
        response.status(),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND
    );
    if is_refused
        && !brings_its_own
        && let Some(current) = current
    {
        current.note_refusal_outside_scopes(uri.path());
    }
    Ok(response)
}

/// Sends a rewritten request and prepares the upstream's response for the client.
pub(crate) async fn forward(
    worker: &Worker,
    upstream: &Upstream,
    mut request: Request<RequestBody>,
    credential: Option<&mut CarriedCredential<'_>>,
    permit: RequestPermit,
    recording: &mut Recording,
) -> Result<Response<ResponseBody>, ProxyError> {
    let expectation = await_continue(&mut request);
    recording.note_sent(body::upload_progress(&mut request));
    let sent = upstream
        .send_for(permit.client(), worker.index, request, credential)
        .await;
    let (response, mut connection) = sent?;
    recording.note_answered(connection.is_reused());
    let (mut head, body) = response.into_parts();
    let end = End::of_response(head.version, &head.headers, || connection.peer());
    let delivered = connection.delivered();
    if let Some(expectation) = &expectation {
        expectation.answered(head.status);
    }
    // Upgrade was stripped, so the upstream must not switch protocols (compare CVE-2021-32714).
    if head.status.is_informational() {
        return Err(ProxyError::UpstreamUnsafe);
    }
    // RFC 9112, section 6.3: servers and proxies that disagree on the end can smuggle a response to another client.
    if head.headers.contains_key(TRANSFER_ENCODING) && head.headers.contains_key(CONTENT_LENGTH) {
        connection.do_not_reuse();
    }
    rewrite::response(&mut head.headers, head.version).map_err(|_| ProxyError::UpstreamFraming)?;
    // hyper repeats the reason phrase over HTTP/1.1. `send_once` has searched it, if the request carried a credential.
    let reason = head.extensions.remove::<ReasonPhrase>();
    head.extensions.clear();
    if let Some(reason) = reason {
        head.extensions.insert(reason);
    }
    // hyper writes the version that the client speaks.
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(
        head,
        Either::Left(MinRateBody::response(
            body,
            end,
            delivered,
            (expectation, permit, connection),
        )),
    ))
}

/// Keeps the body of a request back until the upstream asks for it, if the client waits for that.
fn await_continue(request: &mut Request<RequestBody>) -> Option<Expectation> {
    // Without a body, the expectation is void.
    if request.body().is_end_stream() {
        request.headers_mut().remove(EXPECT);
    }
    if !request.headers().contains_key(EXPECT) {
        return None;
    }
    let (expectation, hold) = Expectation::begin(request);
    if let Either::Left(body) = request.body_mut() {
        body.hold(hold);
    }
    Some(expectation)
}

pub(super) async fn lease(registry: &RegistryRoute) -> Result<Lease, ProxyError> {
    registry
        .credential
        .acquire()
        .await
        .map_err(|unavailable| match unavailable {
            Unavailable::Locked => ProxyError::StoreLocked,
            Unavailable::Unreadable => ProxyError::StoreUnavailable,
            Unavailable::Missing if registry.is_withheld() => ProxyError::Unconfirmed(registry.name.clone()),
            Unavailable::Missing => ProxyError::CredentialUnavailable(registry.name.clone()),
            Unavailable::Rejected => ProxyError::TokenRejected(registry.name.clone()),
        })
}

/// The URL of a request, if it could show later whether the registry still accepts the generation: the URL of a page, not
/// a signed or a computed one. The bearer of a grant chooses none for the daemon's user. Where all clients are bearers, a
/// page that one of them chose can only speak for the token.
fn sample(worker: &Worker, client: &Client, lease: &Lease, request: &Request<RequestBody>) -> Option<Sample> {
    let is_wanted = lease.generation().breaker.wants_sample();
    let suits = is_wanted && is_page(request.method(), request.uri()) && client.acts_for_owner(&worker.state);
    suits.then(|| Sample::new(request.uri().clone(), client.bears_grant()))
}

fn is_page(method: &Method, uri: &Uri) -> bool {
    method == Method::GET && uri.query().is_none_or(|query| query.starts_with("service=git-"))
}

/// Reports the registry's answer to its usage counters and the circuit breaker. Returns a denial for review.
fn record_outcome(
    worker: &Worker,
    registry: &Arc<RegistryRoute>,
    lease: &Lease,
    response: &Response<ResponseBody>,
    sample: Option<Sample>,
) -> Option<Denied> {
    let status = response.status();
    failure_log::registry_recovered(registry, registry.usage.note(status.as_u16()));
    let breaker = &lease.generation().breaker;
    match Answer::of(status, response.headers(), &registry.registry.rejected_by) {
        Answer::Accepted => {
            if breaker.record_acceptance() {
                worker.state.token_checks.request(registry, breaker);
            }
            if let Some(sample) = sample {
                breaker.offer_sample(sample);
            }
            None
        }
        Answer::Neutral => {
            breaker.record_neutral();
            None
        }
        Answer::Denied(denial) => Some(Denied::new(denial, lease)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_is_a_sample() {
        for (method, uri, fits) in [
            (Method::GET, "https://corp.example/index/config.json", true),
            (Method::HEAD, "https://corp.example/index/config.json", false),
            (Method::GET, "https://corp.example/crate?signature=x", false),
            (
                Method::GET,
                "https://corp.example/plans/info/refs?service=git-upload-pack",
                true,
            ),
        ] {
            assert_eq!(is_page(&method, &Uri::from_static(uri)), fits, "{method} {uri}");
        }
    }
}
