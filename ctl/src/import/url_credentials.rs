//! URLs with a user and password in them, as in `.git-credentials` and `pip.conf`.

use percent_encoding::percent_decode_str;
use url::Url;

use super::auth_scheme::{self, AuthScheme};
use super::found::{TokenLocation, TokenTarget};
use super::scan::{ScannedToken, has_variable};

/// Credentials of a URL.
pub(super) struct UrlCredentials<'a> {
    /// URL without user and password, ending in `/`.
    pub(super) scope: String,
    /// Authentication scheme that sends them.
    pub(super) scheme: AuthScheme,
    /// Secret part, percent-decoded.
    pub(super) secret: String,
    /// `user:password@`, as in the text.
    pub(super) userinfo: &'a str,
}

impl<'a> UrlCredentials<'a> {
    /// Parses a URL with a user and password, or with a user that looks like a token. `None` for other texts, and for a
    /// URL whose user or password is an environment variable.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (_, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let userinfo = authority.get(..=authority.rfind('@')?)?;
        let (user, password) = match userinfo.trim_end_matches('@').split_once(':') {
            Some((user, password)) => (percent_decode(user)?, percent_decode(password)?),
            None => (percent_decode(userinfo.trim_end_matches('@'))?, String::new()),
        };
        if has_variable(&user) || has_variable(&password) || (password.is_empty() && !looks_like_token(&user)) {
            return None;
        }
        let (scheme, secret) = auth_scheme::from_user_and_password(&user, &password);
        Some(Self {
            scope: scope_of_url(&text.replacen(userinfo, "", 1))?,
            scheme,
            secret,
            userinfo,
        })
    }

    /// Token for everything below the URL.
    pub(super) fn into_token(self, kind: &'static str, location: TokenLocation) -> ScannedToken {
        ScannedToken {
            name: None,
            kind,
            target: TokenTarget::Scope(self.scope),
            scheme: self.scheme,
            secret: self.secret,
            location,
        }
    }
}

/// URL with a user and no password.
pub(super) enum UserOnly {
    /// The user is too short for a token that is surely one, and may be a name.
    MaybeToken {
        /// URL without the user, ending in `/`.
        scope: String,
    },
    /// The user is a name, such as an address.
    Name,
}

/// Looks at a URL that has a user and no password; `None` for other texts.
pub(super) fn user_only(text: &str) -> Option<UserOnly> {
    let url = Url::parse(text).ok()?;
    if url.username().is_empty() || url.password().is_some() || has_variable(text) {
        return None;
    }
    let user = percent_decode(url.username())?;
    let mut without = url.clone();
    without.set_username("").ok()?;
    Some(match user.contains(['@', '.', '\\']) {
        true => UserOnly::Name,
        false => UserOnly::MaybeToken {
            scope: scope_of_url(without.as_str())?,
        },
    })
}

/// True for a user without a password that is a token. People choose shorter names, with no digits or with an `@`.
fn looks_like_token(user: &str) -> bool {
    let has_parts_of_a_name =
        user.contains(['@', '\\', ' ']) || (user.contains('.') && user.len() < SHORTEST_DOTTED_TOKEN);
    user.len() >= SHORTEST_TOKEN && user.contains(|c: char| c.is_ascii_digit()) && !has_parts_of_a_name
}

/// Scope of an http or https URL: everything below it.
pub(super) fn scope_of_url(text: &str) -> Option<String> {
    let mut url = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "https" | "http"))?;
    url.host_str()?;
    url.set_query(None);
    url.set_fragment(None);
    let slash = if url.path().ends_with('/') { "" } else { "/" };
    Some(format!("{url}{slash}"))
}

/// Scope of a host, which may have a port; `None` for a text that is more than that, or no host.
pub(super) fn scope_of_host(host: &str) -> Option<String> {
    if host.is_empty() || host.contains(['/', '\\', '@', '?', '#']) {
        return None;
    }
    scope_of_url(&format!("https://{host}/"))
}

fn percent_decode(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

const SHORTEST_TOKEN: usize = 16;
/// Tokens with dots are JSON Web Tokens, which are long; a name may be `first.lastname2`.
const SHORTEST_DOTTED_TOKEN: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_user_password_and_scope() {
        let token = "ghp_0123456789abcdefghij";
        for (url, scope, user, secret, userinfo) in [
            (
                "https://me:t0k%2Fen@a.example",
                "https://a.example/",
                "me",
                "t0k/en",
                "me:t0k%2Fen@",
            ),
            (
                "https://me%40x:p@a.example:8443/b?c",
                "https://a.example:8443/b/",
                "me@x",
                "p",
                "me%40x:p@",
            ),
            (
                "https://me:p@ss@a.example/",
                "https://a.example/",
                "me",
                "p@ss",
                "me:p@ss@",
            ),
        ] {
            let found = UrlCredentials::parse(url).unwrap();
            assert_eq!((found.scope.as_str(), found.scheme.username().unwrap()), (scope, user));
            assert_eq!((found.secret.as_str(), found.userinfo), (secret, userinfo));
        }
        for token in [token, "0123456789abcdef"] {
            let found = format!("https://{token}@a.example/");
            assert_eq!(UrlCredentials::parse(&found).unwrap().scheme, AuthScheme::Raw);
        }
        let is_maybe = |url: &str| matches!(user_only(url), Some(UserOnly::MaybeToken { .. }));
        assert!(is_maybe("https://s3cr3t@a.example/") && !is_maybe("https://me%40x@a.example/"));
        for nothing in [
            "https://a.example/",
            "https://me@a.example/",
            "me:p@a.example",
            "ssh://me:p@a.example/",
            "https://first.lastname%40corp.example@a.example/",
            "https://first.lastname.2nd.of.corp@a.example/",
            "https://a-long-name-without-digits@a.example/",
            "https://${PIP_USER}:${PIP_PASS}@a.example/",
            "https://me:${PIP_PASS}@a.example/",
        ] {
            assert!(UrlCredentials::parse(nothing).is_none(), "{nothing}");
        }
    }
}
