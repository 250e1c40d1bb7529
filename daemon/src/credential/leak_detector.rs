//! Finds a secret in what a registry answers. Pure.
//!
//! Some servers repeat a request's credential in a redirect or an error header. The client would then have the secret.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use memchr::memchr;
use memchr::memmem::Finder;
use percent_encoding::percent_decode;
use url::form_urlencoded::byte_serialize;

/// Searches for one secret in all forms that a server may repeat it in.
pub(super) struct SecretLeakDetector(Vec<Finder<'static>>);

impl SecretLeakDetector {
    /// Finds nothing for a secret of less than [`MIN_SECRET_LENGTH`] bytes, which would be found everywhere by chance.
    pub(super) fn new(token: &str) -> Self {
        // A stored token may include its scheme, as cargo sends it. A server may repeat the token without the scheme.
        let token = match token.split_once(' ') {
            Some((scheme, token)) if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => token,
            _ => token,
        };
        let mut forms = Vec::new();
        if token.len() >= MIN_SECRET_LENGTH {
            forms.push(token.as_bytes().to_vec());
            // Form encoding, with `+` for a space.
            forms.push(byte_serialize(token.as_bytes()).collect::<String>().into_bytes());
            forms.extend(base64_forms(token));
            forms.sort_unstable();
            forms.dedup();
        }
        Self(forms.iter().map(|form| Finder::new(form).into_owned()).collect())
    }

    /// True if `value` has the secret: as it is, percent-encoded as in a redirect's query, or encoded again as in a URL
    /// in that query. Servers differ in the characters that they escape and in the case of the digits.
    pub(super) fn finds_secret_in(&self, value: &[u8]) -> bool {
        let mut value = Cow::Borrowed(value);
        for _ in 0..MAX_PERCENT_DECODINGS {
            if self.finds_form_in(&value) {
                return true;
            }
            if memchr(b'%', &value).is_none() {
                return false;
            }
            value = Cow::Owned(percent_decode(&value).collect());
        }
        self.finds_form_in(&value)
    }

    fn finds_form_in(&self, value: &[u8]) -> bool {
        self.0
            .iter()
            .any(|form| form.needle().len() <= value.len() && form.find(value).is_some())
    }
}

/// The token in base64 at each of three offsets, since a user name may precede it. Characters at the edges also depend
/// on the neighbouring bytes and are left out.
fn base64_forms(token: &str) -> impl Iterator<Item = Vec<u8>> {
    [("", 0), ("\0", 2), ("\0\0", 3)]
        .into_iter()
        .flat_map(move |(padding, first)| {
            let padded = format!("{padding}{token}");
            [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|alphabet| {
                let encoded = alphabet.encode(&padded).into_bytes();
                let whole = encoded.len() - usize::from(padded.len() % 3 != 0);
                encoded.get(first..whole).map(<[u8]>::to_vec)
            })
        })
        .flatten()
}

impl fmt::Debug for SecretLeakDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretLeakDetector(…)")
    }
}

const MIN_SECRET_LENGTH: usize = 8;
const MAX_PERCENT_DECODINGS: usize = 3;
const SCHEMES: [&str; 3] = ["bearer", "token", "basic"];

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn finds(token: &str, value: &str) -> bool {
        SecretLeakDetector::new(token).finds_secret_in(value.as_bytes())
    }

    #[test]
    fn finds_a_secret_as_it_is_and_in_base64() {
        const TOKEN: &str = "s3cret-t0ken-of-corp";
        assert!(finds(TOKEN, "https://corp.example/?token=s3cret-t0ken-of-corp&x"));
        assert!(!finds(TOKEN, "s3cret-t0ken-of-cor"));
        for user in ["", "m", "me", "me@", "me@corp.example"] {
            for after in ["", "x", "xy", "xyz"] {
                let pair = format!("{user}:{TOKEN}{after}");
                for text in [
                    STANDARD.encode(&pair),
                    URL_SAFE_NO_PAD.encode(&pair),
                    STANDARD_NO_PAD.encode(&pair),
                ] {
                    assert!(finds(TOKEN, &format!("Basic {text}")), "{pair}");
                }
            }
        }
        assert!(!finds(TOKEN, &STANDARD.encode("me:another-token-of-corp")));
    }

    #[test]
    fn finds_an_escaped_secret() {
        for escaped in [
            "a%2Bb%2Fc%3Dd%26e",
            "a%2bb%2fc%3dd%26e",
            "a+b%2Fc=d%26e",
            "a%252Bb%252Fc%253Dd%2526e",
            "%61+b/c=d&e",
            "YStiL2M9ZCZl",
            "bWU6YStiL2M9ZCZl%3D",
        ] {
            assert!(finds("a+b/c=d&e", &format!("/login?token={escaped}")), "{escaped}");
        }
        assert!(!finds("a+b/c=d&e", "/login?token=a%2Bb%2Fc%3Dd%26f"));
        // Its base64 has characters that are escaped.
        assert!(finds("~~~???>>>~~~", "?basic=fn5%2BPz8%2FPj4%2Bfn5%2b"));
    }

    #[test]
    fn finds_a_token_without_its_scheme_and_no_short_token() {
        assert!(finds("Bearer s3cret-t0ken", "/login?token=s3cret-t0ken"));
        assert!(!finds("ab", "abc"));
    }

    proptest::proptest! {
        #[test]
        fn finds_a_secret_whatever_is_around_it(before in "[ -~]{0,20}", after in "[ -~]{0,20}", token in "[!-~]{8,40}") {
            let text = format!("{before}{token}{after}");
            for form in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text), text] {
                proptest::prop_assert!(finds(&token, &form), "{}", form);
            }
        }
    }
}
