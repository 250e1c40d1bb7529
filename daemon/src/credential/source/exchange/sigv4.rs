//! AWS Signature Version 4 for a request without a body.
//!
//! AWS, "Create a signed AWS API request".

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use http::Method;
use http::header::{AUTHORIZATION, HeaderName};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use regauth_shared::Secret;
use time::OffsetDateTime;

use crate::credential::source::endpoint::Endpoint;

/// Credentials of a user, or temporary ones of a role.
#[derive(Debug)]
pub(super) struct AwsCredentials {
    /// Not secret.
    pub(super) access_key_id: String,
    /// Key of the signature.
    pub(super) secret_access_key: Secret,
    /// Sent in a header of its own; temporary credentials have one.
    pub(super) session_token: Option<Secret>,
}

/// Headers that sign a request to `endpoint`, which may have a query.
pub(super) fn headers(
    credentials: &AwsCredentials,
    (region, service): (&str, &str),
    (method, endpoint): (&Method, &Endpoint),
    now: OffsetDateTime,
) -> Vec<(HeaderName, String)> {
    let (date, time) = timestamps(now);
    let token = credentials.session_token.as_ref().map(Secret::expose);
    let (token_line, signed_headers) = match token {
        Some(token) => (
            format!("{SECURITY_TOKEN}:{token}\n"),
            "host;x-amz-date;x-amz-security-token",
        ),
        None => (String::new(), "host;x-amz-date"),
    };
    let canonical = format!(
        "{method}\n{}\n{}\nhost:{}\nx-amz-date:{time}\n{token_line}\n{signed_headers}\n{}",
        endpoint.url().path(),
        canonical_query(endpoint),
        endpoint.host(),
        hex(digest(&SHA256, b"").as_ref()),
    );
    let scope = format!("{date}/{region}/{service}/aws4_request");
    let to_sign = format!(
        "{ALGORITHM}\n{time}\n{scope}\n{}",
        hex(digest(&SHA256, canonical.as_bytes()).as_ref())
    );
    let first = zeroize::Zeroizing::new(format!("AWS4{}", credentials.secret_access_key.expose()));
    let signature = [&*date, region, service, "aws4_request", &to_sign]
        .iter()
        .fold(first.as_bytes().to_vec(), |key, text| sign(&key, text));
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={signed_headers}, Signature={}",
        credentials.access_key_id,
        hex(&signature)
    );
    let token = token.map(|token| (HeaderName::from_static(SECURITY_TOKEN), token.to_owned()));
    [
        (HeaderName::from_static("x-amz-date"), time),
        (AUTHORIZATION, authorization),
    ]
    .into_iter()
    .chain(token)
    .collect()
}

fn sign(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// The date, and date and time, in ISO 8601's basic format.
fn timestamps(now: OffsetDateTime) -> (String, String) {
    let now = now.to_offset(time::UtcOffset::UTC);
    let date = format!("{:04}{:02}{:02}", now.year(), u8::from(now.month()), now.day());
    let time = format!("{date}T{:02}{:02}{:02}Z", now.hour(), now.minute(), now.second());
    (date, time)
}

/// Names and values, percent-encoded and sorted.
fn canonical_query(endpoint: &Endpoint) -> String {
    let encoded = |text: &str| utf8_percent_encode(text, RESERVED).to_string();
    let pairs = endpoint.url().query_pairs();
    let mut pairs: Vec<_> = pairs.map(|(name, value)| (encoded(&name), encoded(&value))).collect();
    pairs.sort();
    let pairs: Vec<String> = pairs
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const SECURITY_TOKEN: &str = "x-amz-security-token";
/// All but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

#[cfg(test)]
mod tests {
    use super::*;

    /// `post-sts-header-before` of AWS's Signature Version 4 test suite.
    #[test]
    fn signs_as_the_test_suite_of_aws_does() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTfl\
                     fKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvl\
                     Rd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rv\
                     x3iSIlTJabIQwj2ICCR/oLxBA==";
        let credentials = AwsCredentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: Secret::parse("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY").unwrap(),
            session_token: Some(Secret::parse(token).unwrap()),
        };
        let now = OffsetDateTime::from_unix_timestamp(1_440_938_160).unwrap();
        let endpoint: Endpoint = "https://example.amazonaws.com/".parse().unwrap();
        let place = ("us-east-1", "service");
        let signed = headers(&credentials, place, (&Method::POST, &endpoint), now);
        assert_eq!(signed[0].1, "20150830T123600Z");
        assert_eq!(
            signed[1].1,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-security-token, \
             Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
        );
        assert_eq!(signed.len(), 3);
        // `post-vanilla`, without a session token.
        let credentials = AwsCredentials {
            session_token: None,
            ..credentials
        };
        let signed = headers(&credentials, place, (&Method::POST, &endpoint), now);
        assert_eq!(
            signed[1].1,
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date, Signature=5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
        assert_eq!(signed.len(), 2);
    }

    #[test]
    fn a_query_is_encoded_and_sorted() {
        let endpoint: Endpoint = "https://a.example/?b=x+y&a-b=/&a=%C3%A4&A=1".parse().unwrap();
        assert_eq!(canonical_query(&endpoint), "A=1&a=%C3%A4&a-b=%2F&b=x%20y");
    }
}
