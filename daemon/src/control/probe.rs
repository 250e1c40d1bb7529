//! Asks a registry what it thinks of a token, and what its index says of itself.
//!
//! The token travels as a request's would: over the registry's own verified connection, never after a redirect.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use regauth_shared::Secret;
use regauth_shared::response::VerdictResult;
use serde::Deserialize;
use url::Url;

use crate::proxy::refuse::Refusal;
use crate::proxy::rewrite::Attachment;
use crate::proxy::upstream::Upstream;
use crate::registry::{Index, Registry};

/// What a registry answered.
#[derive(Debug)]
pub(crate) struct Finding {
    /// Whether it took the token.
    pub(crate) result: VerdictResult,
    /// What was asked and what came back.
    pub(crate) detail: String,
    /// The index's `config.json`, where it was given.
    pub(crate) index: Option<IndexConfig>,
}

/// A cargo index's `config.json` (the Cargo book, "Index Format").
#[derive(Debug, Deserialize)]
pub(crate) struct IndexConfig {
    /// Where crates are downloaded, with or without markers.
    pub(crate) dl: String,
    /// The base of the web API.
    #[serde(default)]
    pub(crate) api: Option<String>,
    /// Whether cargo insists on a token of its own.
    #[serde(default, rename = "auth-required")]
    pub(crate) auth_required: bool,
}

/// Asks. Never fails: what can't be told is [`VerdictResult::Unclear`], with the reason.
pub(crate) async fn ask(upstream: &Arc<Upstream>, pool: usize, registry: &Registry, secret: &Secret) -> Finding {
    let Some(url) = question(registry) else {
        return unclear("the registry has no scope to ask about".to_owned());
    };
    let asking = Asking {
        upstream,
        pool,
        url: &url,
    };
    let answer = match asking.get(Some(&Attachment::new(&registry.scheme, secret))).await {
        Ok(answer) => answer,
        Err(refusal) => return unclear(no_answer(&url, &refusal)),
    };
    let status = answer.status();
    let (result, detail) = judge(&url, status);
    if registry.index.is_none() && result != VerdictResult::Accepted && status != StatusCode::UNAUTHORIZED {
        return asking.without_token(status, detail).await;
    }
    let wants_index = result == VerdictResult::Accepted && matches!(registry.index, Some(Index::Sparse(_)));
    if !wants_index {
        return Finding {
            result,
            detail,
            index: None,
        };
    }
    let body = tokio::time::timeout(PATIENCE, Limited::new(answer.into_body(), MOST).collect()).await;
    let index = body
        .ok()
        .and_then(Result::ok)
        .and_then(|body| serde_json::from_slice(&body.to_bytes()).ok());
    match index {
        Some(index) => Finding {
            result,
            detail,
            index: Some(index),
        },
        None => unclear(format!(
            "GET {url} did not give a cargo index's config.json; is this the index's URL?"
        )),
    }
}

/// One question to one registry.
struct Asking<'a> {
    upstream: &'a Upstream,
    pool: usize,
    url: &'a Url,
}

impl Asking<'_> {
    async fn get(&self, attachment: Option<&Attachment>) -> Result<Response<Incoming>, Refusal> {
        let mut request = Request::new(Either::Right(Full::new(Bytes::new())));
        *request.uri_mut() = self.url.as_str().parse().map_err(|_| Refusal::BadRequest)?;
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(attachment) = attachment {
            attachment.attach(request.headers_mut());
        }
        let answer = tokio::time::timeout(PATIENCE, self.upstream.send(self.pool, request)).await;
        answer
            .unwrap_or(Err(Refusal::UpstreamTimeout))
            .map(|(answer, _)| answer)
    }

    /// A scope is a place that need not be a page: a git host answers 404 there, a file server 403. When the same
    /// question without the token is answered 401, it was the token that made the difference.
    async fn without_token(&self, with: StatusCode, detail: String) -> Finding {
        match self.get(None).await {
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => Finding {
                result: VerdictResult::Accepted,
                detail: format!(
                    "GET {} answered 401 without the token and {} with it",
                    self.url,
                    with.as_u16()
                ),
                index: None,
            },
            _ => unclear(detail),
        }
    }
}

/// What to GET: the index's config.json, a git index's references, or the first scope itself.
fn question(registry: &Registry) -> Option<Url> {
    match &registry.index {
        Some(Index::Sparse(url)) => url.join("config.json").ok(),
        Some(Index::Git(url)) => format!(
            "{}/info/refs?service=git-upload-pack",
            url.as_str().trim_end_matches('/')
        )
        .parse()
        .ok(),
        None => registry.scopes.first()?.to_string().parse().ok(),
    }
}

fn judge(url: &Url, status: StatusCode) -> (VerdictResult, String) {
    let number = status.as_u16();
    match status {
        status if status.is_success() => (VerdictResult::Accepted, format!("GET {url} answered {number}")),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            VerdictResult::Rejected,
            format!("GET {url} answered {number}: the registry does not accept this token"),
        ),
        StatusCode::NOT_FOUND => (
            VerdictResult::Unclear,
            format!("GET {url} answered 404: the URL is wrong, or the token may not see what is there"),
        ),
        status if status.is_redirection() => (
            VerdictResult::Unclear,
            format!("GET {url} answered {number}, a redirect, which a token is never sent along"),
        ),
        _ => (
            VerdictResult::Unclear,
            format!("GET {url} answered {number}, which says nothing about the token"),
        ),
    }
}

fn no_answer(url: &Url, refusal: &Refusal) -> String {
    let host = url.host_str().unwrap_or_default();
    match refusal {
        Refusal::UpstreamUntrusted => format!(
            "{host} shows a certificate that nothing here trusts; if a company's own authority signed it, give that \
             with --ca-file"
        ),
        Refusal::UpstreamTimeout => format!("{host} did not answer in time"),
        _ => format!("{host} cannot be reached; check the URL and the network"),
    }
}

fn unclear(detail: String) -> Finding {
    Finding {
        result: VerdictResult::Unclear,
        detail,
        index: None,
    }
}

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("regauth/", env!("CARGO_PKG_VERSION")));
const PATIENCE: Duration = Duration::from_secs(20);
const MOST: usize = 64 * 1024;
