//! Answer of a token service: its JSON document, or the service's own reason for an error. Pure, but for the clock.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use regauth_shared::Secret;
use serde::de::DeserializeOwned;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::credential::leak_detector::SecretLeakDetector;
use crate::credential::source::{FetchError, redact};

/// Answer of a token service.
pub(crate) struct ServiceAnswer {
    /// Host of the service, for messages.
    pub(super) host: String,
    /// Status code.
    pub(super) status: StatusCode,
    /// Headers.
    pub(super) headers: HeaderMap,
    /// The whole body.
    pub(super) body: Bytes,
}

impl ServiceAnswer {
    /// Reads the JSON document.
    ///
    /// # Errors
    /// [`FetchError`] if the body is something else; the message repeats nothing of it.
    pub(crate) fn json<T: DeserializeOwned>(&self) -> Result<T, FetchError> {
        serde_json::from_slice(&self.body).map_err(|error| self.unreadable(&error))
    }

    /// Reads a token.
    ///
    /// # Errors
    /// [`FetchError`] if the text cannot be one.
    pub(crate) fn token(&self, text: &str) -> Result<Secret, FetchError> {
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
        let given = self
            .headers
            .get(header::CONTENT_TYPE)
            .map_or(&b""[..], |kind| kind.as_bytes());
        // Only known texts are repeated.
        let kind = PAGE_TYPES.iter().find(|kind| given.starts_with(kind.as_bytes()));
        let kind = kind.map_or_else(String::new, |kind| format!(" ({kind})"));
        FetchError::new(format!("{host} answered with something other than JSON{kind}"))
            .hint("compare the address of the service with its documentation: this looks like a web page")
    }

    /// Passes an answer with status 2xx.
    ///
    /// # Errors
    /// [`FetchError`] with the service's own reason, without `secrets`.
    pub(super) fn check(&self, secrets: &[Secret]) -> Result<(), FetchError> {
        let host = &self.host;
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
        let said = match &reason {
            Reason::None => String::new(),
            Reason::Withheld => "; its reason repeats a secret and is not shown".to_owned(),
            Reason::Text(text) => format!(": {text}"),
        };
        let mut error = FetchError::new(format!("{host} answered {status}{said}"));
        error.status = Some(status);
        error.code = self.oauth_code();
        error.retry_after = self.retry_after();
        error.hint = match self.clock_error() {
            Some(error) => Some(format!("this machine's clock is {error} than that of {host}: set it")),
            None if reason == Reason::None => {
                Some("compare the address of the service with its documentation".to_owned())
            }
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

    /// The service's own reason: the fields of RFC 6749 (section 5.2) and of the services' own formats. One with a secret in
    /// any encoding is withheld whole.
    fn reason(&self, secrets: &[Secret]) -> Reason {
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
        let is_in_text = |secret: &Secret| {
            let detector = SecretLeakDetector::new(secret.expose(), secret.expose());
            detector.finds_secret_in(text.as_bytes())
        };
        if secrets.iter().any(is_in_text) {
            return Reason::Withheld;
        }
        let reason = redact::tail(text.as_bytes(), b"", usize::MAX);
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        let end = reason
            .char_indices()
            .nth(MAX_REASON_CHARS)
            .map_or(reason.len(), |(at, _)| at);
        match reason.get(..end).unwrap_or_default() {
            "" => Reason::None,
            reason => Reason::Text(reason.to_owned()),
        }
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

/// Reason for an error, as the service gives it.
#[derive(Debug, PartialEq, Eq)]
enum Reason {
    /// None that can be read.
    None,
    /// It repeats a secret of the request.
    Withheld,
    /// A text without anything that looks like a token.
    Text(String),
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
/// Media types that answers of a wrong address have.
const PAGE_TYPES: [&str; 4] = ["text/html", "text/plain", "text/xml", "application/xml"];
const MAX_REASON_CHARS: usize = 300;
/// Longest `Retry-After` that is obeyed: a service must not end the renewal by a wrong header.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);
/// Services accept signed tokens within a minute or more of their own clock.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use http::header::{HeaderName, HeaderValue};

    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> ServiceAnswer {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
        ServiceAnswer {
            host: "sts.example".to_owned(),
            status: StatusCode::from_u16(status).unwrap(),
            headers: headers.collect(),
            body: body.to_owned().into(),
        }
    }

    #[test]
    fn a_reason_that_repeats_a_secret_in_any_encoding_is_withheld() {
        let secrets = ["canary-identity", "pin7"].map(|text| Secret::parse(text).unwrap());
        for description in [
            "bad canary-identity",
            "bad Y2FuYXJ5LWlkZW50aXR5",
            "bad 63616e6172792d6964656e74697479",
            "bad canary%2Didentity",
            "got pin7.",
        ] {
            let body = format!(r#"{{"error":"invalid_grant","error_description":"{description}"}}"#);
            let error = answer(400, &[], &body).check(&secrets).unwrap_err();
            let expected = "sts.example answered 400; its reason repeats a secret and is not shown";
            assert_eq!((&*error.message, error.hint), (expected, None), "{description}");
        }
        let error = answer(400, &[], r#"{"error":"spin7x"}"#).check(&secrets).unwrap_err();
        assert_eq!(error.message, "sts.example answered 400: spin7x");
    }

    #[test]
    fn an_error_has_the_services_own_reason_without_secrets() {
        let secret = Secret::parse("canary-identity").unwrap();
        for (body, expected) in [
            (
                r#"{"error":"invalid_grant","error_description":"bad eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl"}"#,
                "sts.example answered 400: invalid_grant: bad …",
            ),
            (
                r#"{"error":{"code":403,"status":"DENIED","message":"no"}}"#,
                "sts.example answered 400: DENIED: no",
            ),
            (
                r#"{"errors":[{"code":"X","message":"no\nprovider"}]}"#,
                "sts.example answered 400: no provider",
            ),
            (
                r#"{"errors":["permission denied"]}"#,
                "sts.example answered 400: permission denied",
            ),
            (r#"{"detail":"not found"}"#, "sts.example answered 400: not found"),
            (
                "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
                "sts.example answered 400: AccessDenied: no",
            ),
            ("<html><h1>canary</h1></html>", "sts.example answered 400"),
        ] {
            let error = answer(400, &[], body).check(std::slice::from_ref(&secret)).unwrap_err();
            assert_eq!(error.message, expected);
        }
    }

    #[test]
    fn a_redirect_and_a_web_page_are_refused() {
        let redirect = answer(302, &[("location", "https://evil.example/")], "")
            .check(&[])
            .unwrap_err();
        assert!(redirect.message.contains("redirect"), "{redirect}");
        let page = answer(
            200,
            &[("content-type", "text/html; charset=utf-8")],
            "<html>canary</html>",
        );
        let error = page.json::<Value>().unwrap_err();
        assert_eq!(
            error.message,
            "sts.example answered with something other than JSON (text/html)"
        );
        let error = answer(200, &[("content-type", "text/canary")], "x")
            .json::<Value>()
            .unwrap_err();
        assert!(!error.message.contains("canary"), "{error}");
    }

    #[test]
    fn a_wrong_clock_and_a_wait_are_read_from_the_headers() {
        let date = (OffsetDateTime::now_utc() + time::Duration::hours(2))
            .format(&Rfc2822)
            .unwrap();
        let date = date.replace("+0000", "GMT");
        let error = answer(400, &[("date", &date), ("retry-after", "7")], "{}")
            .check(&[])
            .unwrap_err();
        assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
        let hint = error.hint.unwrap();
        assert!(hint.contains("behind"), "{hint}");
        let endless = answer(503, &[("retry-after", "99999999")], "{}")
            .check(&[])
            .unwrap_err();
        assert_eq!(endless.retry_after, Some(MAX_RETRY_AFTER));
    }
}
