//! Every response that we author.
//!
//! Each carries `regauth-error: CODE` and two plain sentences: what happened, what to do. Nothing from the request is
//! echoed. What a retry can't cure answers 403, which cargo prints and does not repeat; what it can, 502 to 504.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use regauth_shared::RegistryName;

/// What goes to a client: the registry's body as it streams in, or a short text of ours.
pub type Body = Either<Incoming, Full<Bytes>>;

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a CONNECT or absolute-form request, a bad authority, ambiguous framing or path.
    BadRequest,
    /// SNI, Host, `:authority` or the absolute form differs from the CONNECT authority.
    AuthorityMismatch,
    /// TRACE, or CONNECT inside CONNECT.
    MethodRefused,
    /// A write, and writes are closed.
    WriteDenied(RegistryName),
    /// The registry has rejected this generation.
    TokenRejected(RegistryName),
    /// The store cannot be opened without a person.
    StoreLocked,
    /// The source does not have the credential or failed.
    CredentialUnavailable(RegistryName),
    /// The upstream cannot be reached.
    UpstreamUnreachable,
    /// The upstream proves no identity that we may trust.
    UpstreamUntrusted,
    /// The upstream is silent.
    UpstreamTimeout,
}

impl Refusal {
    /// The value of `regauth-error`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::AuthorityMismatch => "authority-mismatch",
            Self::MethodRefused => "method-refused",
            Self::WriteDenied(_) => "write-denied",
            Self::TokenRejected(_) => "token-rejected",
            Self::StoreLocked => "store-locked",
            Self::CredentialUnavailable(_) => "credential-unavailable",
            Self::UpstreamUnreachable => "upstream-unreachable",
            Self::UpstreamUntrusted => "upstream-untrusted",
            Self::UpstreamTimeout => "upstream-timeout",
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::AuthorityMismatch => StatusCode::MISDIRECTED_REQUEST,
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::WriteDenied(_) | Self::TokenRejected(_) | Self::StoreLocked => StatusCode::FORBIDDEN,
            Self::CredentialUnavailable(_) | Self::UpstreamUnreachable | Self::UpstreamUntrusted => {
                StatusCode::BAD_GATEWAY
            }
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// What happened, what to do. Constant but for the registry's name, which is ours and not the client's.
    pub fn text(&self) -> String {
        match self {
            Self::BadRequest => "regauth is a forward proxy and did not understand this request as one for a single, \
                unambiguous place. Send CONNECT host:port or an absolute http:// URL, with a plain path.\n"
                .to_owned(),
            Self::AuthorityMismatch => "The request names another host than the connection was opened for, so regauth \
                did not send it. Open a connection of its own for each host.\n"
                .to_owned(),
            Self::MethodRefused => {
                "regauth does not forward this method. Use the methods of the registry's API.\n".to_owned()
            }
            Self::WriteDenied(name) => format!(
                "regauth keeps writes to the registry `{name}` closed, so nothing was sent. Open them for a while with \
                 `regauthctl allow {name} --for 5m`, then repeat.\n"
            ),
            Self::TokenRejected(name) => format!(
                "The registry `{name}` does not accept the token that regauth holds for it. Give it a new one with \
                 `regauthctl rotate {name}`.\n"
            ),
            Self::StoreLocked => "The store that keeps regauth's tokens is locked, so nothing was sent. Open it with \
                `regauthctl unlock`.\n"
                .to_owned(),
            Self::CredentialUnavailable(name) => format!(
                "regauth has no token for the registry `{name}` at hand, so nothing was sent. `regauthctl show {name}` \
                 says why; `regauthctl rotate {name}` gives it a new one.\n"
            ),
            Self::UpstreamUnreachable => "regauth cannot reach the host. Check the network and the host's name, then \
                repeat.\n"
                .to_owned(),
            Self::UpstreamUntrusted => {
                "The host's certificate is not one that regauth trusts, so nothing was sent. If \
                it is signed by a company's own authority, configure that as the registry's ca-file.\n"
                    .to_owned()
            }
            Self::UpstreamTimeout => {
                "The host took the request and did not answer in time. Repeat it later.\n".to_owned()
            }
        }
    }

    /// The response, as hyper sends it.
    pub fn response(&self) -> Response<Body> {
        let mut response = Response::new(Either::Right(Full::new(Bytes::from(self.text()))));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REGAUTH_ERROR, HeaderValue::from_static(self.code()));
        response
    }

    /// The response as bytes, for an answer to CONNECT itself. The connection ends with it.
    pub fn raw_response(&self) -> String {
        let (status, code, text) = (self.status(), self.code(), self.text());
        let reason = status.canonical_reason().unwrap_or_default();
        format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
             connection: close\r\nregauth-error: {code}\r\n\r\n{text}",
            status.as_u16(),
            text.len(),
        )
    }
}

/// The header that says which refusal it is.
pub const REGAUTH_ERROR: HeaderName = HeaderName::from_static("regauth-error");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_two_sentences() {
        let name: RegistryName = "corp".parse().unwrap();
        for refusal in [
            Refusal::BadRequest,
            Refusal::AuthorityMismatch,
            Refusal::MethodRefused,
            Refusal::WriteDenied(name.clone()),
            Refusal::TokenRejected(name.clone()),
            Refusal::StoreLocked,
            Refusal::CredentialUnavailable(name),
            Refusal::UpstreamUnreachable,
            Refusal::UpstreamUntrusted,
            Refusal::UpstreamTimeout,
        ] {
            let text = refusal.text();
            assert!(text.ends_with(".\n") && text.contains(". "), "{text}");
            assert!(!text.contains("  "), "{text}");
            assert!(refusal.raw_response().contains(refusal.code()));
        }
    }
}
