//! Probes a registry: does it accept a token, and what does its index say about itself?
//!
//! The probe sends the token as a proxied request would: over the registry's verified upstream, and never along a redirect.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use regauth_shared::index::IndexConfig;
use regauth_shared::response::VerdictResult;
use regauth_shared::{ErrorBody, ErrorKind, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::credential::header::CredentialHeader;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::{Upstream, UpstreamFailure};
use crate::registry::{Index, Kind, Registry};

/// Result of a probe.
#[derive(Debug)]
pub(crate) struct ProbeResult {
    /// The registry's verdict on the token.
    pub(crate) verdict: VerdictResult,
    /// The request that was sent and the answer, in one sentence.
    pub(crate) detail: String,
    /// The index's `config.json`, if the probe read one.
    pub(crate) index: Option<IndexConfig>,
    /// Reason why the registry gave no answer.
    pub(crate) failure: Option<UpstreamFailure>,
    /// Next step, if the answer is unclear.
    pub(crate) remedy: Option<&'static str>,
}

impl ProbeResult {
    fn new(verdict: VerdictResult, detail: String) -> Self {
        Self {
            verdict,
            detail,
            index: None,
            failure: None,
            remedy: None,
        }
    }

    /// A result that says nothing about the token, with the reason.
    fn unclear(detail: String) -> Self {
        Self::new(VerdictResult::Unclear, detail)
    }

    /// No answer from the registry, with the reason.
    fn no_answer(url: &Url, error: &ProxyError) -> Self {
        let host = url.host_str().unwrap_or_default();
        match error {
            ProxyError::Upstream(failure) => Self {
                failure: Some(*failure),
                remedy: Some(failure.remedy()),
                ..Self::unclear(format!("{host} {}", failure.predicate()))
            },
            _ => Self::unclear(format!("{host} was not asked: {}", error.code())),
        }
    }

    /// True if the registry accepted the token.
    pub(crate) fn is_accepted(&self) -> bool {
        self.verdict == VerdictResult::Accepted
    }

    /// True if the registry needs no token: it answers with any and without.
    pub(crate) fn is_public(&self) -> bool {
        self.verdict == VerdictResult::Public
    }

    /// Passes a result that allows the token to be stored.
    ///
    /// # Errors
    /// `token-rejected` with the first hint, `not-verified` with the second.
    pub(crate) fn require_accepted(self, if_rejected: &str, if_unclear: &str) -> Result<Self, ErrorBody> {
        match self.verdict {
            VerdictResult::Accepted | VerdictResult::Public => Ok(self),
            VerdictResult::Rejected => Err(ErrorBody::new(ErrorKind::TokenRejected, self.detail).hint(if_rejected)),
            _ => {
                let remedy = self.remedy.map_or_else(String::new, |remedy| format!("{remedy}; "));
                Err(ErrorBody::new(ErrorKind::NotVerified, self.detail).hint(remedy + if_unclear))
            }
        }
    }
}

/// Asks a registry about a token. Never fails: a registry that cannot be asked gives [`VerdictResult::Unclear`].
pub(crate) async fn probe_token(upstream: &Upstream, pool: usize, registry: &Registry, token: &Secret) -> ProbeResult {
    let Some((url, evidence)) = probe_url(registry) else {
        return ProbeResult::unclear("the registry has no scope to ask about".to_owned());
    };
    let prober = Prober {
        upstream,
        pool,
        url: &url,
    };
    match prober.get(Some(&CredentialHeader::new(&registry.scheme, token))).await {
        Ok(answer) => prober.evaluate(registry, evidence, answer).await,
        Err(error) => ProbeResult::no_answer(&url, &error),
    }
}

/// The URL to GET: the index's config.json, a git index's references, the page of all Python packages, npm's `whoami`, or
/// the first scope. The front page of a package server is often public and says nothing about a token.
fn probe_url(registry: &Registry) -> Option<(Url, Evidence)> {
    match &registry.index {
        Some(Index::Sparse(url)) => Some((url.join("config.json").ok()?, Evidence::IndexConfig)),
        Some(Index::Git(url)) => {
            let references = format!(
                "{}/info/refs?service=git-upload-pack",
                url.as_str().trim_end_matches('/')
            );
            Some((references.parse().ok()?, Evidence::PageStatus))
        }
        None => {
            let scope: Url = registry.scopes.first()?.to_string().parse().ok()?;
            Some(match registry.kind {
                Kind::Pypi if scope.path().ends_with("/simple/") => (scope, Evidence::PageStatus),
                Kind::Pypi => (scope.join("simple/").ok()?, Evidence::PageStatus),
                Kind::Npm => (scope.join("-/whoami").ok()?, Evidence::Username),
                _ => (scope, Evidence::ScopeStatus),
            })
        }
    }
}

/// Part of an answer that shows whether the token was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Evidence {
    /// The status of a scope's URL; 403 may be its answer to everybody.
    ScopeStatus,
    /// The status of a page.
    PageStatus,
    /// A body that is an index's config.json.
    IndexConfig,
    /// A body that names a user.
    Username,
}

/// npm's `whoami`: some registries answer a request without a valid token with an empty name instead of 401.
#[derive(Deserialize)]
struct WhoAmI {
    username: String,
}

/// One probe of one URL.
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
        let answer = tokio::time::timeout(PROBE_TIMEOUT, self.upstream.send(self.pool, request)).await;
        answer
            .unwrap_or(Err(ProxyError::Upstream(UpstreamFailure::NoAnswer)))
            .map(|(answer, _)| answer)
    }

    /// The verdict that an answer to a request with the token gives.
    async fn evaluate(&self, registry: &Registry, evidence: Evidence, answer: Response<Incoming>) -> ProbeResult {
        let (url, status) = (self.url, answer.status());
        let (verdict, detail) = verdict(url, status);
        let may_be_for_everybody = evidence == Evidence::ScopeStatus && status == StatusCode::FORBIDDEN;
        if registry.index.is_none() && (verdict == VerdictResult::Unclear || may_be_for_everybody) {
            return self.compare_without_token(status, detail).await;
        }
        let mut result = ProbeResult {
            remedy: unclear_remedy(status),
            ..ProbeResult::new(verdict, detail)
        };
        if !result.is_accepted() {
            return result;
        }
        match evidence {
            Evidence::ScopeStatus | Evidence::PageStatus => {}
            Evidence::IndexConfig => match read_json(answer).await {
                Some(index) => result.index = Some(index),
                None => {
                    return ProbeResult::unclear(format!(
                        "GET {url} did not give a cargo index's config.json; is this the index's URL?"
                    ));
                }
            },
            Evidence::Username => {
                if !names_a_user(answer).await {
                    result.verdict = VerdictResult::Rejected;
                    result.detail =
                        format!("GET {url} answered {status} without a name: the registry does not accept this token");
                }
                return result;
            }
        }
        self.detect_public(result).await
    }

    /// Repeats the request without the token. A scope need not be a page: a git host answers 404 there, a file server
    /// 403. If the answer without the token is 401, the registry accepted the token.
    async fn compare_without_token(&self, with_token: StatusCode, detail: String) -> ProbeResult {
        match self.get(None).await {
            Ok(answer) if answer.status() == StatusCode::UNAUTHORIZED => ProbeResult::new(
                VerdictResult::Accepted,
                format!(
                    "GET {} answered 401 without the token and {} with it",
                    self.url,
                    with_token.as_u16()
                ),
            ),
            _ => ProbeResult {
                remedy: unclear_remedy(with_token),
                ..ProbeResult::unclear(detail)
            },
        }
    }

    /// Turns an acceptance into [`VerdictResult::Public`] if the registry also answers without the token.
    async fn detect_public(&self, mut result: ProbeResult) -> ProbeResult {
        if let Ok(answer) = self.get(None).await
            && answer.status().is_success()
        {
            result.verdict = VerdictResult::Public;
            result.detail = format!(
                "GET {} was reached and answers {} without the token, too: it is public, so this says nothing about the \
                 token",
                self.url,
                answer.status().as_u16()
            );
        }
        result
    }
}

async fn names_a_user(answer: Response<Incoming>) -> bool {
    let answer: Option<WhoAmI> = read_json(answer).await;
    answer.is_some_and(|answer| !answer.username.is_empty())
}

/// A JSON body of at most [`MAX_BODY`] bytes.
async fn read_json<T: DeserializeOwned>(answer: Response<Incoming>) -> Option<T> {
    let body = Limited::new(answer.into_body(), MAX_BODY).collect();
    let body = tokio::time::timeout(PROBE_TIMEOUT, body).await;
    serde_json::from_slice(&body.ok()?.ok()?.to_bytes()).ok()
}

fn verdict(url: &Url, status: StatusCode) -> (VerdictResult, String) {
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

/// Next step for a status that says nothing about the token.
fn unclear_remedy(status: StatusCode) -> Option<&'static str> {
    match status {
        StatusCode::NOT_FOUND => Some("compare the URL with the registry's documentation"),
        StatusCode::TOO_MANY_REQUESTS => Some("the registry limits requests: repeat later"),
        status if status.is_redirection() => Some("if the registry has moved, use the URL that it redirects to"),
        status if status.is_server_error() => Some("the registry has a fault of its own: repeat later"),
        _ => None,
    }
}

const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("regauth/", env!("CARGO_PKG_VERSION")));
/// Time for the head of an answer, and again for its body.
const PROBE_TIMEOUT: Duration = Duration::from_secs(20);
/// Longest body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;
