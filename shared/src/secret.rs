//! The secret string itself: zeroized when dropped, redacted in `Debug`, and not serialisable.
//!
//! A [`Secret`] has no `Serialize`: a response that held one would not compile. The one place where a secret travels,
//! a request from `regauthctl` to the daemon, names [`expose`] or [`expose_option`] for its field.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serializer};

/// A credential, as a person was given it: one line, no control characters, not empty, at most 16 KiB.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Takes a token as typed or piped: one trailing line ending is removed, surrounding blanks are kept out.
    ///
    /// # Errors
    /// [`InvalidSecret`] when it is empty, has several lines or a control character, or is not a header value.
    pub fn parse(text: &str) -> Result<Self, InvalidSecret> {
        let token = text.strip_suffix('\n').unwrap_or(text);
        let token = token.strip_suffix('\r').unwrap_or(token);
        if token.trim().is_empty() {
            return Err(InvalidSecret::Empty);
        }
        if token.contains(['\n', '\r']) {
            return Err(InvalidSecret::SeveralLines);
        }
        if token != token.trim() {
            return Err(InvalidSecret::SurroundedByBlanks);
        }
        if token.chars().any(|c| !(' '..='~').contains(&c)) {
            return Err(InvalidSecret::NotPrintableAscii);
        }
        if token.len() > MAX_BYTES {
            return Err(InvalidSecret::TooLong);
        }
        Ok(Self(SecretString::from(token)))
    }

    /// Whether both are the same secret.
    pub fn is_same(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }

    /// The secret in the clear. Only stores, the header rewriter and the request to the daemon may call this.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one door to the secret, which others are told to use"
    )]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Self(SecretString::deserialize(deserializer)?);
        Self::parse(text.expose()).map_err(serde::de::Error::custom)
    }
}

/// Serialises a secret in the clear, where there is one. For the secret fields of a request and nothing else.
///
/// # Errors
/// Those of the serializer.
pub fn expose_option<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_some(secret.expose()),
        None => serializer.serialize_none(),
    }
}

/// The same for a field that is always there.
///
/// # Errors
/// Those of the serializer.
pub fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// Why a text is not a token. The text itself is never part of the message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Nothing, or blanks only.
    #[error("the token is empty")]
    Empty,
    /// A line ending within.
    #[error("the token has several lines; a token is one line")]
    SeveralLines,
    /// Blanks before or after, as a careless paste leaves them.
    #[error("the token begins or ends with blanks; paste it without them")]
    SurroundedByBlanks,
    /// A character that an HTTP header cannot carry (RFC 9110, section 5.5).
    #[error("the token has a character that is not printable ASCII")]
    NotPrintableAscii,
    /// More than 16 KiB.
    #[error("the token is longer than 16 KiB")]
    TooLong,
}

const MAX_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_printable_line() {
        assert_eq!(Secret::parse("tok\n").unwrap().expose(), "tok");
        assert_eq!(Secret::parse("tok\r\n").unwrap().expose(), "tok");
        for (text, error) in [
            ("", InvalidSecret::Empty),
            (" \n", InvalidSecret::Empty),
            ("a\nb", InvalidSecret::SeveralLines),
            ("a\n\n", InvalidSecret::SeveralLines),
            (" a", InvalidSecret::SurroundedByBlanks),
            ("a\u{7f}", InvalidSecret::NotPrintableAscii),
            ("é", InvalidSecret::NotPrintableAscii),
        ] {
            assert_eq!(Secret::parse(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn debug_is_redacted() {
        assert_eq!(format!("{:?}", Secret::parse("canary").unwrap()), "Secret(…)");
    }
}
