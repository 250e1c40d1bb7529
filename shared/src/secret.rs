//! Secret string: zeroized when dropped, redacted in `Debug`, not serialisable by default.
//!
//! [`Secret`] has no `Serialize`, so a response that held one would not compile. Secrets travel only in requests from
//! `regauthctl` to the daemon; such a field names [`expose`] or [`expose_option`] as its serialiser.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serializer};

/// Credential as issued to a person: one line of text without control characters, not empty, at most 16 KiB.
///
/// Only Basic authentication can send a character beyond ASCII, in UTF-8 (RFC 7617, section 2.1).
///
/// ```
/// use regauth_shared::Secret;
/// use regauth_shared::secret::InvalidSecret;
///
/// let secret = Secret::parse("s3cret-token\n")?;
/// assert_eq!(format!("{secret:?}"), "Secret(…)");
/// assert_eq!(Secret::parse("two\nlines").unwrap_err(), InvalidSecret::SeveralLines);
/// # Ok::<(), InvalidSecret>(())
/// ```
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    /// Parses a token as typed or piped, and removes one trailing line ending.
    ///
    /// # Errors
    /// [`InvalidSecret`] for a text that is empty, has several lines, surrounding blanks or control characters, or is too
    /// long.
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
        if token.chars().any(char::is_control) {
            return Err(InvalidSecret::ControlCharacter);
        }
        if token.len() > MAX_BYTES {
            return Err(InvalidSecret::TooLong);
        }
        Ok(Self(SecretString::from(token)))
    }

    /// Compares two secrets for equality.
    pub fn is_same(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }

    /// Returns the secret in the clear. Only stores, the credential header and the request to the daemon may call this.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only accessor, which clippy.toml names as the alternative"
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

/// Serialises an optional secret in the clear. For the secret fields of a request only.
///
/// # Errors
/// Those of the serializer.
pub fn expose_option<S: Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(secret) => serializer.serialize_some(secret.expose()),
        None => serializer.serialize_none(),
    }
}

/// Serialises a secret in the clear. For the secret fields of a request only.
///
/// # Errors
/// Those of the serializer.
pub fn expose<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose())
}

/// Error of a text that is not a token. It never repeats the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecret {
    /// Empty, or blanks only.
    #[error("the token is empty")]
    Empty,
    /// A line ending inside the text.
    #[error("the token has several lines; a token is one line")]
    SeveralLines,
    /// Blanks at the start or the end, as a careless paste leaves them.
    #[error("the token begins or ends with blanks; paste it without them")]
    SurroundedByBlanks,
    /// A character that no header can carry (RFC 9110, section 5.5), and that no person types.
    #[error("the token has a control character")]
    ControlCharacter,
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
        assert_eq!(Secret::parse("pässwörd").unwrap().expose(), "pässwörd");
        for (text, error) in [
            ("", InvalidSecret::Empty),
            (" \n", InvalidSecret::Empty),
            ("a\nb", InvalidSecret::SeveralLines),
            ("a\n\n", InvalidSecret::SeveralLines),
            (" a", InvalidSecret::SurroundedByBlanks),
            ("a\u{7f}", InvalidSecret::ControlCharacter),
            ("a\u{85}b", InvalidSecret::ControlCharacter),
        ] {
            assert_eq!(Secret::parse(text).unwrap_err(), error, "{text:?}");
        }
    }

    #[test]
    fn debug_is_redacted() {
        assert_eq!(format!("{:?}", Secret::parse("canary").unwrap()), "Secret(…)");
    }
}
