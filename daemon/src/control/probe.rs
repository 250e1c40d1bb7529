//! Asks a registry what it thinks of a token, and what its index says of itself.
//!
//! The token travels as a request's would: over the registry's own verified connection, never after a redirect.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
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

impl Finding {
    /// The registry was not asked, because there is no token to ask about.
    pub(crate) fn without_token(detail: String) -> Self {
        Self {
            result: VerdictResult::NoToken,
            detail,
            index: None,
        }
    }
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
    let mut request = Request::new(Either::Right(Full::new(Bytes::new())));
    let Ok(uri) = url.as_str().parse() else {
        return unclear(format!("{url} cannot be asked"));
    };
    *request.uri_mut() = uri;
    request.headers_mut().insert(http::header::USER_AGENT, USER_AGENT);
    request
        .headers_mut()
        .insert(http::header::ACCEPT, http::HeaderValue::from_static("*/*"));
    Attachment::new(&registry.scheme, secret).attach(request.headers_mut());
    let answer = match tokio::time::timeout(PATIENCE, upstream.send(pool, request)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(refusal)) => return unclear(no_answer(&url, &refusal)),
        Err(_) => return unclear(no_answer(&url, &Refusal::UpstreamTimeout)),
    };
    let (result, detail) = judge(&url, answer.status());
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

const USER_AGENT: http::HeaderValue = http::HeaderValue::from_static(concat!("regauth/", env!("CARGO_PKG_VERSION")));
const PATIENCE: Duration = Duration::from_secs(20);
const MOST: usize = 64 * 1024;
