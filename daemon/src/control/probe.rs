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
use regauth_shared::index::IndexConfig;
use regauth_shared::response::VerdictResult;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::rewrite::CredentialHeader;
use crate::proxy::upstream::Upstream;
use crate::registry::{Index, Kind, Registry};

/// What a registry answered.
#[derive(Debug)]
pub(crate) struct ProbeResult {
    /// Whether it took the token.
    pub(crate) result: VerdictResult,
    /// What was asked and what came back.
    pub(crate) detail: String,
    /// The index's `config.json`, where it was given.
    pub(crate) index: Option<IndexConfig>,
}

impl ProbeResult {
    /// Whether the registry took the token.
    pub(crate) fn is_accepted(&self) -> bool {
        self.result == VerdictResult::Accepted
    }

    /// Whether it takes any, and none.
    pub(crate) fn is_public(&self) -> bool {
        self.result == VerdictResult::Public
    }

    fn without_index(result: VerdictResult, detail: String) -> Self {
        Self {
            result,
            detail,
            index: None,
        }
    }
}

/// Asks. Never fails: what can't be told is [`VerdictResult::Unclear`], with the reason.
pub(crate) async fn ask(upstream: &Arc<Upstream>, pool: usize, registry: &Registry, secret: &Secret) -> ProbeResult {
    let Some((url, proof)) = question(registry) else {
        return unclear("the registry has no scope to ask about".to_owned());
    };
    let asking = Prober {
        upstream,
        pool,
        url: &url,
    };
    let answer = match asking.get(Some(&CredentialHeader::new(&registry.scheme, secret))).await {
        Ok(answer) => answer,
        Err(refusal) => return unclear(no_answer(&url, &refusal)),
    };
    let status = answer.status();
    let (result, detail) = record_outcome(&url, status);
    let is_refused_to_all = matches!(proof, Proof::Scope) && status == StatusCode::FORBIDDEN;
    if registry.index.is_none() && (result == VerdictResult::Unclear || is_refused_to_all) {
        return asking.without_token(status, detail).await;
    }
    if result != VerdictResult::Accepted {
        return ProbeResult::without_index(result, detail);
    }
    let probed = match proof {
        Proof::Scope | Proof::Page => ProbeResult::without_index(result, detail),
        Proof::Index => match read(answer).await {
            Some(index) => ProbeResult {
                result,
                detail,
                index: Some(index),
            },
            None => {
                return unclear(format!(
                    "GET {url} did not give a cargo index's config.json; is this the index's URL?"
                ));
            }
        },
        Proof::Name => return named(&url, status, detail, read(answer).await),
    };
    asking.unless_public(probed).await
}

/// What an answer that should name somebody shows.
fn named(url: &Url, status: StatusCode, detail: String, person: Option<Person>) -> ProbeResult {
    match person {
        Some(Person { username }) if !username.is_empty() => ProbeResult::without_index(VerdictResult::Accepted, detail),
        _ => ProbeResult::without_index(
            VerdictResult::Rejected,
            format!("GET {url} answered {status} without a name: the registry does not accept this token"),
        ),
    }
}

/// A short JSON body.
async fn read<T: DeserializeOwned>(answer: Response<Incoming>) -> Option<T> {
    let body = tokio::time::timeout(PATIENCE, Limited::new(answer.into_body(), MOST).collect()).await;
    serde_json::from_slice(&body.ok()?.ok()?.to_bytes()).ok()
}

/// What shows that a token was taken.
enum Proof {
    /// That the answer is no refusal; 403 may be the place's own answer to everybody.
    Scope,
    /// That the answer is no refusal.
    Page,
    /// That the answer is an index's config.json.
    Index,
    /// That the answer names somebody.
    Name,
}

/// npm's `whoami`: some registries answer strangers with nobody's name instead of 401.
#[derive(Deserialize)]
struct Person {
    username: String,
}

/// One question to one registry.
struct Prober<'a> {
    upstream: &'a Upstream,
    pool: usize,
    url: &'a Url,
}

impl Prober<'_> {
    async fn get(&self, header: Option<&CredentialHeader>) -> Result<Response<Incoming>, ProxyError> {
        let mut request = Request::new(Either::Right(Full::new(Bytes::new())));
        *request.uri_mut() = self.url.as_str().parse().map_err(|_| ProxyError::BadRequest)?;
        request.headers_mut().insert(header::USER_AGENT, USER_AGENT);
        request
            .headers_mut()
            .insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        if let Some(header) = header {
            header.attach(request.headers_mut());
        }
        let answer = tokio::time::timeout(PATIENCE, self.upstream.send(self.pool, request)).await;
        answer
            .unwrap_or(Err(ProxyError::UpstreamTimeout))
            .map(|(answer, _)| answer)
    }

    /// A scope is a place that need not be a page: a git host answers 404 there, a file server 403. When the same
    /// question without the token is answered 401, it was the token that made the difference.
    async fn without_token(&self, with: StatusCode, detail: String) -> ProbeResult {
        match self.get(None).await {
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => ProbeResult::without_index(
                VerdictResult::Accepted,
                format!(
                    "GET {} answered 401 without the token and {} with it",
                    self.url,
                    with.as_u16()
                ),
            ),
            _ => unclear(detail),
        }
    }

    /// What everybody is given shows nothing about a token.
    async fn unless_public(&self, probed: ProbeResult) -> ProbeResult {
        match self.get(None).await {
            Ok(answer) if answer.status().is_success() => ProbeResult {
                result: VerdictResult::Public,
                detail: format!(
                    "GET {} was reached and answers {} without the token, too: it is public, so this says nothing about \
                     the token",
                    self.url,
                    answer.status().as_u16()
                ),
                index: probed.index,
            },
            _ => probed,
        }
    }
}

/// What to GET: the index's config.json, a git index's references, the page of all Python packages, npm's `whoami`, or
/// the first scope itself. The front page of a package server is often open to everybody and says nothing.
fn question(registry: &Registry) -> Option<(Url, Proof)> {
    match &registry.index {
        Some(Index::Sparse(url)) => Some((url.join("config.json").ok()?, Proof::Index)),
        Some(Index::Git(url)) => {
            let references = format!(
                "{}/info/refs?service=git-upload-pack",
                url.as_str().trim_end_matches('/')
            );
            Some((references.parse().ok()?, Proof::Page))
        }
        None => {
            let scope: Url = registry.scopes.first()?.to_string().parse().ok()?;
            Some(match registry.kind {
                Kind::Pypi if scope.path().ends_with("/simple/") => (scope, Proof::Page),
                Kind::Pypi => (scope.join("simple/").ok()?, Proof::Page),
                Kind::Npm => (scope.join("-/whoami").ok()?, Proof::Name),
                _ => (scope, Proof::Scope),
            })
        }
    }
}

fn record_outcome(url: &Url, status: StatusCode) -> (VerdictResult, String) {
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

fn no_answer(url: &Url, refusal: &ProxyError) -> String {
    let host = url.host_str().unwrap_or_default();
    match refusal {
        ProxyError::UpstreamUntrusted => format!(
            "{host} shows a certificate that nothing here trusts; if a company's own authority signed it, give that \
             with --ca-file"
        ),
        ProxyError::UpstreamTimeout => format!("{host} did not answer in time"),
        _ => format!("{host} cannot be reached; check the URL and the network"),
    }
}

fn unclear(detail: String) -> ProbeResult {
    ProbeResult::without_index(VerdictResult::Unclear, detail)
}

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("regauth/", env!("CARGO_PKG_VERSION")));
const PATIENCE: Duration = Duration::from_secs(20);
const MOST: usize = 64 * 1024;
