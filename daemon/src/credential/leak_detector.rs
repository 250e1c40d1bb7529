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
pub(super) struct SecretLeakDetector {
    /// Forms that do not occur by chance.
    forms: Vec<Finder<'static>>,
    /// Short values, which count only as whole words.
    words: Vec<Finder<'static>>,
    /// The secret as a header's name contains it: in lower case.
    name: Option<Finder<'static>>,
    /// Length of the shortest form. No escape makes a text shorter.
    min_length: usize,
}

impl SecretLeakDetector {
    /// Detector for a token, and for the header's whole value `sent`.
    ///
    /// A token of less than [`MIN_SECRET_LENGTH`] bytes would be found everywhere by chance, so only `sent` is searched for.
    pub(super) fn new(token: &str, sent: &str) -> Self {
        // A stored token may include its scheme, as cargo sends it. A server may repeat the token without the scheme.
        let token = without_scheme(token);
        let mut forms = Vec::new();
        let mut words = Vec::new();
        for text in [sent, without_scheme(sent)] {
            if without_scheme(text).len() >= MIN_SECRET_LENGTH {
                forms.push(text.as_bytes().to_vec());
            } else if text == sent && !sent.is_empty() {
                words.push(text.as_bytes().to_vec());
            }
        }
        let mut name = None;
        if token.len() >= MIN_SECRET_LENGTH {
            forms.push(token.as_bytes().to_vec());
            // Form encoding, with `+` for a space.
            forms.push(byte_serialize(token.as_bytes()).collect::<String>().into_bytes());
            forms.extend(base64_forms(token));
            forms.extend(hexadecimal_forms(token));
            name = Some(Finder::new(&token.to_ascii_lowercase()).into_owned());
        }
        forms.sort_unstable();
        forms.dedup();
        let finders = |forms: &[Vec<u8>]| forms.iter().map(|form| Finder::new(form).into_owned()).collect();
        Self {
            min_length: forms.iter().chain(&words).map(Vec::len).min().unwrap_or(usize::MAX),
            forms: finders(&forms),
            words: finders(&words),
            name,
        }
    }

    /// True if `value` has the secret: as it is, escaped as in a JSON or quoted string, percent-encoded as in a redirect's
    /// query, or encoded again as in a URL in that query. Servers differ in the characters that they escape and in the
    /// case of the digits.
    pub(super) fn finds_secret_in(&self, value: &[u8]) -> bool {
        if value.len() < self.min_length {
            return false;
        }
        let mut value = Cow::Borrowed(value);
        for _ in 0..MAX_DECODINGS {
            if self.finds_form_in(&value) {
                return true;
            }
            let is_escaped = memchr(b'\\', &value).is_some();
            if is_escaped {
                value = Cow::Owned(unescape(&value));
                if self.finds_form_in(&value) {
                    return true;
                }
            }
            if memchr(b'%', &value).is_some() {
                value = Cow::Owned(percent_decode(&value).collect());
            } else if !is_escaped {
                return false;
            }
        }
        self.finds_form_in(&value)
    }

    /// True if a header's name, which is in lower case, contains the secret.
    pub(super) fn finds_secret_in_name(&self, name: &[u8]) -> bool {
        let secret = self.name.as_ref();
        secret.is_some_and(|secret| secret.needle().len() <= name.len() && secret.find(name).is_some())
    }

    fn finds_form_in(&self, value: &[u8]) -> bool {
        let is_in = |form: &Finder<'_>| form.needle().len() <= value.len() && form.find(value).is_some();
        self.forms.iter().any(is_in) || self.words.iter().any(|word| contains_word(value, word))
    }
}

fn without_scheme(text: &str) -> &str {
    match text.split_once(' ') {
        Some((scheme, token)) if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => token,
        _ => text,
    }
}

/// Does `text` contain `word` with no letter or digit beside it?
fn contains_word(text: &[u8], word: &Finder<'_>) -> bool {
    word.find_iter(text).any(|begin| {
        let before = begin.checked_sub(1).and_then(|at| text.get(at));
        let after = text.get(begin + word.needle().len());
        ![before, after].into_iter().flatten().any(u8::is_ascii_alphanumeric)
    })
}

/// Undoes the escapes of JSON, JavaScript and quoted strings (RFC 9110, section 5.6.4): `\uXXXX`, `\xXX`, and a backslash
/// before any other character.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        let Some((&kind, digits)) = after.split_first() else {
            break;
        };
        let length = match kind {
            b'u' => 4,
            b'x' => 2,
            _ => 0,
        };
        let escaped = digits.get(..length).filter(|_| length > 0).and_then(character);
        match escaped {
            Some(character) => {
                plain.extend(character.encode_utf8(&mut [0; 4]).bytes());
                rest = digits.get(length..).unwrap_or_default();
            }
            None => {
                plain.push(kind);
                rest = digits;
            }
        }
    }
    plain
}

fn character(digits: &[u8]) -> Option<char> {
    let digits = std::str::from_utf8(digits).ok()?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}

fn hexadecimal_forms(token: &str) -> [Vec<u8>; 2] {
    let digits: String = token.bytes().map(|byte| format!("{byte:02x}")).collect();
    [digits.to_ascii_uppercase().into_bytes(), digits.into_bytes()]
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
const MAX_DECODINGS: usize = 3;
const SCHEMES: [&str; 3] = ["bearer", "token", "basic"];

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn finds(token: &str, value: &str) -> bool {
        SecretLeakDetector::new(token, token).finds_secret_in(value.as_bytes())
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
    fn finds_a_secret_in_json_and_hexadecimal() {
        for escaped in [
            r"a\/b+c-0123",
            r"a\u002fb\u002Bc-0123",
            r"\x61/b+c-0123",
            "a%5C/b%2Bc-0123",
            r"a%5cu002fb\u002Bc-0123",
            "612f622b632d30313233",
            "612F622B632D30313233",
        ] {
            assert!(finds("a/b+c-0123", &format!("error=\"{escaped}\"")), "{escaped}");
        }
        assert!(
            finds(r"a\b-01234", r"a\b-01234")
                && finds(r"a\b-01234", r"a\\b-01234")
                && finds(r"a\b-01234", "a%5Cb-01234")
        );
        assert!(!finds("a/b+c-0123", r"a\/b+d-0123"));
    }

    #[test]
    fn finds_the_whole_value_of_a_short_token() {
        let finds = |sent: &str, value: &str| SecretLeakDetector::new("tok", sent).finds_secret_in(value.as_bytes());
        for value in ["Basic bWU6dG9r", "got=bWU6dG9r", "bWU6dG9r%3D", r"Basic\u0020bWU6dG9r"] {
            assert!(finds("Basic bWU6dG9r", value), "{value}");
        }
        assert!(finds("Bearer tok", "got: Bearer tok") && finds("tok", "tok") && finds("tok", "/?token=tok&x"));
        assert!(!finds("Bearer tok", "Bearer token_type") && !finds("tok", "token") && !finds("tok", "x-stok"));
    }

    #[test]
    fn finds_a_secret_in_a_name() {
        let detector = SecretLeakDetector::new("S3cret-T0ken", "S3cret-T0ken");
        assert!(
            detector.finds_secret_in_name(b"x-s3cret-t0ken-x") && !detector.finds_secret_in_name(b"x-secret-token")
        );
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
