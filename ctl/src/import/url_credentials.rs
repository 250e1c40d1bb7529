//! URLs with a user and password in them, as in `.git-credentials` and `pip.conf`.

use percent_encoding::percent_decode_str;
use url::Url;

use super::auth_scheme::{self, AuthScheme};
use super::found::{TokenLocation, TokenTarget};
use super::scan::ScannedToken;

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
    /// Parses a URL with a user and password, or with a user that is long enough to be a token. `None` for other texts.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (_, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let userinfo = authority.get(..=authority.rfind('@')?)?;
        let (user, password) = match userinfo.trim_end_matches('@').split_once(':') {
            Some((user, password)) => (percent_decode(user)?, percent_decode(password)?),
            None => (percent_decode(userinfo.trim_end_matches('@'))?, String::new()),
        };
        if password.is_empty() && user.len() < SHORTEST_TOKEN {
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

fn percent_decode(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

/// A user of this length, without a password, is a token: people choose shorter names.
const SHORTEST_TOKEN: usize = 20;

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
        let found = format!("https://{token}@a.example/");
        assert_eq!(UrlCredentials::parse(&found).unwrap().scheme, AuthScheme::Raw);
        for nothing in [
            "https://a.example/",
            "https://me@a.example/",
            "me:p@a.example",
            "ssh://me:p@a.example/",
        ] {
            assert!(UrlCredentials::parse(nothing).is_none(), "{nothing}");
        }
    }
}
