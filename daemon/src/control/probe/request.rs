//! GET with or without the credential over a registry's verified upstream, and its bounded JSON body.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use serde::de::DeserializeOwned;

use crate::credential::header::CredentialHeader;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::{Upstream, UpstreamFailure};

/// Status of a GET with or without the credential; `None` if there was no answer.
pub(in crate::control) async fn status_of(
    upstream: &Upstream,
    pool: usize,
    uri: &Uri,
    header: Option<&CredentialHeader>,
) -> Option<StatusCode> {
    let answer = get(upstream, pool, uri.clone(), header).await;
    answer.ok().map(|answer| answer.status())
}

/// Sends a GET with or without the credential.
pub(in crate::control) async fn get(
    upstream: &Upstream,
    pool: usize,
    uri: Uri,
    header: Option<&CredentialHeader>,
) -> Result<Response<Incoming>, ProxyError> {
    let mut request = Request::new(Either::Right(Full::new(Bytes::new())));
    *request.uri_mut() = uri;
    request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
    request
        .headers_mut()
        .insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    if let Some(header) = header {
        header.attach(request.headers_mut());
    }
    let answer = tokio::time::timeout(PROBE_TIMEOUT, upstream.send(pool, request)).await;
    answer
        .unwrap_or(Err(ProxyError::Upstream(UpstreamFailure::NoAnswer)))
        .map(|(answer, _)| answer)
}

/// A JSON body of at most [`MAX_BODY`] bytes.
pub(super) async fn read_json<T: DeserializeOwned>(answer: Response<Incoming>) -> Option<T> {
    let body = Limited::new(answer.into_body(), MAX_BODY).collect();
    let body = tokio::time::timeout(PROBE_TIMEOUT, body).await;
    serde_json::from_slice(&body.ok()?.ok()?.to_bytes()).ok()
}

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("regauth/", env!("CARGO_PKG_VERSION")));
/// Time for the head of an answer, and again for its body.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;
