//! Probes a registry with a token, and reads the URLs that its index names.
//!
//! The probe sends the token as a proxied request would: over the registry's verified upstream, and never along a redirect.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Either, Full, Limited};
use hyper::body::Incoming;
use regauth_shared::index::IndexConfig;
use regauth_shared::response::{RegistryChecked, RegistryProblem, VerdictResult};
use regauth_shared::{ErrorBody, ErrorKind, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::control::token_service::{self, api_url};
use crate::credential::Rotations;
use crate::credential::header::CredentialHeader;
use crate::policy::Rejections;
use crate::policy::challenge::Challenge;
use crate::policy::denial::refers_to_token_server;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::token_flow::TokenFlow;
use crate::proxy::upstream::{Upstream, UpstreamFailure};
use crate::registry::{Index, Kind, Registry, Scheme};

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
    /// A verdict with its reason.
    pub(super) fn new(verdict: VerdictResult, detail: String) -> Self {
        Self {
            verdict,
            detail,
            index: None,
            failure: None,
            remedy: None,
        }
    }

    /// A result that says nothing about the token, with the reason: the registry did not answer as a registry does.
    pub(super) fn unclear(detail: String) -> Self {
        Self::new(VerdictResult::Unclear, detail)
    }

    /// A status that says nothing about the token, with the next step.
    fn unclear_about(detail: String, status: StatusCode, rejections: &Rejections) -> Self {
        Self {
            remedy: unclear_remedy(status, rejections),
            ..Self::unclear(detail)
        }
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
            ProxyError::CorporateProxy(error) => Self {
                failure: Some(UpstreamFailure::CorporateProxy),
                remedy: Some(error.advice().trim_end_matches('.')),
                ..Self::unclear(format!("{host} cannot be reached: {error}"))
            },
            _ => Self::unclear(format!("{host} was not asked: {}", error.code())),
        }
    }

    /// True if the registry accepted the token.
    pub(crate) fn is_accepted(&self) -> bool {
        self.verdict == VerdictResult::Accepted
    }

    /// True if the registry was reached and gives the same answer to everybody.
    pub(crate) fn is_unproven(&self) -> bool {
        matches!(self.verdict, VerdictResult::Public | VerdictResult::Inconclusive)
    }

    /// Passes a result that allows the token to be stored.
    ///
    /// # Errors
    /// `token-rejected` with the first hint, `not-verified` with the second.
    pub(crate) fn require_accepted(self, if_rejected: &str, if_unclear: &str) -> Result<Self, ErrorBody> {
        match self.verdict {
            VerdictResult::Accepted | VerdictResult::Public | VerdictResult::Inconclusive => Ok(self),
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
    if let Some(flow) = TokenFlow::of(registry, upstream, Rotations::default()) {
        return token_service::ask(&flow, upstream, pool, registry, token).await;
    }
    let Some((url, evidence)) = probe_url(registry) else {
        return ProbeResult::unclear("the registry has no scope to ask about".to_owned());
    };
    let prober = Prober {
        upstream,
        pool,
        url: &url,
    };
    let header = CredentialHeader::new(&registry.scheme, token);
    match prober.get(Some(&header)).await {
        Ok(answer) => prober.evaluate(registry, evidence, &header, answer).await,
        Err(error) => ProbeResult::no_answer(&url, &error),
    }
}

/// Asks a registry without a token. Never fails: a registry that cannot be asked is a problem in the answer.
pub(super) async fn probe_without_token(upstream: &Upstream, pool: usize, registry: &Registry) -> RegistryChecked {
    let Some((url, evidence)) = probe_url(registry) else {
        return RegistryChecked {
            url: String::new(),
            status: None,
            challenges: Vec::new(),
            problem: None,
        };
    };
    let prober = Prober {
        upstream,
        pool,
        url: &url,
    };
    let (status, challenges, problem) = match prober.get(None).await {
        Err(error) => (None, Vec::new(), Some(no_answer_problem(&url, &error))),
        Ok(answer) => {
            let status = answer.status();
            let challenges = challenges(answer.headers());
            (
                Some(status.as_u16()),
                challenges,
                prober.find_problem(registry, evidence, answer).await,
            )
        }
    };
    RegistryChecked {
        url: url.into(),
        status,
        challenges,
        problem,
    }
}

fn no_answer_problem(url: &Url, error: &ProxyError) -> RegistryProblem {
    let result = ProbeResult::no_answer(url, error);
    RegistryProblem {
        cause: result.failure.map_or(error.code(), UpstreamFailure::name).to_owned(),
        message: result.detail,
        hint: result.remedy.unwrap_or("try again later").to_owned(),
    }
}

/// Authentication schemes of an answer's challenges, in lower case (RFC 9110, section 11.6.1).
fn challenges(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::WWW_AUTHENTICATE).iter();
    let parts = values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let schemes = parts.filter_map(|part| part.split_whitespace().next());
    // A part of a quoted text, or a parameter, is no scheme.
    let schemes = schemes.filter(|word| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
    let mut found: Vec<String> = schemes.map(str::to_ascii_lowercase).collect();
    found.sort();
    found.dedup();
    found
}

/// The URL to GET: the index's config.json, a git index's references, the page of all Python packages, npm's `whoami`, or
/// the first scope. The front page of a package server is often public and says nothing about a token.
pub(super) fn probe_url(registry: &Registry) -> Option<(Url, Evidence)> {
    let index = registry.index.as_ref().and_then(index_url);
    // The token goes to the scopes only, also for a question: a changed index may be anywhere.
    if let Some((url, evidence)) = index.filter(|(url, _)| registry.covers_url(url)) {
        return Some((url, evidence));
    }
    let scope: Url = registry.scopes.first()?.to_string().parse().ok()?;
    Some(match registry.kind {
        Kind::Pypi if scope.path().ends_with("/simple/") => (scope, Evidence::PageStatus),
        Kind::Pypi => (scope.join("simple/").ok()?, Evidence::PageStatus),
        Kind::Npm => (scope.join("-/whoami").ok()?, Evidence::Username),
        Kind::Oci => (api_url(registry)?.to_string().parse().ok()?, Evidence::PageStatus),
        Kind::Rubygems => (scope.join("specs.4.8.gz").ok()?, Evidence::PageStatus),
        Kind::Composer => (scope.join("packages.json").ok()?, Evidence::PageStatus),
        Kind::Nuget => (scope.join("index.json").ok()?, Evidence::PageStatus),
        _ => (scope, Evidence::ScopeStatus),
    })
}

/// Page of an index.
fn index_url(index: &Index) -> Option<(Url, Evidence)> {
    match index {
        Index::Sparse(url) => Some((url.join("config.json").ok()?, Evidence::IndexConfig)),
        Index::Git(url) => {
            let repository = url.as_str().trim_end_matches('/');
            let references = format!("{repository}/info/refs?service=git-upload-pack");
            Some((references.parse().ok()?, Evidence::PageStatus))
        }
    }
}

/// Part of an answer that shows whether the token was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Evidence {
    /// The status of a scope's URL; 403 may be its answer to everybody.
    ScopeStatus,
    /// The status of a page.
    PageStatus,
    /// A body that is an index's config.json.
    IndexConfig,
    /// A body that names a user.
    Username,
}

/// Condition under which another URL shows that the token was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// The answer names a user.
    NamesUser,
    /// The answer without the token is 401, and the one with it is not.
    NeedsToken,
}

/// npm's `whoami`, and the present user in the APIs of GitLab (`username`), Gitea and GitHub (`login`). Some npm
/// registries answer a request without a valid token with an empty name instead of 401.
#[derive(Deserialize)]
struct WhoAmI {
    #[serde(alias = "login")]
    username: String,
}

/// One probe of one URL.
#[derive(Clone, Copy)]
struct Prober<'a> {
    upstream: &'a Upstream,
    pool: usize,
    url: &'a Url,
}

impl Prober<'_> {
    async fn get(&self, header: Option<&CredentialHeader>) -> Result<Response<Incoming>, ProxyError> {
        let uri = self.url.as_str().parse().map_err(|_| ProxyError::BadRequest)?;
        get(self.upstream, self.pool, uri, header).await
    }

    /// The verdict that an answer to a request with the token gives.
    async fn evaluate(
        &self,
        registry: &Registry,
        evidence: Evidence,
        header: &CredentialHeader,
        answer: Response<Incoming>,
    ) -> ProbeResult {
        let (url, status) = (self.url, answer.status());
        if let Some(realm) = token_service(registry, &answer) {
            return ProbeResult::unclear(format!(
                "GET {url} answered {}: clients of this registry get their tokens from {realm}, so add it with --kind oci \
                 --token-service {realm}",
                status.as_u16()
            ));
        }
        if status == StatusCode::UNAUTHORIZED && refers_to_token_server(answer.headers()) {
            let detail = format!("GET {url} answered 401 and sends clients to a token server, with any token or none");
            return ProbeResult::new(VerdictResult::Inconclusive, detail);
        }
        let (verdict, detail) = verdict(url, status, &registry.rejected_by);
        // A registry that wants a login says 401.
        let may_be_for_everybody = evidence == Evidence::ScopeStatus && status != StatusCode::UNAUTHORIZED;
        let may_be_for_everybody = may_be_for_everybody && verdict == VerdictResult::Rejected;
        if registry.index.is_none() && (verdict == VerdictResult::Unclear || may_be_for_everybody) {
            return self.compare_without_token(registry, header, status, detail).await;
        }
        let is_git_index = matches!(registry.index, Some(Index::Git(_)));
        let remedy = unclear_remedy(status, &registry.rejected_by);
        let mut result = ProbeResult {
            remedy: remedy.map(|remedy| if is_git_index { SPARSE_HINT } else { remedy }),
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

    /// The reason why this URL cannot be a registry's, whatever the token. A missing page may be a private one.
    async fn find_problem(
        &self,
        registry: &Registry,
        evidence: Evidence,
        answer: Response<Incoming>,
    ) -> Option<RegistryProblem> {
        let (url, status) = (self.url, answer.status());
        let is_index = evidence == Evidence::IndexConfig;
        let problem = |message: String, hint: &str| {
            Some(RegistryProblem {
                cause: "no-index".to_owned(),
                message,
                hint: hint.to_owned(),
            })
        };
        if is_index && status.is_success() && read_json::<IndexConfig>(answer).await.is_none() {
            let message = format!("GET {url} did not give a cargo index's config.json");
            return problem(message, "compare the URL with the registry's documentation");
        }
        let looks_like_git = status.is_success() || status == StatusCode::UNAUTHORIZED;
        if matches!(registry.index, Some(Index::Git(_))) && !looks_like_git {
            let message = format!(
                "GET {url} answered {}, so there is no git repository there",
                status.as_u16()
            );
            return problem(message, SPARSE_HINT);
        }
        None
    }

    /// Repeats the request without the token. A scope need not be a page: a git host answers 404 there or redirects to a
    /// login page, a file server answers 403. If the answer without the token is 401, the registry accepted the token. If
    /// neither answer tells, other URLs of the registry may.
    async fn compare_without_token(
        &self,
        registry: &Registry,
        header: &CredentialHeader,
        with_token: StatusCode,
        detail: String,
    ) -> ProbeResult {
        let (url, with) = (self.url, with_token.as_u16());
        let without_token = match self.get(None).await {
            Ok(answer) => answer.status(),
            Err(_) => return ProbeResult::unclear_about(detail, with_token, &registry.rejected_by),
        };
        if without_token == StatusCode::UNAUTHORIZED {
            // A 403 for a folder without a list is no answer to the token, and any other listed status is.
            if with_token != StatusCode::FORBIDDEN && registry.rejected_by.contains(with_token) {
                return ProbeResult::new(VerdictResult::Rejected, detail);
            }
            let detail = format!("GET {url} answered 401 without the token and {with} with it");
            return ProbeResult::new(VerdictResult::Accepted, detail);
        }
        let is_no_page = |status: StatusCode| status.is_redirection() || status == StatusCode::NOT_FOUND;
        // A cargo registry has pages: without one, the URL is wrong.
        if registry.kind == Kind::Cargo || !is_no_page(with_token) || !is_no_page(without_token) {
            return ProbeResult::unclear_about(detail, with_token, &registry.rejected_by);
        }
        if let Some(accepted) = self.ask_elsewhere(registry, header).await {
            return accepted;
        }
        ProbeResult::new(
            VerdictResult::Inconclusive,
            format!(
                "GET {url} was reached and answers {with} with the token and {} without it, so it could not be told \
                 whether the registry accepts the token",
                without_token.as_u16()
            ),
        )
    }

    /// Asks URLs that some products have. Only a positive answer counts, because others do not have them, or want another
    /// kind of token there. The token goes to URLs in scope only.
    async fn ask_elsewhere(&self, registry: &Registry, header: &CredentialHeader) -> Option<ProbeResult> {
        let questions: &[(&str, Question)] = match registry.kind {
            Kind::Npm => &[("-/ping", Question::NeedsToken), ("", Question::NeedsToken)],
            Kind::Git | Kind::Generic => &[
                ("api/v4/user", Question::NamesUser),
                ("api/v1/user", Question::NamesUser),
                ("user", Question::NamesUser),
            ],
            // Maven's repository managers have this file or answer 404; they ask for the login first.
            Kind::Maven => &[("archetype-catalog.xml", Question::NeedsToken)],
            // The GOPROXY protocol's question about a checksum database.
            Kind::Go => &[("sumdb/sum.golang.org/supported", Question::NeedsToken)],
            Kind::Apt => &[
                ("dists/", Question::NeedsToken),
                ("dists/stable/InRelease", Question::NeedsToken),
            ],
            Kind::Pypi | Kind::Cargo | Kind::Oci | Kind::Rubygems | Kind::Composer | Kind::Nuget => &[],
        };
        let scope: Url = registry.scopes.first()?.to_string().parse().ok()?;
        for (path, question) in questions {
            let url = scope.join(path).ok().filter(|url| registry.covers_url(url));
            // Host-wide APIs are at the root.
            let is_asked = *question == Question::NeedsToken || scope.path() == "/";
            let Some(url) = url.filter(|_| is_asked) else {
                continue;
            };
            let prober = Prober { url: &url, ..*self };
            if let Some(accepted) = prober.question(*question, header, &registry.rejected_by).await {
                return Some(accepted);
            }
        }
        None
    }

    async fn question(
        &self,
        question: Question,
        header: &CredentialHeader,
        rejections: &Rejections,
    ) -> Option<ProbeResult> {
        let answer = self.get(Some(header)).await.ok()?;
        let (url, status) = (self.url, answer.status());
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) || rejections.contains(status) {
            return None;
        }
        let detail = match question {
            Question::NamesUser if status.is_success() && names_a_user(answer).await => {
                format!("GET {url} named the token's user")
            }
            Question::NeedsToken if self.get(None).await.ok()?.status() == StatusCode::UNAUTHORIZED => {
                format!(
                    "GET {url} answered 401 without the token and {} with it",
                    status.as_u16()
                )
            }
            Question::NamesUser | Question::NeedsToken => return None,
        };
        Some(ProbeResult::new(VerdictResult::Accepted, detail))
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

/// Token service that a container registry sends its clients to (distribution, "Token Authentication Specification"). It
/// takes the password, and the registry itself does not.
fn token_service(registry: &Registry, answer: &Response<Incoming>) -> Option<Url> {
    let is_asked = answer.status() == StatusCode::UNAUTHORIZED && matches!(registry.scheme, Scheme::Basic { .. });
    let realm = Challenge::of(answer.headers())?.realm;
    (is_asked && realm.scheme() == "https").then_some(realm)
}

async fn names_a_user(answer: Response<Incoming>) -> bool {
    let answer: Option<WhoAmI> = read_json(answer).await;
    answer.is_some_and(|answer| !answer.username.is_empty())
}

/// Status of a GET with or without the credential; `None` if there was no answer.
pub(super) async fn status_of(
    upstream: &Upstream,
    pool: usize,
    uri: &Uri,
    header: Option<&CredentialHeader>,
) -> Option<StatusCode> {
    let answer = get(upstream, pool, uri.clone(), header).await;
    answer.ok().map(|answer| answer.status())
}

/// Sends a GET with or without the credential.
pub(super) async fn get(
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
async fn read_json<T: DeserializeOwned>(answer: Response<Incoming>) -> Option<T> {
    let body = Limited::new(answer.into_body(), MAX_BODY).collect();
    let body = tokio::time::timeout(PROBE_TIMEOUT, body).await;
    serde_json::from_slice(&body.ok()?.ok()?.to_bytes()).ok()
}

fn verdict(url: &Url, status: StatusCode, rejections: &Rejections) -> (VerdictResult, String) {
    let number = status.as_u16();
    match status {
        status if status.is_success() => (VerdictResult::Accepted, format!("GET {url} answered {number}")),
        status if rejections.contains(status) => (
            VerdictResult::Rejected,
            format!("GET {url} answered {number}: the registry does not accept this token"),
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            VerdictResult::Unclear,
            format!(
                "GET {url} answered {number}, which rejects only the page, because `rejected-by` does not list {number}"
            ),
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
fn unclear_remedy(status: StatusCode, rejections: &Rejections) -> Option<&'static str> {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if !rejections.contains(status) => {
            Some("give the token's user access to that page, or list the status in `rejected-by`")
        }
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
/// An `https://` URL is a git index in cargo's configuration.
const SPARSE_HINT: &str =
    "an https:// URL without sparse+ is a git index; if the index is a sparse one, put sparse+ in front";
/// Longest body that is read, in bytes.
const MAX_BODY: usize = 64 * 1024;
