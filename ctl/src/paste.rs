//! Values as people paste them: a token with its header, a URL with the line of a configuration file around it.
//!
//! The functions remove only what cannot be part of the value. What may be, is explained after a registry has rejected it.

use regauth_shared::{ErrorBody, ErrorKind};

/// The token in a text that was pasted at a prompt. `scheme` is the registry's, such as `bearer` or `X-Api-Key: {token}`.
pub(crate) fn token<'a>(text: &'a str, scheme: &str) -> &'a str {
    let text = without_quotes(text.trim());
    let text = without_quotes(without_key(text, TOKEN_KEYS));
    let text = without_word(text, "authorization:");
    let text = match scheme {
        // The value of the header may begin with any word.
        "raw" => text,
        // No token of these schemes has a blank (RFC 6750, section 2.1), and a password hardly begins so.
        "bearer" | "basic" => without_word(text, "bearer "),
        template => without_word(text, words_before_token(template)),
    };
    without_quotes(text)
}

/// Login or header in place of a token, which a registry may reject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PastedLogin {
    /// Value of a header: `Basic` and base64 of a user name and a token.
    BasicHeader,
    /// Value of a header: `Bearer` and a token, for a scheme that keeps the word.
    BearerHeader,
    /// User name and token, with a colon between them.
    UserAndToken,
}

impl PastedLogin {
    /// Description of the text, without a part of it, and the text to give instead.
    pub(crate) fn advice(self) -> &'static str {
        match self {
            Self::BasicHeader => {
                "the text is the value of a `Basic` header, with a user name and the token in base64: give the token alone"
            }
            Self::BearerHeader => {
                "the text begins with `Bearer`, which this registry's scheme sends too: give the token without that word"
            }
            Self::UserAndToken => {
                "the text may be a user name and a token, with a colon between them: give only the part after the colon"
            }
        }
    }
}

/// The login that a token's text may be.
pub(crate) fn login(token: &str, scheme: &str) -> Option<PastedLogin> {
    let is_base64 = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "+/=-_".contains(c));
    let after = |word| Some(without_word(token, word)).filter(|rest| rest.len() < token.len());
    // With `raw`, the text is the header's value, and may be that of a `Basic` header.
    if scheme != "raw" && after("basic ").is_some_and(is_base64) {
        return Some(PastedLogin::BasicHeader);
    }
    if !["bearer", "basic"].contains(&scheme) {
        let bearer = after("bearer ").filter(|rest| !rest.contains(char::is_whitespace));
        return bearer.map(|_| PastedLogin::BearerHeader);
    }
    let (user, password) = token.split_once(':')?;
    let is_login = !user.is_empty() && !password.is_empty() && !token.contains(char::is_whitespace);
    is_login.then_some(PastedLogin::UserAndToken)
}

/// Adds to the error of a rejected token what its text may be.
pub(crate) fn with_login_hint(error: ErrorBody, login: Option<PastedLogin>) -> ErrorBody {
    match login {
        Some(login) if error.kind == ErrorKind::TokenRejected => with_advice(error, login.advice()),
        _ => error,
    }
}

/// Puts advice before an error's hint.
pub(crate) fn with_advice(mut error: ErrorBody, advice: &str) -> ErrorBody {
    let hint = error.hint.take().map_or_else(String::new, |hint| format!("; {hint}"));
    error.hint(format!("{advice}{hint}"))
}

/// The URL in a text that was pasted or given with a flag.
pub(crate) fn url(text: &str) -> &str {
    let text = without_key(text.trim(), URL_KEYS);
    let text = text.trim_end_matches([',', ';']);
    let text = without_quotes(text);
    let inner = text.strip_prefix('<').and_then(|text| text.strip_suffix('>'));
    inner.unwrap_or(text).trim()
}

/// The URL that is meant by a host and a path without `https://`; `None` for any other text, which may be a token in the wrong
/// place.
pub(crate) fn url_without_scheme(text: &str) -> Option<String> {
    let rest = text.strip_prefix("sparse+").unwrap_or(text);
    let (host, path) = rest.split_once('/')?;
    let name = host.split(':').next().unwrap_or_default();
    let is_host = name.contains('.') || name == "localhost";
    let is_plain = host.chars().all(|c| c.is_ascii_alphanumeric() || ".-:".contains(c));
    let is_path = !path.starts_with('/') && !path.contains(char::is_whitespace);
    (is_host && is_plain && is_path).then(|| format!("https://{rest}"))
}

/// Text without a leading `key = ` or `key: `, for any of the keys.
fn without_key<'a>(text: &'a str, keys: &[&str]) -> &'a str {
    let after_key = |key: &&str| {
        let rest = text.strip_prefix(key)?.trim_start();
        rest.strip_prefix(['=', ':'])
    };
    keys.iter().find_map(after_key).map_or(text, str::trim)
}

/// Text without a leading word, in upper or lower case.
fn without_word<'a>(text: &'a str, word: &str) -> &'a str {
    match text.split_at_checked(word.len()) {
        Some((start, rest)) if !word.is_empty() && start.eq_ignore_ascii_case(word) => rest.trim_start(),
        _ => text,
    }
}

/// The part of a header template between the header's name and the token.
fn words_before_token(template: &str) -> &str {
    let value = template.split_once(": ").map_or("", |(_, value)| value);
    value.split("{token}").next().unwrap_or_default()
}

fn without_quotes(text: &str) -> &str {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    ['"', '\'', '`'].into_iter().find_map(inner).unwrap_or(text)
}

const TOKEN_KEYS: &[&str] = &["token", "_authToken", "password"];
const URL_KEYS: &[&str] = &["registry", "index", "index-url", "url", "--index", "--scope"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_in_what_surrounds_it() {
        for (pasted, scheme, token_in_it) in [
            ("tok", "bearer", "tok"),
            (" tok\r\n\n", "bearer", "tok"),
            ("\"tok\"", "basic", "tok"),
            ("Bearer tok", "bearer", "tok"),
            ("bearer tok", "basic", "tok"),
            ("Authorization: Bearer tok", "bearer", "tok"),
            ("\"Bearer tok\"", "bearer", "tok"),
            ("token = \"Bearer tok\"", "basic", "tok"),
            ("_authToken=tok", "bearer", "tok"),
            ("Bearer tok", "raw", "Bearer tok"),
            ("Authorization: tok", "raw", "tok"),
            ("Token tok", "Authorization: Token {token}", "tok"),
            ("tok", "X-Api-Key: {token}", "tok"),
            ("token-of-me=", "bearer", "token-of-me="),
            ("pass word", "basic", "pass word"),
            ("\"", "basic", "\""),
        ] {
            assert_eq!(token(pasted, scheme), token_in_it, "{pasted:?} {scheme}");
        }
    }

    #[test]
    fn a_login_in_place_of_a_token_is_recognised() {
        let (header, pair) = (Some(PastedLogin::BasicHeader), Some(PastedLogin::UserAndToken));
        for (text, scheme, expected) in [
            ("Basic bWU6dG9r", "bearer", header),
            ("basic bWU6dG8=", "basic", header),
            ("Basic bWU6dG9r", "raw", None),
            ("Basic bWU6dG9r", "X-Api-Key: {token}", header),
            ("Bearer tok", "X-Api-Key: {token}", Some(PastedLogin::BearerHeader)),
            ("bearer tok", "raw", Some(PastedLogin::BearerHeader)),
            ("bearer of words", "raw", None),
            ("me:tok", "raw", None),
            ("me@corp.example:tok", "bearer", pair),
            ("tok", "bearer", None),
            ("basic pass word", "basic", None),
            ("pass: word", "basic", None),
            (":tok", "bearer", None),
            ("basic", "bearer", None),
        ] {
            assert_eq!(login(text, scheme), expected, "{text} {scheme}");
        }
    }

    #[test]
    fn a_url_without_its_scheme_is_recognised() {
        for (text, url) in [
            ("corp.example/index/", Some("https://corp.example/index/")),
            ("sparse+corp.example/index/", Some("https://corp.example/index/")),
            ("localhost:8080/index/", Some("https://localhost:8080/index/")),
            ("https://corp.example/index/", None),
            ("sparse+https://corp.example/index/", None),
            ("corp.example", None),
            ("/srv/index/", None),
            ("t0ken/with.a.slash", None),
        ] {
            assert_eq!(url_without_scheme(text).as_deref(), url, "{text}");
        }
    }

    #[test]
    fn a_url_is_found_in_a_line_of_a_configuration_file() {
        for pasted in [
            "sparse+https://corp.example/index/",
            "  sparse+https://corp.example/index/ ",
            "\"sparse+https://corp.example/index/\"",
            "registry = \"sparse+https://corp.example/index/\"",
            "index = 'sparse+https://corp.example/index/',",
            "<sparse+https://corp.example/index/>",
        ] {
            assert_eq!(url(pasted), "sparse+https://corp.example/index/", "{pasted}");
        }
        assert_eq!(url("https://index.example/"), "https://index.example/");
    }
}
