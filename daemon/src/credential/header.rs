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
        while let Some(alias) = headers.keys().find(|name| self.is_alias(name)).cloned() {
            headers.remove(alias);
        }
        headers.insert(self.name.clone(), self.value.clone());
    }

    fn is_alias(&self, name: &HeaderName) -> bool {
        name.as_str().contains('_') && name != self.name && is_alias_of(name.as_str(), self.name.as_str())
    }

    /// True if a registry's answer repeats the secret in a header: plain, escaped, in base64 or in hexadecimal, whatever
    /// is around it. Costs about a microsecond: a search in the values that are long enough to hold the secret.
    pub fn is_leaked_in(&self, headers: &HeaderMap) -> bool {
        let mut names = headers.keys().map(HeaderName::as_str);
        names.any(|name| self.leak_detector.finds_secret_in_name(name.as_bytes()))
            || headers.values().any(|value| self.is_leaked_in_text(value.as_bytes()))
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

#[cfg(test)]
mod tests {
    use super::*;

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
