//! Error responses: every response that regauthd writes itself.
//!
//! Each carries `regauth-error: CODE` and two plain sentences: what happened, and what to do. Nothing from the request is
//! echoed. An error that a retry cannot cure has status 403, which cargo prints and does not repeat. One that it can cure
//! has 502 to 504.
//!
//! The text is where the client's program reads it: programs that print only their registry's JSON get it in JSON, and
//! over HTTP/1.1 it is the reason phrase too, which is all that Maven, Gradle, twine, wget and Go print.

mod body_format;
mod message;

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, PROXY_AUTHENTICATE, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use hyper::ext::ReasonPhrase;
use regauth_shared::RegistryName;
use serde_json::json;

pub use self::body_format::BodyFormat;
use crate::audit::Unrecorded;
use crate::proxy::exchange::request_problem::RequestProblem;
use crate::proxy::upstream::failure::{FailureClass, UpstreamFailure};
use crate::proxy::upstream::proxy_handshake::{CorporateProxyError, ProxyProblem};
use crate::workload::Rejection;

/// Reason why a request got no response from its registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// The first request's head, or its target, is malformed.
    BadRequest,
    /// The request is malformed or ambiguous.
    Malformed(RequestProblem),
    /// SNI, Host, `:authority` or the absolute form names another host than the CONNECT.
    AuthorityMismatch,
    /// The method is TRACE, TRACK, or a CONNECT inside a CONNECT.
    MethodRefused,
    /// The client is neither this user nor the bearer of a grant.
    GrantRequired,
    /// The client's token of a workload opens nothing.
    IdentityRejected(Rejection),
    /// The client's grant does not cover this registry or operation.
    GrantDenied,
    /// The client has a grant, and the host is neither a registry nor public.
    HostDenied,
    /// The client has reached its limit of connections or requests.
    Busy,
    /// The request is a write, and writes are closed.
    WriteDenied(RegistryName),
    /// The client's program is none of the registry's.
    ProgramDenied(RegistryName),
    /// The registry rejected the credential.
    TokenRejected(RegistryName),
    /// The registry answers 401 for this path and accepts the credential elsewhere.
    AccessDenied(RegistryName),
    /// The configuration goes beyond what the token was given for, and a person has to confirm it.
    Unconfirmed(RegistryName),
    /// The store needs a person to unlock it.
    StoreLocked,
    /// The store or source has no credential, or failed.
    CredentialUnavailable(RegistryName),
    /// The registry's token service gave no token.
    TokenService(RegistryName),
    /// The store has no credential, and the client is a cargo, which can log in.
    LoggedOut(RegistryName),
    /// The store cannot be read: it is damaged, or its service is gone.
    StoreUnavailable,
    /// The audit record cannot be written, and `audit-required` forbids answers without it.
    AuditUnavailable,
    /// The client stopped sending the body of its request.
    ClientTimeout,
    /// The upstream gave no answer, or cannot be trusted.
    Upstream(UpstreamFailure),
    /// No address of the upstream accepts a connection.
    Unconnected {
        /// Reason of the last address.
        failure: UpstreamFailure,
        /// Addresses of the upstream's name, at most [`MAX_ADDRESSES`].
        addresses: Arc<[IpAddr]>,
    },
    /// The corporate proxy cannot be reached, or refuses.
    CorporateProxy(Box<CorporateProxyError>),
    /// The upstream repeated the credential in a header or an answer of Git LFS or of a token service, or switched protocols.
    UpstreamUnsafe,
    /// The upstream's response is in a transfer coding that cannot be passed on.
    UpstreamFraming,
    /// An answer of Git LFS or of a token service cannot be searched for the credential.
    UpstreamUnreadable,
}

impl From<RequestProblem> for ProxyError {
    fn from(problem: RequestProblem) -> Self {
        Self::Malformed(problem)
    }
}

impl From<Unrecorded> for ProxyError {
    fn from(_: Unrecorded) -> Self {
        Self::AuditUnavailable
    }
}

impl ProxyError {
    /// The upstream gave no answer; `addresses` are those that accepted no connection.
    pub(crate) fn upstream(failure: UpstreamFailure, addresses: &[IpAddr]) -> Self {
        match addresses.get(..MAX_ADDRESSES).unwrap_or(addresses) {
            [] => Self::Upstream(failure),
            addresses => Self::Unconnected {
                failure,
                addresses: addresses.into(),
            },
        }
    }

    /// Text such as ` (192.0.2.7, 192.0.2.8)` with the addresses that accepted no connection, else an empty one.
    ///
    /// It is for the daemon's owner: bearers of grants get the message without it.
    pub(crate) fn addresses(&self) -> String {
        self.address_list()
            .map_or_else(String::new, |list| format!(" ({list})"))
    }

    /// The addresses that accepted no connection, with commas.
    pub(crate) fn address_list(&self) -> Option<String> {
        let Self::Unconnected { addresses, .. } = self else {
            return None;
        };
        let addresses: Vec<_> = addresses.iter().map(IpAddr::to_string).collect();
        Some(addresses.join(", "))
    }

    /// Value of the `regauth-error` header.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest | Self::Malformed(_) => "bad-request",
            Self::AuthorityMismatch => "authority-mismatch",
            Self::MethodRefused => "method-refused",
            Self::GrantRequired => "grant-required",
            Self::IdentityRejected(_) => "identity-rejected",
            Self::GrantDenied | Self::HostDenied => "grant-denied",
            Self::Busy => "too-many-requests",
            Self::WriteDenied(_) => "write-denied",
            Self::ProgramDenied(_) => "program-denied",
            Self::TokenRejected(_) => "token-rejected",
            Self::AccessDenied(_) => "access-denied",
            Self::Unconfirmed(_) => "unconfirmed",
            Self::StoreLocked | Self::StoreUnavailable => "store-locked",
            Self::CredentialUnavailable(_) | Self::LoggedOut(_) | Self::TokenService(_) => "credential-unavailable",
            Self::AuditUnavailable => "audit-unavailable",
            Self::ClientTimeout => "client-timeout",
            Self::Upstream(failure) | Self::Unconnected { failure, .. } => match failure.class() {
                FailureClass::Unreachable => "upstream-unreachable",
                FailureClass::Untrusted => "upstream-untrusted",
                FailureClass::Timeout => "upstream-timeout",
            },
            Self::CorporateProxy(error) if error.problem == ProxyProblem::Silent => "upstream-timeout",
            Self::CorporateProxy(_) => "upstream-unreachable",
            Self::UpstreamUnsafe | Self::UpstreamFraming | Self::UpstreamUnreadable => "upstream-unsafe",
        }
    }

    /// HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::AuthorityMismatch => StatusCode::MISDIRECTED_REQUEST,
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::GrantRequired | Self::IdentityRejected(_) => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            // cargo then knows that the index needs a token, and asks its credential provider or proposes `cargo login`.
            Self::LoggedOut(_) => StatusCode::UNAUTHORIZED,
            Self::GrantDenied
            | Self::HostDenied
            | Self::WriteDenied(_)
            | Self::ProgramDenied(_)
            | Self::TokenRejected(_)
            | Self::AccessDenied(_)
            | Self::Unconfirmed(_)
            | Self::StoreLocked
            | Self::StoreUnavailable => StatusCode::FORBIDDEN,
            Self::CorporateProxy(error) if error.problem == ProxyProblem::Silent => StatusCode::GATEWAY_TIMEOUT,
            Self::CredentialUnavailable(_)
            | Self::TokenService(_)
            | Self::CorporateProxy(_)
            | Self::UpstreamUnsafe
            | Self::UpstreamFraming
            | Self::UpstreamUnreadable => StatusCode::BAD_GATEWAY,
            Self::Busy | Self::AuditUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::ClientTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::Upstream(failure) | Self::Unconnected { failure, .. } => match failure.class() {
                FailureClass::Unreachable | FailureClass::Untrusted => StatusCode::BAD_GATEWAY,
                FailureClass::Timeout => StatusCode::GATEWAY_TIMEOUT,
            },
        }
    }

    /// Reason for the log, if the registry, its token or the network is the cause and not the client.
    pub(crate) fn log_reason(&self) -> Option<&'static str> {
        match self {
            Self::Upstream(failure) | Self::Unconnected { failure, .. } => Some(failure.predicate()),
            Self::CorporateProxy(_) => Some(UpstreamFailure::CorporateProxy.predicate()),
            Self::UpstreamFraming => Some("answered with a transfer coding that regauth did not ask for"),
            Self::UpstreamUnreadable => Some("gave an answer of Git LFS that regauth could not search"),
            Self::TokenRejected(_) => Some("rejected the token"),
            Self::Unconfirmed(_) => Some("was not asked: its configuration goes beyond what the token was given for"),
            Self::StoreLocked => Some("was not asked: the store is locked"),
            Self::StoreUnavailable => Some("was not asked: the store cannot be read"),
            Self::CredentialUnavailable(_) | Self::LoggedOut(_) => Some("was not asked: there is no token"),
            Self::TokenService(_) => Some("was not asked: its token service gave no token"),
            Self::ClientTimeout => Some("got half a request: the client stopped sending"),
            Self::BadRequest
            | Self::Malformed(_)
            | Self::AccessDenied(_)
            | Self::AuthorityMismatch
            | Self::MethodRefused
            | Self::GrantRequired
            | Self::IdentityRejected(_)
            | Self::GrantDenied
            | Self::HostDenied
            | Self::Busy
            | Self::AuditUnavailable
            | Self::WriteDenied(_)
            | Self::ProgramDenied(_)
            | Self::UpstreamUnsafe => None,
        }
    }

    /// The message, and the command that explains the code.
    fn body(&self) -> String {
        format!(
            "{} More: `regauthctl explain {}`.\n",
            self.message().trim_end(),
            self.code()
        )
    }

    /// Response for hyper to send.
    pub fn response(&self, format: BodyFormat) -> Response<Full<Bytes>> {
        let body = match format {
            BodyFormat::Text => self.body(),
            BodyFormat::Json | BodyFormat::Npm => self.json(),
        };
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = self.status();
        // npm would print the text twice.
        let reason = Some(self.reason_phrase()).filter(|_| format != BodyFormat::Npm);
        if let Some(Ok(reason)) = reason.map(|reason| ReasonPhrase::try_from(reason.into_bytes())) {
            response.extensions_mut().insert(reason);
        }
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(format.media_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REGAUTH_ERROR, HeaderValue::from_static(self.code()));
        if let Some((name, value)) = self.extra_header() {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// Message in the field that each program reads: npm `error`, cargo `errors[].detail`, clients of container registries
    /// `errors[].message` after its code, git-lfs `message`.
    fn json(&self) -> String {
        let text = self.message();
        let text = text.trim_end();
        let error = json!({"code": self.oci_code(), "message": text, "detail": text});
        json!({"error": text, "errors": [error], "message": text}).to_string()
    }

    /// Code of the OCI distribution specification, "Error Codes".
    fn oci_code(&self) -> &'static str {
        match self.status() {
            _ if *self == Self::AuditUnavailable => "UNKNOWN",
            StatusCode::FORBIDDEN => "DENIED",
            StatusCode::PROXY_AUTHENTICATION_REQUIRED | StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST => "UNSUPPORTED",
            StatusCode::SERVICE_UNAVAILABLE => "TOOMANYREQUESTS",
            _ => "UNKNOWN",
        }
    }

    /// Reason phrase: the status in words and the message, in one line of plain ASCII.
    fn reason_phrase(&self) -> String {
        let status = self.status().canonical_reason().unwrap_or_default();
        let message = self.message();
        let printable = message.trim_end().chars().filter(|letter| *letter != '`');
        let printable = printable.map(|letter| if (' '..='~').contains(&letter) { letter } else { ' ' });
        format!("{status}: {}", printable.collect::<String>())
    }

    /// Header that lets a client react without a person.
    fn extra_header(&self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::GrantRequired | Self::IdentityRejected(_) => Some((PROXY_AUTHENTICATE, "Basic realm=\"regauth\"")),
            Self::Busy => Some((RETRY_AFTER, "1")),
            _ => None,
        }
    }

    /// Response to the CONNECT itself, as text. The connection ends with it.
    pub fn raw_response(&self) -> String {
        let (status, code, text, reason) = (self.status(), self.code(), self.body(), self.reason_phrase());
        let extra_header = self
            .extra_header()
            .map_or_else(String::new, |(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
             connection: close\r\n{extra_header}regauth-error: {code}\r\n\r\n{text}",
            status.as_u16(),
            text.len(),
        )
    }
}

impl From<CorporateProxyError> for ProxyError {
    fn from(error: CorporateProxyError) -> Self {
        Self::CorporateProxy(Box::new(error))
    }
}

/// Header with the code of an error response.
pub const REGAUTH_ERROR: HeaderName = HeaderName::from_static("regauth-error");

/// Addresses of one upstream that an error names.
const MAX_ADDRESSES: usize = 4;

#[cfg(test)]
mod tests;
