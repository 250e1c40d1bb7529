//! Scheme of a registry: the header that carries the secret.

use std::fmt;

use http::HeaderName;
use regauth_shared::{ErrorBody, ErrorKind, Secret};

/// Header that carries a secret, and its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// `Authorization: Basic base64(username:token)`, RFC 7617.
    Basic {
        /// User name.
        username: String,
    },
    /// `Authorization: Bearer token`, RFC 6750.
    Bearer,
    /// `Authorization: token`, as cargo sends it.
    Raw,
    /// `Name: prefix{token}suffix`.
    Template {
        /// Name of the header.
        header: HeaderName,
        /// Text before the token.
        prefix: String,
        /// Text after the token.
        suffix: String,
    },
}

impl Scheme {
    /// Reads `basic`, `bearer`, `raw` or `Header-Name: … {token} …`; `username` is for `basic`, which needs it.
    ///
    /// # Errors
    /// [`InvalidScheme`], which says what is missing or not allowed.
    pub fn parse(text: &str, username: Option<&str>) -> Result<Self, InvalidScheme> {
        match (text, username) {
            ("basic", Some(name)) if name.contains(':') || name.chars().any(char::is_control) => {
                Err(InvalidScheme::BadUsername)
            }
            ("basic", Some(name)) => Ok(Self::Basic {
                username: name.to_owned(),
            }),
            ("basic", None) => Err(InvalidScheme::UsernameMissing),
            (_, Some(_)) => Err(InvalidScheme::UsernameWithoutBasic),
            ("bearer", None) => Ok(Self::Bearer),
            ("raw", None) => Ok(Self::Raw),
            (template, None) => Self::template(template),
        }
    }

    fn template(text: &str) -> Result<Self, InvalidScheme> {
        let (name, value) = text.split_once(':').ok_or(InvalidScheme::Unknown)?;
        let header = HeaderName::from_bytes(name.trim().as_bytes()).map_err(|_| InvalidScheme::BadHeaderName)?;
        if FRAMING_HEADERS.contains(&header.as_str()) || header.as_str().starts_with("proxy-") {
            return Err(InvalidScheme::ForbiddenHeader);
        }
        let (prefix, suffix) = value.trim().split_once("{token}").ok_or(InvalidScheme::TokenMissing)?;
        let parts = format!("{prefix}{suffix}");
        if parts.contains(['{', '}']) || parts.chars().any(|c| !(' '..='~').contains(&c)) {
            return Err(InvalidScheme::BadTemplate);
        }
        Ok(Self::Template {
            header,
            prefix: prefix.to_owned(),
            suffix: suffix.to_owned(),
        })
    }

    /// Name of the header that carries the credential. The client's own value of it is removed from requests.
    pub fn header(&self) -> HeaderName {
        match self {
            Self::Basic { .. } | Self::Bearer | Self::Raw => http::header::AUTHORIZATION,
            Self::Template { header, .. } => header.clone(),
        }
    }

    /// Checks that a header can carry the secret. `basic` encodes it; the other schemes send it as it is.
    ///
    /// # Errors
    /// [`UnsendableSecret`] for a secret with characters beyond ASCII.
    pub fn check(&self, secret: &Secret) -> Result<(), UnsendableSecret> {
        match self {
            Self::Basic { .. } => Ok(()),
            _ if secret.expose().is_ascii() => Ok(()),
            _ => Err(UnsendableSecret),
        }
    }

    /// User name of `basic`.
    pub fn username(&self) -> Option<&str> {
        match self {
            Self::Basic { username } => Some(username),
            _ => None,
        }
    }
}

/// Text in the configuration. The user name of `basic` has a key of its own.
impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { .. } => f.write_str("basic"),
            Self::Bearer => f.write_str("bearer"),
            Self::Raw => f.write_str("raw"),
            Self::Template { header, prefix, suffix } => write!(f, "{header}: {prefix}{{token}}{suffix}"),
        }
    }
}

/// Error of parsing a [`Scheme`].
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidScheme {
    /// Text that is neither a known scheme nor a template.
    #[error("a scheme is basic, bearer, raw or a header template such as \"X-Api-Key: {{token}}\"")]
    Unknown,
    /// `basic` without a user name.
    #[error("the basic scheme needs a user name")]
    UsernameMissing,
    /// User name for a scheme other than `basic`.
    #[error("only the basic scheme has a user name")]
    UsernameWithoutBasic,
    /// User name with a colon or a control character (RFC 7617, section 2).
    #[error("a user name has no colon and no control characters")]
    BadUsername,
    /// Text before the colon that is not a header name.
    #[error("the text before the colon is not a header name")]
    BadHeaderName,
    /// Header that frames or routes the message.
    #[error("that header frames or routes the message and cannot carry a credential")]
    ForbiddenHeader,
    /// Template without `{token}`.
    #[error("the template has no {{token}}")]
    TokenMissing,
    /// Template with other braces, or with characters that a header cannot carry.
    #[error("the template has more than one {{token}}, other braces, or characters that a header cannot carry")]
    BadTemplate,
}

/// Answer to a request with such a secret, with what to do.
impl From<UnsendableSecret> for ErrorBody {
    fn from(error: UnsendableSecret) -> Self {
        Self::new(ErrorKind::Invalid, error.to_string())
            .hint("nothing was changed; give the token as the registry shows it; a password goes with the scheme basic")
    }
}

/// Error of a secret that the scheme cannot send (RFC 9110, section 5.5).
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the token has a character that is not printable ASCII, which only the scheme basic can send")]
pub struct UnsendableSecret;

/// Headers that a credential may never replace.
const FRAMING_HEADERS: [&str; 10] = [
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_scheme_parses_to_the_same_scheme() {
        for text in [
            "bearer",
            "raw",
            "x-api-key: {token}",
            "authorization: Token {token}",
            "user-agent: shipyard {token}",
        ] {
            assert_eq!(Scheme::parse(text, None).unwrap().to_string(), text);
        }
        assert_eq!(Scheme::parse("basic", Some("me")).unwrap().username(), Some("me"));
        for (text, username, error) in [
            ("basic", None, InvalidScheme::UsernameMissing),
            ("basic", Some("a:b"), InvalidScheme::BadUsername),
            ("bearer", Some("me"), InvalidScheme::UsernameWithoutBasic),
            ("digest", None, InvalidScheme::Unknown),
            ("Host: {token}", None, InvalidScheme::ForbiddenHeader),
            ("Proxy-Authorization: {token}", None, InvalidScheme::ForbiddenHeader),
            ("X-Key: token", None, InvalidScheme::TokenMissing),
            ("X-Key: {token}{token}", None, InvalidScheme::BadTemplate),
            ("X Key: {token}", None, InvalidScheme::BadHeaderName),
        ] {
            assert_eq!(Scheme::parse(text, username), Err(error), "{text}");
        }
    }
}
