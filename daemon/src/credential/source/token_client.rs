//! HTTP client for token services: the identity providers of CI systems, and exchanges.
//!
//! It opens connections as a registry's upstream does: verified TLS with the system's roots and the registry's `ca-file`,
//! through the corporate proxy, before the connector's deadlines. It follows no redirect, and an answer is limited in
//! size and time. It logs nothing, because both directions carry secrets.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Either, Full, Limited};
use regauth_shared::Secret;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use url::Url;

use crate::credential::source::{FetchError, redact};
use crate::host::Host;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::{Trust, Upstream, UpstreamFailure};

/// Client for the token services of one registry.
#[derive(Debug)]
pub(crate) struct TokenClient {
    /// `None` if rustls does not take the roots.
    upstream: Option<Upstream>,
}

impl TokenClient {
    /// Client that dials with `dialer` and trusts only `trust`, which must have no client certificate: that is a
    /// credential for the registry.
    pub(crate) fn new(dialer: &Dialer, trust: Trust) -> Self {
        Self {
            upstream: Upstream::new(dialer, trust, 1).ok(),
        }
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// [`FetchError`] if the service gives no answer, redirects, or answers with an error; the message has the service's
    /// own reason without secrets.
    pub(super) async fn send(&self, request: ServiceRequest) -> Result<ServiceAnswer, FetchError> {
        let ServiceRequest { request, host, secrets } = request;
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.answer(request, &host));
        let late = || FetchError::new(format!("{host} gave no answer within {} s", ANSWER_TIMEOUT.as_secs()));
        let answer = answer.await.map_err(|_| late())??;
        answer.check(&host, &secrets)?;
        Ok(answer)
    }

    async fn answer(&self, request: Request<Full<Bytes>>, host: &str) -> Result<ServiceAnswer, FetchError> {
        let unusable = ProxyError::Upstream(UpstreamFailure::CertificatesUnreadable);
        let sent = match &self.upstream {
            Some(upstream) => upstream.send(0, request.map(Either::Right)).await,
            None => Err(unusable),
        };
        // The connection is in use until the body has been read.
        let (response, _connection) = sent.map_err(|error| no_answer(host, &error))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        let body = body.map_err(|_| FetchError::new(format!("the answer of {host} was cut, or is too long")))?;
        Ok(ServiceAnswer {
            host: host.to_owned(),
            status: head.status,
            headers: head.headers,
            body: body.to_bytes(),
        })
    }
}

fn no_answer(host: &str, error: &ProxyError) -> FetchError {
    match error {
        ProxyError::Upstream(failure) => {
            FetchError::new(format!("{host} {}", failure.predicate())).hint(failure.remedy())
        }
        ProxyError::CorporateProxy(error) => {
            FetchError::new(format!("{host} cannot be reached: {error}")).hint(error.advice().trim_end_matches('.'))
        }
        _ => FetchError::new(format!("{host} was not asked: {}", error.code())),
    }
}

/// URL of a token service: `https://`, or `http://` on loopback, without user information and fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Endpoint at the root of a host, such as `corp.jfrog.io` or `localhost:8443`.
    ///
    /// # Errors
    /// [`InvalidEndpoint`] if the text is no host with an optional port.
    pub(crate) fn of_host(text: &str) -> Result<Self, InvalidEndpoint> {
        if text.contains(['/', '?', '#', '@']) {
            return Err(InvalidEndpoint::NotAHost);
        }
        format!("https://{text}").parse().map_err(|_| InvalidEndpoint::NotAHost)
    }

    /// Google's metadata server, which is reached in the clear. Its name leads to an address of the machine's own link.
    pub(super) fn google_metadata() -> Self {
        // A constant URL is valid.
        Self(Url::parse("http://metadata.google.internal/").unwrap_or_else(|_| unreachable!("a valid URL")))
    }

    /// The URL with these path segments appended, each percent-encoded.
    pub(super) fn join<'a>(&self, segments: impl IntoIterator<Item = &'a str>) -> Self {
        let mut url = self.0.clone();
        // An http or https URL has path segments.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        Self(url)
    }

    /// The URL with a slash at its end.
    pub(super) fn with_final_slash(self) -> Self {
        self.join([""])
    }

    /// The URL with these parameters appended to its query.
    pub(super) fn with_query<'a>(&self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let mut url = self.0.clone();
        url.query_pairs_mut().extend_pairs(pairs);
        Self(url)
    }

    /// Host and, if it is not the default, port.
    pub(super) fn host(&self) -> String {
        let host = self.0.host_str().unwrap_or_default();
        match self.0.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        }
    }

    /// The URL.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let url: Url = text.parse().map_err(|_| InvalidEndpoint::NotAUrl)?;
        let host = url.host_str().and_then(|host| host.parse::<Host>().ok());
        let host = host.ok_or(InvalidEndpoint::NotAUrl)?;
        let has_login = !url.username().is_empty() || url.password().is_some();
        match url.scheme() {
            _ if has_login || url.fragment().is_some() => Err(InvalidEndpoint::NotAUrl),
            "https" => Ok(Self(url)),
            "http" if host.is_loopback() => Ok(Self(url)),
            "http" => Err(InvalidEndpoint::InTheClear),
            _ => Err(InvalidEndpoint::NotAUrl),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Text that is no endpoint. The text is not repeated: it may hold a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Not a URL of the wanted form.
    #[error("expected a URL such as https://login.corp.example/token, without a user and a fragment")]
    NotAUrl,
    /// Not a host.
    #[error("expected a host such as corp.jfrog.io, without https:// and path")]
    NotAHost,
    /// `http://` beyond loopback.
    #[error("a token service is asked over https://; http:// is for loopback only")]
    InTheClear,
}

/// Request to a token service, and the secrets in it, which are cut out of the service's error messages.
#[derive(Debug)]
pub(super) struct ServiceRequest {
    request: Request<Full<Bytes>>,
    host: String,
    secrets: Vec<Secret>,
}

impl ServiceRequest {
    /// GET.
    pub(super) fn get(endpoint: &Endpoint) -> Self {
        Self::new(Method::GET, endpoint, Bytes::new())
    }

    /// POST without a body.
    pub(super) fn post(endpoint: &Endpoint) -> Self {
        Self::new(Method::POST, endpoint, Bytes::new())
    }

    /// POST with a JSON document.
    pub(super) fn post_json(endpoint: &Endpoint, document: &Value) -> Self {
        Self::new(Method::POST, endpoint, document.to_string().into())
            .header(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))
    }

    /// POST with a form.
    pub(super) fn post_form(endpoint: &Endpoint, pairs: &[(&str, &str)]) -> Self {
        let form = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(pairs)
            .finish();
        let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
        Self::new(Method::POST, endpoint, form.into()).header(header::CONTENT_TYPE, form_type)
    }

    fn new(method: Method, endpoint: &Endpoint, body: Bytes) -> Self {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method;
        // A parsed URL is a valid URI; an invalid one is refused by the upstream.
        *request.uri_mut() = endpoint.url().as_str().parse().unwrap_or_default();
        let service = Self {
            request,
            host: endpoint.host(),
            secrets: Vec::new(),
        };
        let accept = HeaderValue::from_static("application/json");
        service
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, accept)
    }

    /// Sets a header.
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.request.headers_mut().insert(name, value);
        self
    }

    /// Sets `Authorization: Bearer`.
    pub(super) fn bearer(self, secret: &Secret) -> Self {
        self.secret_header(header::AUTHORIZATION, &format!("Bearer {}", secret.expose()), secret)
    }

    /// Sets `Authorization: Basic`. The caller has percent-encoded both texts if its protocol says so.
    pub(super) fn basic(self, user: &str, password: &str, secret: &Secret) -> Self {
        let login = STANDARD.encode(format!("{user}:{password}"));
        self.secret_header(header::AUTHORIZATION, &format!("Basic {login}"), secret)
    }

    /// Sets a header whose value contains a secret.
    pub(super) fn secret_header(self, name: HeaderName, text: &str, secret: &Secret) -> Self {
        // A secret with characters beyond ASCII gives no header, and the service answers 401.
        let mut value = HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        self.header(name, value).hiding(secret)
    }

    /// Names a secret in the request.
    pub(super) fn hiding(mut self, secret: &Secret) -> Self {
        self.secrets.push(secret.clone());
        self
    }
}

/// Answer of a token service.
pub(super) struct ServiceAnswer {
    host: String,
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

impl ServiceAnswer {
    /// Reads the JSON document.
    ///
    /// # Errors
    /// [`FetchError`] if the body is something else; the message repeats nothing of it.
    pub(super) fn json<T: DeserializeOwned>(&self) -> Result<T, FetchError> {
        serde_json::from_slice(&self.body).map_err(|error| self.unreadable(&error))
    }

    /// The body.
    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`FetchError`] if the text cannot be one.
    pub(super) fn token(&self, text: &str) -> Result<Secret, FetchError> {
        let host = &self.host;
        Secret::parse(text).map_err(|error| FetchError::new(format!("the answer of {host} has no token: {error}")))
    }

    /// Error of an answer that lacks a part.
    pub(super) fn lacks(&self, part: &str) -> FetchError {
        FetchError::new(format!("the answer of {} has no {part}", self.host))
    }

    fn unreadable(&self, error: &serde_json::Error) -> FetchError {
        let host = &self.host;
        if error.is_data() {
            // serde's messages may repeat a value of the document.
            return FetchError::new(format!("the answer of {host} lacks the fields of a token"));
        }
        let kind = self
            .headers
            .get(header::CONTENT_TYPE)
            .and_then(|kind| kind.to_str().ok());
        let kind = kind.map_or_else(String::new, |kind| {
            format!(" ({})", kind.split(';').next().unwrap_or_default())
        });
        FetchError::new(format!("{host} answered with something other than JSON{kind}"))
            .hint("compare the address of the service with its documentation: this looks like a web page")
    }

    /// Passes an answer with status 2xx.
    fn check(&self, host: &str, secrets: &[Secret]) -> Result<(), FetchError> {
        if self.status.is_success() {
            return Ok(());
        }
        let status = self.status.as_u16();
        if self.status.is_redirection() {
            return Err(FetchError::new(format!(
                "{host} answered {status}, a redirect, which an identity is never sent along"
            ))
            .hint("if the service has moved, configure its new address"));
        }
        let reason = self.reason(secrets);
        let said = reason.as_ref().map_or_else(String::new, |reason| format!(": {reason}"));
        let mut error = FetchError::new(format!("{host} answered {status}{said}"));
        error.code = self.oauth_code();
        error.retry_after = self.retry_after();
        error.hint = match self.clock_error() {
            Some(error) => Some(format!("this machine's clock is {error} than that of {host}: set it")),
            None if reason.is_none() => Some("compare the address of the service with its documentation".to_owned()),
            None => None,
        };
        Err(error)
    }

    /// Error code of a short form (RFC 6749, section 5.2).
    fn oauth_code(&self) -> Option<String> {
        let document: Value = serde_json::from_slice(&self.body).ok()?;
        let code = document.get("error")?.as_str()?;
        let is_code = code.len() <= 64 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        is_code.then(|| code.to_owned())
    }

    /// The service's own reason, without secrets: the fields of RFC 6749 (section 5.2) and of the services' own formats.
    fn reason(&self, secrets: &[Secret]) -> Option<String> {
        let text = match serde_json::from_slice::<Value>(&self.body) {
            Ok(document) => {
                let parts = REASON_POINTERS
                    .iter()
                    .filter_map(|pointer| document.pointer(pointer)?.as_str());
                let mut parts: Vec<&str> = parts.filter(|part| !part.is_empty()).collect();
                parts.dedup();
                parts.join(": ")
            }
            Err(_) => xml_reason(&String::from_utf8_lossy(&self.body)),
        };
        let secrets: Vec<&str> = secrets.iter().map(Secret::expose).collect();
        let reason = redact::tail(text.as_bytes(), secrets.join(" ").as_bytes(), usize::MAX);
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let end = reason
            .char_indices()
            .nth(MAX_REASON_CHARS)
            .map_or(reason.len(), |(at, _)| at);
        let reason = reason.get(..end).unwrap_or_default();
        (!reason.is_empty()).then(|| reason.to_owned())
    }

    /// Time until the service wants to be asked again, in seconds (RFC 9110, section 10.2.3).
    fn retry_after(&self) -> Option<Duration> {
        let text = self.headers.get(header::RETRY_AFTER)?.to_str().ok()?;
        let seconds = match text.parse::<u64>() {
            Ok(seconds) => Duration::from_secs(seconds),
            Err(_) => (http_date(text)? - OffsetDateTime::now_utc()).try_into().ok()?,
        };
        Some(seconds.min(MAX_RETRY_AFTER))
    }

    /// Error of this machine's clock, if the service's `Date` shows a large one: signed tokens are not accepted then.
    fn clock_error(&self) -> Option<String> {
        let date = http_date(self.headers.get(header::DATE)?.to_str().ok()?)?;
        let error = OffsetDateTime::now_utc() - date;
        let (span, direction) = match Duration::try_from(error) {
            Ok(span) => (span, "ahead, later"),
            Err(_) => (error.unsigned_abs(), "behind, earlier"),
        };
        let span = Duration::from_secs(span.as_secs());
        (span > CLOCK_TOLERANCE).then(|| format!("{} {direction}", humantime::format_duration(span)))
    }
}

/// Parses the preferred form of a date (RFC 9110, section 5.6.7), which is RFC 2822's with another name of the zone.
fn http_date(text: &str) -> Option<OffsetDateTime> {
    let date = text.strip_suffix("GMT")?;
    OffsetDateTime::parse(&format!("{date}+0000"), &Rfc2822).ok()
}

/// Code and message of AWS's XML errors. Any other text gives nothing: it may be a web page.
fn xml_reason(text: &str) -> String {
    let parts = ["Code", "Message"].map(|name| xml_element(text, name));
    parts.into_iter().flatten().collect::<Vec<_>>().join(": ")
}

/// Text of the first element of this name that has no attributes. The texts of AWS's answers need no unescaping.
pub(super) fn xml_element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    rest.split_once(&format!("</{name}>")).map(|(value, _)| value)
}

/// Fields in which services give their reason: OAuth 2.0 and Azure, Google, GitHub and AWS, Cloudsmith, JFrog, Vault.
const REASON_POINTERS: [&str; 10] = [
    "/error",
    "/error_description",
    "/error/status",
    "/error/message",
    "/__type",
    "/message",
    "/Message",
    "/detail",
    "/errors/0/message",
    "/errors/0",
];
const USER_AGENT: HeaderValue = HeaderValue::from_static(concat!("regauth/", env!("CARGO_PKG_VERSION")));
/// Time for a whole exchange of one request and its answer. It is shorter than a request's wait for a refresh.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);
/// Longest answer that is read: tokens with many claims take up to 16 KiB.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
const MAX_REASON_CHARS: usize = 300;
/// Longest `Retry-After` that is obeyed: a service must not end the renewal by a wrong header.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// Services accept signed tokens within a minute or more of their own clock.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests;
