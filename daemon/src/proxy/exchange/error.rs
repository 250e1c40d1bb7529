//! Every response that we author.
//!
//! Each carries `regauth-error: CODE` and two plain sentences: what happened, what to do. Nothing from the request is
//! echoed. What a retry can't cure answers 403, which cargo prints and does not repeat; what it can, 502 to 504. Programs
//! that print no other body than their registry's JSON get it as that.

use bytes::Bytes;
use http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE, RETRY_AFTER,
};
use http::{Response, StatusCode};
use http_body_util::{Either, Full};
use memchr::memmem;
use regauth_shared::RegistryName;
use serde_json::json;

use crate::proxy::exchange::body::MinRateBody;

/// What goes to a client: the registry's body as it streams in, or a short text of ours.
pub type Body = Either<MinRateBody, Full<Bytes>>;

/// Why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyError {
    /// Not a CONNECT or absolute-form request, a bad authority, ambiguous framing or path.
    BadRequest,
    /// SNI, Host, `:authority` or the absolute form differs from the CONNECT authority.
    AuthorityMismatch,
    /// TRACE, or CONNECT inside CONNECT.
    MethodRefused,
    /// The client is neither this user nor the bearer of a grant.
    GrantRequired,
    /// The client's grant does not cover this registry or operation.
    GrantDenied,
    /// The client's grant does not open this host: it is neither a registry's nor a public one.
    PlaceDenied,
    /// The client has as much open as it may.
    Busy,
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
    /// The upstream repeats the credential, or switches protocols.
    UpstreamUnsafe,
}

impl ProxyError {
    /// The value of `regauth-error`.
    pub fn code(&self) -> &'static str {
        match self {
            Self::BadRequest => "bad-request",
            Self::AuthorityMismatch => "authority-mismatch",
            Self::MethodRefused => "method-refused",
            Self::GrantRequired => "grant-required",
            Self::GrantDenied | Self::PlaceDenied => "grant-denied",
            Self::Busy => "too-many-requests",
            Self::WriteDenied(_) => "write-denied",
            Self::TokenRejected(_) => "token-rejected",
            Self::StoreLocked => "store-locked",
            Self::CredentialUnavailable(_) => "credential-unavailable",
            Self::UpstreamUnreachable => "upstream-unreachable",
            Self::UpstreamUntrusted => "upstream-untrusted",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamUnsafe => "upstream-unsafe",
        }
    }

    /// The status.
    pub fn status(&self) -> StatusCode {
        match self {
            Self::BadRequest => StatusCode::BAD_REQUEST,
            Self::AuthorityMismatch => StatusCode::MISDIRECTED_REQUEST,
            Self::MethodRefused => StatusCode::METHOD_NOT_ALLOWED,
            Self::GrantRequired => StatusCode::PROXY_AUTHENTICATION_REQUIRED,
            Self::GrantDenied
            | Self::PlaceDenied
            | Self::WriteDenied(_)
            | Self::TokenRejected(_)
            | Self::StoreLocked => StatusCode::FORBIDDEN,
            Self::CredentialUnavailable(_)
            | Self::UpstreamUnreachable
            | Self::UpstreamUntrusted
            | Self::UpstreamUnsafe => StatusCode::BAD_GATEWAY,
            Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// What happened, what to do. Constant but for the registry's name, which is ours and not the client's.
    pub fn text(&self) -> String {
        let text = match self {
            Self::WriteDenied(name) => return WRITE_DENIED.replace("{name}", name.as_str()),
            Self::TokenRejected(name) => return TOKEN_REJECTED.replace("{name}", name.as_str()),
            Self::CredentialUnavailable(name) => return CREDENTIAL_UNAVAILABLE.replace("{name}", name.as_str()),
            Self::BadRequest => BAD_REQUEST,
            Self::AuthorityMismatch => AUTHORITY_MISMATCH,
            Self::MethodRefused => METHOD_REFUSED,
            Self::GrantRequired => GRANT_REQUIRED,
            Self::GrantDenied => GRANT_DENIED,
            Self::PlaceDenied => PLACE_DENIED,
            Self::Busy => BUSY,
            Self::StoreLocked => STORE_LOCKED,
            Self::UpstreamUnreachable => UPSTREAM_UNREACHABLE,
            Self::UpstreamUntrusted => UPSTREAM_UNTRUSTED,
            Self::UpstreamTimeout => UPSTREAM_TIMEOUT,
            Self::UpstreamUnsafe => UPSTREAM_UNSAFE,
        };
        text.to_owned()
    }

    /// The response, as hyper sends it.
    pub fn response(&self, form: BodyFormat) -> Response<Body> {
        let body = match form {
            BodyFormat::Text => self.text(),
            BodyFormat::Json => self.json(),
        };
        let mut response = Response::new(Either::Right(Full::new(Bytes::from(body))));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.media_type()));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(REGAUTH_ERROR, HeaderValue::from_static(self.code()));
        if let Some((name, value)) = self.what_next() {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }

    /// The text where each program looks for it: npm in `error`, cargo in `errors`, git-lfs in `message`.
    fn json(&self) -> String {
        let text = self.text();
        let text = text.trim_end();
        json!({"error": text, "errors": [{"detail": text}], "message": text}).to_string()
    }

    /// The header that tells a client's program what to do about it.
    fn what_next(&self) -> Option<(HeaderName, &'static str)> {
        match self {
            Self::GrantRequired => Some((PROXY_AUTHENTICATE, "Basic realm=\"regauth\"")),
            Self::Busy => Some((RETRY_AFTER, "1")),
            _ => None,
        }
    }

    /// The response as bytes, for an answer to CONNECT itself. The connection ends with it.
    pub fn raw_response(&self) -> String {
        let (status, code, text) = (self.status(), self.code(), self.text());
        let reason = status.canonical_reason().unwrap_or_default();
        let what_next = self
            .what_next()
            .map_or_else(String::new, |(name, value)| format!("{name}: {value}\r\n"));
        format!(
            "HTTP/1.1 {} {reason}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
             connection: close\r\n{what_next}regauth-error: {code}\r\n\r\n{text}",
            status.as_u16(),
            text.len(),
        )
    }
}

/// How a refusal is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFormat {
    /// For people.
    Text,
    /// For programs that read a registry's errors.
    Json,
}

impl BodyFormat {
    /// What fits a request with these headers. npm accepts anything and prints nothing but JSON; it says that it is npm.
    pub fn of(headers: &HeaderMap) -> Self {
        let accepts = |value: &HeaderValue| JSON.iter().any(|json| memmem::find(value.as_bytes(), json).is_some());
        if headers.get_all(ACCEPT).iter().any(accepts) || headers.contains_key(NPM_COMMAND) {
            Self::Json
        } else {
            Self::Text
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; charset=utf-8",
            Self::Json => "application/json",
        }
    }
}

/// What cargo, npm and git-lfs ask for.
const JSON: [&[u8]; 2] = [b"application/json", b"application/vnd.git-lfs+json"];
const NPM_COMMAND: HeaderName = HeaderName::from_static("npm-command");

/// The header that says which refusal it is.
pub const REGAUTH_ERROR: HeaderName = HeaderName::from_static("regauth-error");

const BAD_REQUEST: &str = "regauth is a forward proxy and did not understand this request as one for a single, \
    unambiguous place. Send CONNECT host:port or an absolute http:// URL, with a plain path.\n";
const AUTHORITY_MISMATCH: &str = "The request names another host than the connection was opened for, so regauth did not \
    send it. Open a connection of its own for each host.\n";
const METHOD_REFUSED: &str = "regauth does not forward this method. Use the methods of the registry's API.\n";
const GRANT_REQUIRED: &str = "regauth serves its own user and the bearers of grants, and cannot tell that this connection \
    is one of theirs. Run `regauthctl grant` as the user who runs regauthd, and use the proxy URL that it prints.\n";
const GRANT_DENIED: &str = "The grant that this client bears does not cover this registry or operation, or is over, so \
    nothing was sent. `regauthctl grant` makes another: --registry NAME opens a registry, --write its writes.\n";
const PLACE_DENIED: &str = "A grant opens registries and public hosts, and this host is neither. Connect to it without \
    the proxy, or have it added as a registry.\n";
const BUSY: &str =
    "This client has as many connections or requests open as one may. Repeat this when some have ended.\n";
const WRITE_DENIED: &str = "regauth keeps writes to the registry `{name}` closed, so nothing was sent. Open them for a \
    while with `regauthctl allow {name} --for 5m`, then repeat.\n";
const TOKEN_REJECTED: &str = "The registry `{name}` does not accept the token that regauth holds for it. Give it a new \
    one with `regauthctl rotate {name}`.\n";
const STORE_LOCKED: &str = "The store that keeps regauth's tokens is locked, so nothing was sent. Open it with \
    `regauthctl unlock`.\n";
const CREDENTIAL_UNAVAILABLE: &str = "regauth has no token for the registry `{name}` at hand, so nothing was sent. \
    `regauthctl show {name}` says why; `regauthctl rotate {name}` gives it a new one.\n";
const UPSTREAM_UNREACHABLE: &str =
    "regauth cannot reach the host. Check the network and the host's name, then repeat.\n";
const UPSTREAM_UNTRUSTED: &str = "The host's certificate is not one that regauth trusts, so nothing was sent. If it is \
    signed by a company's own authority, configure that as the registry's ca-file.\n";
const UPSTREAM_TIMEOUT: &str = "The host took the request and did not answer in time. Repeat it later.\n";
const UPSTREAM_UNSAFE: &str = "The host answered with the token in a header or left HTTP, so regauth kept its answer back. \
    Whoever runs the host should know.\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_two_sentences() {
        let name: RegistryName = "corp".parse().unwrap();
        for refusal in [
            ProxyError::BadRequest,
            ProxyError::AuthorityMismatch,
            ProxyError::MethodRefused,
            ProxyError::GrantRequired,
            ProxyError::GrantDenied,
            ProxyError::PlaceDenied,
            ProxyError::Busy,
            ProxyError::WriteDenied(name.clone()),
            ProxyError::TokenRejected(name.clone()),
            ProxyError::StoreLocked,
            ProxyError::CredentialUnavailable(name),
            ProxyError::UpstreamUnreachable,
            ProxyError::UpstreamUntrusted,
            ProxyError::UpstreamTimeout,
            ProxyError::UpstreamUnsafe,
        ] {
            let text = refusal.text();
            assert!(text.ends_with(".\n") && text.contains(". "), "{text}");
            assert!(!text.contains("  "), "{text}");
            assert!(refusal.raw_response().contains(refusal.code()));
        }
    }

    #[test]
    fn a_refusal_is_told_in_the_form_that_its_reader_reads() {
        for (name, value, form) in [
            ("accept", "*/*", BodyFormat::Text),
            ("accept", "text/html, application/xhtml+xml", BodyFormat::Text),
            ("accept", "application/json", BodyFormat::Json),
            (
                "accept",
                "application/vnd.npm.install-v1+json; q=1.0, application/json; q=0.8",
                BodyFormat::Json,
            ),
            (
                "accept",
                "application/vnd.git-lfs+json; charset=utf-8",
                BodyFormat::Json,
            ),
            ("npm-command", "publish", BodyFormat::Json),
        ] {
            let headers = HeaderMap::from_iter([(HeaderName::from_static(name), HeaderValue::from_static(value))]);
            assert_eq!(BodyFormat::of(&headers), form, "{name}: {value}");
        }
        assert_eq!(BodyFormat::of(&HeaderMap::new()), BodyFormat::Text);
        let refusal = ProxyError::WriteDenied("corp".parse().unwrap());
        let json: serde_json::Value = serde_json::from_str(&refusal.json()).unwrap();
        for told in [&json["error"], &json["errors"][0]["detail"], &json["message"]] {
            assert_eq!(told.as_str().unwrap(), refusal.text().trim_end());
        }
    }
}
