//! Reads a token from a program's output: one line, or a JSON document. Pure. Errors never repeat the output.

use std::time::Duration;

use regauth_shared::Secret;
use regauth_shared::secret::InvalidSecret;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::credential::source::FetchedToken;
use crate::credential::token_claims;
use crate::registry::Output;

/// Reads a token from a program's output.
///
/// # Errors
/// [`OutputError`] if it has none.
pub fn read(printed: &[u8], output: &Output, ttl: Option<Duration>) -> Result<FetchedToken, OutputError> {
    let (secret, expires) = match output {
        Output::Raw => {
            let text = std::str::from_utf8(printed).map_err(|_| OutputError::NotText)?;
            (Secret::parse(text)?, None)
        }
        Output::Json { token, expires } => {
            let document: Value = serde_json::from_slice(printed).map_err(|_| OutputError::NotJson)?;
            let text = document.pointer(token).and_then(Value::as_str);
            let text = text.ok_or_else(|| OutputError::NoToken(token.clone()))?;
            let expiry = expires.as_deref().map(|pointer| expiry(&document, pointer, ttl));
            (Secret::parse(text)?, expiry.transpose()?.flatten())
        }
    };
    Ok(FetchedToken { secret, expires, ttl })
}

/// Reads the time of expiry. The output may leave it out if the configuration has a `ttl`.
fn expiry(document: &Value, pointer: &str, ttl: Option<Duration>) -> Result<Option<OffsetDateTime>, OutputError> {
    match document.pointer(pointer) {
        None | Some(Value::Null) if ttl.is_some() => Ok(None),
        Some(value) => match parse_time(value) {
            Some(time) => Ok(Some(time)),
            None => Err(OutputError::NoTime(pointer.to_owned())),
        },
        None => Err(OutputError::NoTime(pointer.to_owned())),
    }
}

/// Parses RFC 3339, or seconds since 1970 with or without a fraction, as a number or a string.
fn parse_time(value: &Value) -> Option<OffsetDateTime> {
    let seconds = match value {
        Value::Number(number) => number.as_f64()?,
        Value::String(text) => match OffsetDateTime::parse(text, &Rfc3339) {
            Ok(time) => return Some(time),
            Err(_) => text.parse().ok()?,
        },
        _ => return None,
    };
    token_claims::from_seconds(seconds)
}

/// Reason that an output has no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Not UTF-8.
    #[error("it is not text")]
    NotText,
    /// The text is no token; the string is the reason.
    #[error("{0}")]
    InvalidToken(String),
    /// Not one JSON document.
    #[error("it is not one JSON document")]
    NotJson,
    /// There is no string at the JSON pointer.
    #[error("it has no string at {0}")]
    NoToken(String),
    /// There is no time at the JSON pointer.
    #[error("it has no time at {0}: neither RFC 3339 nor seconds since 1970")]
    NoTime(String),
}

impl From<InvalidSecret> for OutputError {
    fn from(invalid: InvalidSecret) -> Self {
        Self::InvalidToken(invalid.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_token_is_exactly_one_line() {
        let raw = |printed: &[u8]| read(printed, &Output::Raw, None).map(|fetched| fetched.secret.expose().to_owned());
        assert_eq!(raw(b"tok\n").unwrap(), "tok");
        for (printed, reason) in [
            (&b""[..], "the token is empty"),
            (b"\n", "the token is empty"),
            (b"a\nb\n", "the token has several lines; a token is one line"),
            (b"a\n\n", "the token has several lines; a token is one line"),
            (b"a\xff", "it is not text"),
            (b"\x1b[1mtok\x1b[0m\n", "the token has a control character"),
        ] {
            assert_eq!(raw(printed).unwrap_err().to_string(), reason, "{printed:?}");
        }
    }

    /// Result of a read: the expiry or the error. Each document is given from the token on, with the configured ttl.
    type Expiry = Result<Option<i64>, &'static str>;
    const DOCUMENTS: &[(&str, Option<u64>, Expiry)] = &[
        (
            r#""tok"]},"e":"2020-06-01T12:00:00.5+02:00"}"#,
            None,
            Ok(Some(1_591_005_600)),
        ),
        (r#""tok"]},"e":1591005600}"#, None, Ok(Some(1_591_005_600))),
        (r#""tok"]},"e":1591005600.123}"#, None, Ok(Some(1_591_005_600))),
        (r#""tok"]},"e":"1591005600"}"#, None, Ok(Some(1_591_005_600))),
        (r#""tok"]}}"#, Some(60), Ok(None)),
        (r#""tok"]},"e":null}"#, Some(60), Ok(None)),
        (r#""tok"]}}"#, None, Err(NO_TIME)),
        (r#""tok"]},"e":"soon"}"#, Some(60), Err(NO_TIME)),
        (r#""tok"]},"e":1e300}"#, None, Err(NO_TIME)),
        (r#"7]},"e":1}"#, None, Err("it has no string at /t/a~1b/0")),
        (r#""tok\n"]},"e":1}"#, None, Ok(Some(1))),
        (
            r#""a\nb"]},"e":1}"#,
            None,
            Err("the token has several lines; a token is one line"),
        ),
        (r#""tok"]}} {}"#, None, Err("it is not one JSON document")),
        ("canary", None, Err("it is not one JSON document")),
    ];
    const NO_TIME: &str = "it has no time at /e: neither RFC 3339 nor seconds since 1970";

    #[test]
    fn reads_a_document_at_its_pointers() {
        let output = Output::Json {
            token: "/t/a~1b/0".to_owned(),
            expires: Some("/e".to_owned()),
        };
        for (rest, ttl, expires) in DOCUMENTS {
            let printed = format!(r#"{{"t":{{"a/b":[{rest}"#);
            let found = read(printed.as_bytes(), &output, ttl.map(Duration::from_secs));
            let found = found.map(|fetched| fetched.expires.map(OffsetDateTime::unix_timestamp));
            let expires = expires.map_err(str::to_owned);
            assert_eq!(found.map_err(|error| error.to_string()), expires, "{printed}");
        }
    }
}
