//! Authentication schemes, parsed from the notations of different clients.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Authentication scheme of a registry, with the user of Basic authentication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AuthScheme {
    /// Basic authentication as this user (RFC 7617).
    Basic(String),
    /// `Authorization: Bearer …` (RFC 6750).
    Bearer,
    /// The secret is the whole value of the `Authorization` header.
    Raw,
}

impl AuthScheme {
    /// Name in the `--scheme` option.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Basic(_) => "basic",
            Self::Bearer => "bearer",
            Self::Raw => "raw",
        }
    }

    /// User of Basic authentication.
    pub(crate) fn username(&self) -> Option<&str> {
        match self {
            Self::Basic(user) => Some(user),
            Self::Bearer | Self::Raw => None,
        }
    }
}

/// Scheme and secret of a user and password. Some hosts take the token as the user, with an empty or fixed password;
/// then the secret is the whole header.
pub(super) fn from_user_and_password(user: &str, password: &str) -> (AuthScheme, String) {
    if user.is_empty() || password.is_empty() || password == "x-oauth-basic" {
        let header = STANDARD.encode(format!("{user}:{password}"));
        return (AuthScheme::Raw, format!("Basic {header}"));
    }
    (AuthScheme::Basic(user.to_owned()), password.to_owned())
}

/// Scheme and secret of the value of an `Authorization` header, as in cargo's token and git's `extraHeader`.
pub(super) fn from_header(value: &str) -> (AuthScheme, String) {
    let value = value.trim();
    let (scheme, rest) = value.split_once(' ').unwrap_or(("", value));
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => (AuthScheme::Bearer, rest.trim().to_owned()),
        "basic" => decode_user_and_password(rest.trim()).map_or_else(
            || (AuthScheme::Raw, value.to_owned()),
            |(user, password)| from_user_and_password(&user, &password),
        ),
        _ => (AuthScheme::Raw, value.to_owned()),
    }
}

/// Decodes `user:password` from base64.
pub(super) fn decode_user_and_password(base64: &str) -> Option<(String, String)> {
    let text = decode_text(base64)?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// Decodes a text from base64.
pub(super) fn decode_text(base64: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(base64).ok()?).ok()
}

/// Masks a token: shows its length, and the prefix that names its type, such as `ghp_`.
pub(super) fn mask(secret: &str) -> String {
    let length = secret.chars().count();
    let prefix = secret.find(['_', '-']).and_then(|at| secret.get(..=at));
    let prefix = prefix.filter(|prefix| prefix.len() <= LONGEST_TYPE_PREFIX && length >= SHORTEST_PREFIXED_TOKEN);
    format!("{}… ({length} characters)", prefix.unwrap_or_default())
}

const LONGEST_TYPE_PREFIX: usize = 6;
/// Shorter secrets are shown without any of their characters: a few of a password would help to guess it.
const SHORTEST_PREFIXED_TOKEN: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_the_scheme_that_sends_the_same_header() {
        for (value, scheme, secret) in [
            ("Bearer t0ken", AuthScheme::Bearer, "t0ken"),
            ("bearer t0ken", AuthScheme::Bearer, "t0ken"),
            ("t0ken", AuthScheme::Raw, "t0ken"),
            ("Token t0ken", AuthScheme::Raw, "Token t0ken"),
            ("basic bWU6dDBrZW4=", AuthScheme::Basic("me".to_owned()), "t0ken"),
            ("Basic dDBrZW46", AuthScheme::Raw, "Basic dDBrZW46"),
            (
                "Basic dDBrZW46eC1vYXV0aC1iYXNpYw==",
                AuthScheme::Raw,
                "Basic dDBrZW46eC1vYXV0aC1iYXNpYw==",
            ),
            ("Basic ???", AuthScheme::Raw, "Basic ???"),
        ] {
            assert_eq!(from_header(value), (scheme, secret.to_owned()), "{value}");
        }
    }

    #[test]
    fn shows_at_most_the_type_prefix_of_a_token() {
        for (secret, shown) in [
            ("ghp_0123456789abcdefghij", "ghp_… (24 characters)"),
            ("glpat-0123456789abcdefgh", "glpat-… (24 characters)"),
            ("0123456789abcdefghij", "… (20 characters)"),
            ("abcdefgh_0123456789abcdefghij", "… (29 characters)"),
            ("my_password", "… (11 characters)"),
        ] {
            assert_eq!(mask(secret), shown);
        }
    }
}
