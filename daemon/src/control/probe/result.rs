//! Result of a probe: the verdict that a status gives, and the next step if it gives none.

use http::StatusCode;
use regauth_shared::index::IndexConfig;
use regauth_shared::response::VerdictResult;
use regauth_shared::{ErrorBody, ErrorKind};
use url::Url;

use crate::policy::Rejections;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::UpstreamFailure;

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
    pub(in crate::control) fn new(verdict: VerdictResult, detail: String) -> Self {
        Self {
            verdict,
            detail,
            index: None,
            failure: None,
            remedy: None,
        }
    }

    /// A result that says nothing about the token, with the reason: the registry did not answer as a registry does.
    pub(in crate::control) fn unclear(detail: String) -> Self {
        Self::new(VerdictResult::Unclear, detail)
    }

    /// A status that says nothing about the token, with the next step.
    pub(super) fn unclear_about(detail: String, status: StatusCode, rejections: &Rejections) -> Self {
        Self {
            remedy: unclear_remedy(status, rejections),
            ..Self::unclear(detail)
        }
    }

    /// No answer from the registry, with the reason.
    pub(super) fn no_answer(url: &Url, error: &ProxyError) -> Self {
        let host = url.host_str().unwrap_or_default();
        match error {
            ProxyError::Upstream(failure) | ProxyError::Unconnected { failure, .. } => Self {
                failure: Some(*failure),
                remedy: Some(failure.remedy()),
                ..Self::unclear(format!("{host}{} {}", error.addresses(), failure.predicate()))
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

/// Verdict that the status of an answer to a request with the token gives, with its reason.
pub(super) fn verdict(url: &Url, status: StatusCode, rejections: &Rejections) -> (VerdictResult, String) {
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
pub(super) fn unclear_remedy(status: StatusCode, rejections: &Rejections) -> Option<&'static str> {
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
