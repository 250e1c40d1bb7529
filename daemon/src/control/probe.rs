//! Probes a registry with a token, and reads the URLs that its index names.
//!
//! The probe sends the token as a proxied request would: over the registry's verified upstream, and never along a redirect.

mod elsewhere;
mod request;
mod result;
mod target;

use http::{HeaderMap, Response, StatusCode, header};
use hyper::body::Incoming;
use regauth_shared::Secret;
use regauth_shared::index::IndexConfig;
use regauth_shared::response::{RegistryChecked, RegistryProblem, VerdictResult};
use url::Url;

use self::elsewhere::names_a_user;
use self::request::read_json;
pub(super) use self::request::{get, status_of};
pub(crate) use self::result::ProbeResult;
use self::result::{unclear_remedy, verdict};
use self::target::Evidence;
pub(super) use self::target::probe_url;
use crate::control::token_service;
use crate::credential::Rotations;
use crate::credential::header::CredentialHeader;
use crate::policy::challenge::Challenge;
use crate::policy::denial::refers_to_token_server;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::token_flow::TokenFlow;
use crate::proxy::upstream::{Upstream, UpstreamFailure};
use crate::registry::{Index, Kind, Registry, Scheme};

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
            token_service: None,
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
        token_service: None,
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
            // 403 and 404 may be about a folder without a list. Another listed status is about the token.
            let may_be_about_page = matches!(with_token, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND);
            if !may_be_about_page && registry.rejected_by.contains(with_token) {
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

/// An `https://` URL is a git index in cargo's configuration.
const SPARSE_HINT: &str =
    "an https:// URL without sparse+ is a git index; if the index is a sparse one, put sparse+ in front";
