//! How a secret is sent, as the files of different clients say it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// The scheme of a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Login {
    /// Basic, for this user.
    Basic(String),
    /// `Authorization: Bearer …`.
    Bearer,
    /// The secret is the whole header.
    Raw,
}

impl Login {
    /// What `--scheme` calls it.
    pub(crate) fn scheme(&self) -> &'static str {
        match self {
            Self::Basic(_) => "basic",
            Self::Bearer => "bearer",
            Self::Raw => "raw",
        }
    }

    /// The user, where there is one.
    pub(crate) fn username(&self) -> Option<&str> {
        match self {
            Self::Basic(user) => Some(user),
            Self::Bearer | Self::Raw => None,
        }
    }
}

/// A user and password, or what some hosts want in their place: the token as the user, and nothing or a formula as the
/// password. Then what is secret is the header.
pub(super) fn basic(user: &str, password: &str) -> (Login, String) {
    if user.is_empty() || password.is_empty() || password == "x-oauth-basic" {
        let header = STANDARD.encode(format!("{user}:{password}"));
        return (Login::Raw, format!("Basic {header}"));
    }
    (Login::Basic(user.to_owned()), password.to_owned())
}

/// The value of an `Authorization` header, as cargo and git's extraHeader have it.
pub(super) fn authorization(value: &str) -> (Login, String) {
    let value = value.trim();
    let (word, rest) = value.split_once(' ').unwrap_or(("", value));
    match word.to_ascii_lowercase().as_str() {
        "bearer" => (Login::Bearer, rest.trim().to_owned()),
        "basic" => decoded(rest.trim()).map_or_else(
            || (Login::Raw, value.to_owned()),
            |(user, password)| basic(&user, &password),
        ),
        _ => (Login::Raw, value.to_owned()),
    }
}

/// `user:password` in base64.
pub(super) fn decoded(text: &str) -> Option<(String, String)> {
    let bytes = STANDARD.decode(text).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}

/// A text in base64.
pub(super) fn plain(text: &str) -> Option<String> {
    String::from_utf8(STANDARD.decode(text).ok()?).ok()
}

/// What may be shown of a token: the part in front that says which kind it is, as `ghp_` does, and its length.
pub(super) fn masked(secret: &str) -> String {
    let length = secret.chars().count();
    let kind = secret.find(['_', '-']).and_then(|at| secret.get(..=at));
    let kind = kind.filter(|kind| kind.len() <= LONGEST_KIND && length >= LONG);
    format!("{}… ({length} characters)", kind.unwrap_or_default())
}

const LONGEST_KIND: usize = 6;
/// In which a few characters of no kind would tell next to nothing.
const LONG: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_becomes_the_scheme_that_makes_it() {
        for (value, login, secret) in [
            ("Bearer t0ken", Login::Bearer, "t0ken"),
            ("bearer t0ken", Login::Bearer, "t0ken"),
            ("t0ken", Login::Raw, "t0ken"),
            ("Token t0ken", Login::Raw, "Token t0ken"),
            ("basic bWU6dDBrZW4=", Login::Basic("me".to_owned()), "t0ken"),
            ("Basic dDBrZW46", Login::Raw, "Basic dDBrZW46"),
            (
                "Basic dDBrZW46eC1vYXV0aC1iYXNpYw==",
                Login::Raw,
                "Basic dDBrZW46eC1vYXV0aC1iYXNpYw==",
            ),
            ("Basic ???", Login::Raw, "Basic ???"),
        ] {
            assert_eq!(authorization(value), (login, secret.to_owned()), "{value}");
        }
    }

    #[test]
    fn of_a_token_its_kind_is_shown_at_most() {
        for (secret, shown) in [
            ("ghp_0123456789abcdefghij", "ghp_… (24 characters)"),
            ("glpat-0123456789abcdefgh", "glpat-… (24 characters)"),
            ("0123456789abcdefghij", "… (20 characters)"),
            ("abcdefgh_0123456789abcdefghij", "… (29 characters)"),
            ("my_password", "… (11 characters)"),
        ] {
            assert_eq!(masked(secret), shown);
        }
    }
}
