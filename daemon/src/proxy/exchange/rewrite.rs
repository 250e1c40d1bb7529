//! Rewriting of headers: strips what belongs to one hop, and attaches the credential. Pure.

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme, Uri};
use http::{Method, Request, Version};
use http_body::Body as _;
use http_body_util::{Either, Full};
use memchr::memchr;
use memchr::memmem::Finder;
use percent_encoding::percent_decode;
use regauth_shared::Secret;
use regauth_shared::placeholder::PLACEHOLDER;
use url::form_urlencoded::byte_serialize;

use crate::proxy::exchange::body::RequestBody;
use crate::registry::Scheme;

/// A header that carries a credential, made once a generation.
#[derive(Debug)]
pub struct CredentialHeader {
    name: HeaderName,
    value: HeaderValue,
    reflections: SecretLeakDetector,
}

impl CredentialHeader {
    /// The header for `secret` under `scheme`.
    ///
    /// A [`Secret`] is printable ASCII and so are a scheme's parts, so every combination is a header value; were it not,
    /// the value would be empty and the registry would say 401.
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
            reflections: SecretLeakDetector::of(token),
        }
    }

    /// Whether an answer repeats the secret in a header, plain, percent-encoded, or in base64 with whatever around it. What it costs is
    /// a search in those values that are long enough to hold it, about a microsecond an answer; escaped ones are undone first.
    pub fn is_reflected_in(&self, headers: &HeaderMap) -> bool {
        headers.values().any(|value| self.reflections.are_in(value.as_bytes()))
    }

    /// Puts the header in, in place of whatever stood there.
    pub fn attach(&self, headers: &mut HeaderMap) {
        headers.insert(self.name.clone(), self.value.clone());
    }
}

/// The forms that a secret may come back in.
struct SecretLeakDetector(Vec<Finder<'static>>);

impl SecretLeakDetector {
    /// None for a secret so short that it is found everywhere by chance.
    fn of(token: &str) -> Self {
        // Some keep the scheme with the token, as cargo sends both; what is repeated need not have it.
        let token = match token.split_once(' ') {
            Some((scheme, token)) if SCHEMES.iter().any(|known| scheme.eq_ignore_ascii_case(known)) => token,
            _ => token,
        };
        let mut forms = Vec::new();
        if token.len() >= SHORTEST_REFLECTION {
            forms.push(token.as_bytes().to_vec());
            // As a form would have it, with `+` for a blank.
            forms.push(byte_serialize(token.as_bytes()).collect::<String>().into_bytes());
            // At each offset in what is encoded, since a user name may stand before it; without the characters at the
            // edges, which depend on what is around.
            for offset in 0..3 {
                let padded = format!("{}{token}", &"\0\0\0"[..offset]);
                for alphabet in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
                    let encoded = alphabet.encode(&padded).into_bytes();
                    let whole = encoded.len() - usize::from(padded.len() % 3 != 0);
                    let first = [0, 2, 3].get(offset).copied().unwrap_or_default();
                    forms.extend(encoded.get(first..whole).map(<[u8]>::to_vec));
                }
            }
            forms.sort_unstable();
            forms.dedup();
        }
        Self(forms.iter().map(|form| Finder::new(form).into_owned()).collect())
    }

    /// As it is, and as a redirect would have it in its query, or in a URL there. Which characters are escaped, and in which
    /// case, differs among servers.
    fn are_in(&self, value: &[u8]) -> bool {
        let mut value = Cow::Borrowed(value);
        for _ in 0..MOST_ESCAPED {
            if self.are_plainly_in(&value) {
                return true;
            }
            if memchr(b'%', &value).is_none() {
                return false;
            }
            value = Cow::Owned(percent_decode(&value).collect());
        }
        self.are_plainly_in(&value)
    }

    fn are_plainly_in(&self, value: &[u8]) -> bool {
        self.0
            .iter()
            .any(|form| form.needle().len() <= value.len() && form.find(value).is_some())
    }
}

impl fmt::Debug for SecretLeakDetector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretLeakDetector(…)")
    }
}

const SHORTEST_REFLECTION: usize = 8;
const MOST_ESCAPED: usize = 3;
const SCHEMES: [&str; 3] = ["bearer", "token", "basic"];

/// Turns a client's request into an upstream request: absolute target, no hop-by-hop or `Proxy-*` header, no Host. The
/// upstream client writes Host from the target.
pub fn request(parts: &mut Parts, scheme: &UriScheme, authority: &Authority) {
    // RFC 9112, section 3.2.4: `OPTIONS *` has no path.
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or(PathAndQuery::from_static("/"));
    let mut target = http::uri::Parts::default();
    target.scheme = Some(scheme.clone());
    target.authority = Some(authority.clone());
    target.path_and_query = Some(path);
    parts.uri = Uri::from_parts(target).unwrap_or_default();
    // The upstream client speaks the version that ALPN negotiated.
    parts.version = Version::HTTP_11;
    strip_hop_by_hop(&mut parts.headers);
    parts.headers.remove(header::HOST);
    // hyper answers it when the body is first read.
    parts.headers.remove(header::EXPECT);
    drop_placeholder(&mut parts.headers);
    join_cookies(&mut parts.headers);
}

/// Removes hop-by-hop headers from a response.
pub fn response(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
}

/// Removes session cookies from a response. A client could use one in place of the credential: to write, and without the
/// proxy.
pub fn withhold_session(headers: &mut HeaderMap) {
    headers.remove(header::SET_COOKIE);
    headers.remove(SET_COOKIE_2);
}

/// Copies a request that is safe to repeat: it has no body, and its method changes nothing (RFC 9110, section 9.2.2).
pub(crate) fn repeatable_copy(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let is_safe = matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    if !request.body().is_end_stream() || !is_safe {
        return None;
    }
    let mut copy = Request::new(Either::Right(Full::new(Bytes::new())));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// Removes the standard hop-by-hop headers, those that Connection names (RFC 9110, section 7.6.1), and every `Proxy-*`.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let mut removed: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        removed.extend(
            names
                .filter_map(|name| HeaderName::from_bytes(name).ok())
                .filter(|name| !is_protected(name)),
        );
    }
    removed.extend(
        headers
            .keys()
            .filter(|name| name.as_str().starts_with("proxy-"))
            .cloned(),
    );
    for name in removed {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Returns true if a header defines the message or its authorization: naming it in Connection does not remove it.
fn is_protected(name: &HeaderName) -> bool {
    [header::CONTENT_LENGTH, header::HOST, header::AUTHORIZATION].contains(name)
}

/// Removes the placeholder that cargo sends in place of a token, and npm as a Bearer token. A server would take it for a
/// wrong token if the credential goes in another header or the path is outside every scope.
fn drop_placeholder(headers: &mut HeaderMap) {
    if headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes().ends_with(PLACEHOLDER.as_bytes()))
    {
        headers.remove(header::AUTHORIZATION);
    }
}

/// Joins Cookie headers: HTTP/2 may split them, and HTTP/1.1 allows one line (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let cookies: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// RFC 2965; some servers still send it.
const SET_COOKIE_2: HeaderName = HeaderName::from_static("set-cookie2");
const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::TE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("http2-settings"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut request = http::Request::get("/a?b").body(()).unwrap().into_parts().0;
        for (name, value) in lines {
            request.headers.append(*name, HeaderValue::from_static(value));
        }
        crate::proxy::exchange::rewrite::request(
            &mut request,
            &UriScheme::HTTPS,
            &Authority::from_static("corp.example"),
        );
        assert_eq!(request.uri, "https://corp.example/a?b");
        request.headers
    }

    #[test]
    fn strips_hop_by_hop_and_named_headers() {
        let headers = rewritten(&[
            ("connection", "close, X-Secret"),
            ("x-secret", "1"),
            ("proxy-authorization", "Basic x"),
            ("proxy-connection", "keep-alive"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("host", "evil.example"),
            ("expect", "100-continue"),
            ("accept", "*/*"),
        ]);
        assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
    }

    #[test]
    fn connection_cannot_remove_content_length() {
        let headers = rewritten(&[("connection", "content-length"), ("content-length", "3")]);
        assert_eq!(headers.get("content-length").unwrap(), "3");
    }

    #[test]
    fn strips_the_placeholder_and_keeps_the_clients_own_token() {
        assert!(rewritten(&[("authorization", PLACEHOLDER)]).is_empty());
        assert!(rewritten(&[("authorization", "Bearer regauth-placeholder-not-a-secret")]).is_empty());
        assert_eq!(
            rewritten(&[("authorization", "mine")]).get("authorization").unwrap(),
            "mine"
        );
    }

    #[test]
    fn joins_split_cookies_into_one_line() {
        let headers = rewritten(&[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn a_reflected_secret_is_found_in_every_form() {
        let secret = Secret::parse("s3cret-t0ken-of-corp").unwrap();
        let header = CredentialHeader::new(&Scheme::Bearer, &secret);
        let reflects = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("x", HeaderValue::from_str(value).unwrap());
            header.is_reflected_in(&headers)
        };
        assert!(reflects("https://corp.example/?token=s3cret-t0ken-of-corp&x"));
        for user in ["", "m", "me", "me@", "me@corp.example"] {
            for after in ["", "x", "xy", "xyz"] {
                let pair = format!("{user}:s3cret-t0ken-of-corp{after}");
                for text in [
                    STANDARD.encode(&pair),
                    URL_SAFE_NO_PAD.encode(&pair),
                    STANDARD_NO_PAD.encode(&pair),
                ] {
                    assert!(reflects(&format!("Basic {text}")), "{pair}");
                }
            }
        }
        assert!(!reflects("s3cret-t0ken-of-cor"));
        let odd = CredentialHeader::new(&Scheme::Raw, &Secret::parse("a+b/c=d&e").unwrap());
        for escaped in [
            "a%2Bb%2Fc%3Dd%26e",
            "a%2bb%2fc%3dd%26e",
            "a+b%2Fc=d%26e",
            "a%252Bb%252Fc%253Dd%2526e",
            "%61+b/c=d&e",
            "YStiL2M9ZCZl",
            "bWU6YStiL2M9ZCZl%3D",
        ] {
            assert!(
                odd.reflections.are_in(format!("/login?token={escaped}").as_bytes()),
                "{escaped}"
            );
        }
        assert!(!odd.reflections.are_in(b"/login?token=a%2Bb%2Fc%3Dd%26f"));
        // As the base64 of it has, too.
        let slashes = CredentialHeader::new(&Scheme::Raw, &Secret::parse("~~~???>>>~~~").unwrap());
        assert!(slashes.reflections.are_in(b"?basic=fn5%2BPz8%2FPj4%2Bfn5%2b"));
        assert!(!reflects(&STANDARD.encode("me:another-token-of-corp")));
        let with_scheme = CredentialHeader::new(&Scheme::Raw, &Secret::parse("Bearer s3cret-t0ken").unwrap());
        assert!(with_scheme.reflections.are_in(b"/login?token=s3cret-t0ken"));
        let short = CredentialHeader::new(&Scheme::Bearer, &Secret::parse("ab").unwrap());
        assert!(!short.reflections.are_in(b"abc"));
    }

    #[test]
    fn each_scheme_has_its_header() {
        let secret = Secret::parse("tok").unwrap();
        for (scheme, username, line) in [
            ("basic", Some("me"), "authorization: Basic bWU6dG9r"),
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

    proptest::proptest! {
        /// Connection may name any header: hop-by-hop headers are stripped, and protected headers stay.
        #[test]
        fn strips_every_hop_by_hop_header(
            lines in proptest::collection::vec(
                (
                    "connection|proxy-[a-z]{1,8}|te|transfer-encoding|upgrade|keep-alive|host|expect|content-length|x-[ab]|authorization",
                    "(x-a|x-b|close|content-length|authorization|host|[0-9]{1,3})(, ?(x-[ab]|TE|X-A|@))?",
                ),
                0..12,
            ),
        ) {
            let mut parts = http::Request::get("/a").body(()).unwrap().into_parts().0;
            for (name, value) in &lines {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                parts.headers.append(name, HeaderValue::from_str(value).unwrap());
            }
            let before = parts.headers.clone();
            crate::proxy::exchange::rewrite::request(&mut parts, &UriScheme::HTTPS, &Authority::from_static("corp.example"));
            for name in parts.headers.keys() {
                let is_hop_by_hop = HOP_BY_HOP.contains(name) || name.as_str().starts_with("proxy-");
                proptest::prop_assert!(!is_hop_by_hop && name != header::HOST && name != header::EXPECT, "{}", name);
                let named = before.get_all(header::CONNECTION).iter().any(|value| {
                    value.to_str().unwrap().split(',').any(|word| word.trim().eq_ignore_ascii_case(name.as_str()))
                });
                proptest::prop_assert!(!named || is_protected(name), "{}", name);
            }
            for name in [header::CONTENT_LENGTH, header::AUTHORIZATION] {
                let [before, after] = [&before, &parts.headers].map(|headers| headers.get_all(&name).iter().count());
                proptest::prop_assert_eq!(before, after);
            }
        }

        /// In whatever a registry wraps the secret, it is found.
        #[test]
        fn a_reflection_is_found_in_whatever_is_around_it(before in "[ -~]{0,20}", after in "[ -~]{0,20}", token in "[!-~]{8,40}") {
            let secret = Secret::parse(&token).unwrap();
            let header = CredentialHeader::new(&Scheme::Bearer, &secret);
            let text = format!("{before}{token}{after}");
            for form in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text), text] {
                let mut headers = HeaderMap::new();
                headers.insert("x", HeaderValue::from_str(&form).unwrap());
                proptest::prop_assert!(header.is_reflected_in(&headers), "{}", form);
            }
        }
    }
}
