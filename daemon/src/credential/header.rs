//! A secret as a request header, under a registry's scheme.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::header::{HeaderMap, HeaderName, HeaderValue};
use regauth_shared::Secret;

use crate::credential::leak_detector::SecretLeakDetector;
use crate::policy::header_name::is_alias_of;
use crate::registry::Scheme;

/// A header that carries a credential, made once for each generation.
#[derive(Debug)]
pub struct CredentialHeader {
    name: HeaderName,
    value: HeaderValue,
    leak_detector: SecretLeakDetector,
}

impl CredentialHeader {
    /// The header for `secret` under `scheme`.
    ///
    /// [`Scheme::check`] tells beforehand whether there is one. Without it, the value is empty and the registry answers 401.
    pub fn new(scheme: &Scheme, secret: &Secret) -> Self {
        let token = secret.expose();
        let text = match scheme {
            Scheme::Basic { username } => format!("Basic {}", STANDARD.encode(format!("{username}:{token}"))),
            Scheme::Bearer => format!("Bearer {token}"),
            Scheme::Raw => token.to_owned(),
            Scheme::Template { prefix, suffix, .. } => format!("{prefix}{token}{suffix}"),
        };
        let mut value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        value.set_sensitive(true);
        Self {
            name: scheme.header(),
            value,
            leak_detector: SecretLeakDetector::new(token, &text),
        }
    }

    /// Puts the header into a request, in place of the client's headers of that name. Servers that pass headers on in
    /// environment variables read `_` as `-`, so the client's headers with such a name are removed too.
    pub fn attach(&self, headers: &mut HeaderMap) {
        replace_header(headers, &self.name, self.value.clone());
    }

    /// True if a registry's answer repeats the secret in a header: plain, escaped, in base64 or in hexadecimal, whatever
    /// is around it, or split over several headers of one name. Costs about a microsecond: a search in the values that are
    /// long enough to hold the secret.
    pub fn is_leaked_in(&self, headers: &HeaderMap) -> bool {
        let mut names = headers.keys().map(HeaderName::as_str);
        names.any(|name| self.leak_detector.finds_secret_in_name(name.as_bytes()))
            || headers.values().any(|value| self.is_leaked_in_text(value.as_bytes()))
            || (headers.len() > headers.keys_len() && self.is_split_in(headers))
    }

    /// True if the values of one name, one after the other, repeat the secret.
    fn is_split_in(&self, headers: &HeaderMap) -> bool {
        headers.keys().any(|name| {
            let values = headers.get_all(name).iter();
            let values: Vec<&[u8]> = values.map(HeaderValue::as_bytes).collect();
            values.len() > 1 && self.is_leaked_in_text(&values.concat())
        })
    }

    /// As [`is_leaked_in`](Self::is_leaked_in), for one value or a reason phrase.
    pub fn is_leaked_in_text(&self, text: &[u8]) -> bool {
        self.leak_detector.finds_secret_in(text)
    }

    /// True if a text is the header's value, or repeats the secret in any form.
    pub fn is_repeated_in(&self, text: &[u8]) -> bool {
        self.value.as_bytes() == text || self.leak_detector.finds_secret_in(text)
    }
}

/// Puts a header into a request, in place of all that a server may take for it: those of its name, and those with `_` for
/// `-`.
pub(crate) fn replace_header(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    let is_alias = |other: &&HeaderName| {
        other.as_str().contains('_') && *other != name && is_alias_of(other.as_str(), name.as_str())
    };
    while let Some(alias) = headers.keys().find(is_alias).cloned() {
        headers.remove(alias);
    }
    headers.insert(name.clone(), value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_is_split_over_headers_of_one_name_is_found() {
        let secret = Secret::parse("s3cret-t0ken-of-corp").unwrap();
        let header = CredentialHeader::new(&Scheme::parse("bearer", None).unwrap(), &secret);
        // The last: `me:s3cret-t0ken-of-corp` in base64.
        for (first, second, is_leaked) in [
            ("token=s3cret-t0", "ken-of-corp; path=/", true),
            ("bWU6czNjcmV0LXQw", "a2VuLW9mLWNvcnA=", true),
            ("s3cret-t0", "ken-of-cork", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.append("link", HeaderValue::from_static(first));
            headers.append("vary", HeaderValue::from_static("accept"));
            assert!(!header.is_leaked_in(&headers), "{first}");
            headers.append("link", HeaderValue::from_static(second));
            assert_eq!(header.is_leaked_in(&headers), is_leaked, "{first}");
        }
    }

    #[test]
    fn each_scheme_has_its_header() {
        let secret = Secret::parse("tok").unwrap();
        for (scheme, username, line) in [
            ("basic", Some("me"), "authorization: Basic bWU6dG9r"),
            ("basic", Some("mé"), "authorization: Basic bcOpOnRvaw=="),
            ("bearer", None, "authorization: Bearer tok"),
            ("raw", None, "authorization: tok"),
            ("Authorization: Token {token}", None, "authorization: Token tok"),
            ("User-Agent: shipyard {token}", None, "user-agent: shipyard tok"),
        ] {
            let mut headers = HeaderMap::new();
            headers.append("authorization", HeaderValue::from_static("client's"));
            headers.append("user-agent", HeaderValue::from_static("client's"));
            let header = CredentialHeader::new(&Scheme::parse(scheme, username).unwrap(), &secret);
            header.attach(&mut headers);
            let (name, value) = line.split_once(": ").unwrap();
            assert_eq!(headers.get_all(name).iter().collect::<Vec<_>>(), [value]);
            assert!(!format!("{header:?}").contains("tok"), "{header:?}");
        }
    }

    #[test]
    fn basic_sends_a_password_beyond_ascii_as_utf8() {
        let secret = Secret::parse("pässwörd").unwrap();
        let basic = Scheme::parse("basic", Some("me")).unwrap();
        assert_eq!(basic.check(&secret), Ok(()));
        let mut headers = HeaderMap::new();
        CredentialHeader::new(&basic, &secret).attach(&mut headers);
        assert_eq!(headers["authorization"], "Basic bWU6cMOkc3N3w7ZyZA==");
        for scheme in ["bearer", "raw", "X-Key: {token}"] {
            assert!(Scheme::parse(scheme, None).unwrap().check(&secret).is_err(), "{scheme}");
        }
    }
}
