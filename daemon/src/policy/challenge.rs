//! Bearer challenge of a container registry: the token service that its clients are to ask (distribution, "Token
//! Authentication Specification"). Pure.

use http::header::{HeaderMap, WWW_AUTHENTICATE};
use url::Url;

/// Bearer challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Challenge {
    /// URL of the token service.
    pub(crate) realm: Url,
    /// Name of the registry, for the token service.
    pub(crate) service: Option<String>,
}

impl Challenge {
    /// The first Bearer challenge with a realm that is a URL.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let challenges = headers.get_all(WWW_AUTHENTICATE).iter();
        challenges
            .filter_map(|challenge| Self::parse(challenge.to_str().ok()?))
            .next()
    }

    fn parse(text: &str) -> Option<Self> {
        let (scheme, parameters) = text.trim_start().split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) {
            return None;
        }
        let mut challenge = (None, None);
        let mut rest = parameters;
        while let Some((name, value, after)) = parameter(rest) {
            match name {
                name if name.eq_ignore_ascii_case("realm") => challenge.0 = value.parse().ok(),
                name if name.eq_ignore_ascii_case("service") => challenge.1 = Some(value),
                _ => {}
            }
            rest = after;
        }
        let (realm, service) = challenge;
        let service = service.filter(|service| !service.is_empty());
        realm.map(|realm| Self { realm, service })
    }

    /// True if the realm is this URL, whatever the queries are.
    pub(crate) fn leads_to(&self, service: &Url) -> bool {
        let place = |url: &Url| {
            let host = url.host_str().map(str::to_owned);
            (
                url.scheme().to_owned(),
                host,
                url.port_or_known_default(),
                url.path().to_owned(),
            )
        };
        place(&self.realm) == place(service)
    }
}

/// The next parameter of a challenge, and the text after it (RFC 9110, section 11.2).
fn parameter(text: &str) -> Option<(&str, String, &str)> {
    let text = text.trim_start_matches([',', ' ', '\t']);
    let (name, value) = text.split_once('=')?;
    let (name, value) = (name.trim(), value.trim_start());
    let Some(quoted) = value.strip_prefix('"') else {
        let end = value.find([',', ' ']).unwrap_or(value.len());
        let (value, rest) = value.split_at(end);
        return Some((name, value.to_owned(), rest));
    };
    let mut unescaped = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((name, unescaped, quoted.get(at + 1..)?)),
            '\\' => unescaped.push(characters.next()?.1),
            other => unescaped.push(other),
        }
    }
    None
}

const SCHEME: &str = "Bearer ";

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Option<(String, Option<String>)> {
        let mut headers = HeaderMap::new();
        headers.append(
            WWW_AUTHENTICATE,
            "Basic realm=\"https://basic.example/\"".parse().unwrap(),
        );
        headers.append(WWW_AUTHENTICATE, text.parse().unwrap());
        Challenge::of(&headers).map(|challenge| (challenge.realm.to_string(), challenge.service))
    }

    #[test]
    fn a_challenge_has_a_realm_and_a_service() {
        let both = Some(("https://auth.example/token".to_owned(), Some("corp".to_owned())));
        for text in [
            r#"Bearer realm="https://auth.example/token",service="corp",scope="repository:a:pull,push""#,
            r#"bearer  Realm = "https://auth.example/token" , service=corp"#,
            r#"Bearer error="invalid_token, \"realm=\"", service="c\orp",realm="https://auth.example/token""#,
        ] {
            assert_eq!(parse(text), both, "{text}");
        }
        assert_eq!(
            parse(r#"Bearer realm="https://auth.example/token""#),
            Some(("https://auth.example/token".to_owned(), None))
        );
        for text in [
            "Bearer",
            "Bearer service=\"corp\"",
            "Bearer realm=\"corp\"",
            "Bearer realm=\"https://auth.example/token",
            "Basic realm=\"https://auth.example/token\"",
            "Bearer \u{e9}",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_realm_elsewhere_is_another_token_service() {
        let service: Url = "https://auth.example/token?account=x".parse().unwrap();
        for (realm, is_same) in [
            ("https://auth.example/token", true),
            ("https://AUTH.example:443/token?x", true),
            ("https://auth.example/token/", false),
            ("https://auth.example:8443/token", false),
            ("http://auth.example/token", false),
            ("https://auth.example.evil/token", false),
        ] {
            let challenge = Challenge {
                realm: realm.parse().unwrap(),
                service: None,
            };
            assert_eq!(challenge.leads_to(&service), is_same, "{realm}");
        }
    }
}
