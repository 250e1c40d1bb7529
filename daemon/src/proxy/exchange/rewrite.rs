//! Strips from a message what must not travel. Pure; it sees no secret.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme, Uri};
use http::{Method, Version};
use regauth_shared::placeholder::PLACEHOLDER;

/// Makes a client's request into ours: absolute target, no hop-by-hop or `Proxy-*` header, no Host (the upstream client
/// writes one from the target).
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
    // The upstream client speaks what the registry's ALPN offers.
    parts.version = Version::HTTP_11;
    strip_hop_by_hop(&mut parts.headers);
    parts.headers.remove(header::HOST);
    // Answered on our own side when the body is first read.
    parts.headers.remove(header::EXPECT);
    drop_placeholder(&mut parts.headers);
    join_cookies(&mut parts.headers);
}

/// Removes what belongs to the registry's connection with us and not to the client's.
pub fn response(headers: &mut HeaderMap) {
    strip_hop_by_hop(headers);
}

/// Removes what a registry gives to who has shown a credential, and which is as good as it: the cookie of a session would
/// let whoever has it write, and go around us.
pub fn withhold_session(headers: &mut HeaderMap) {
    headers.remove(header::SET_COOKIE);
    headers.remove(SET_COOKIE_2);
}

/// Whether a request that failed on a connection that was open already may be sent once more (RFC 9110, section 9.2.2).
pub fn is_repeatable(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// RFC 9110, section 7.6.1: the standard ones, those that Connection names, and every `Proxy-*`.
fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let mut doomed: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(header::CONNECTION) {
        let names = value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        doomed.extend(
            names
                .filter_map(|name| HeaderName::from_bytes(name).ok())
                .filter(|name| !frames(name)),
        );
    }
    doomed.extend(
        headers
            .keys()
            .filter(|name| name.as_str().starts_with("proxy-"))
            .cloned(),
    );
    for name in doomed {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// A header without which the message would be another one: a client cannot have it dropped by naming it.
fn frames(name: &HeaderName) -> bool {
    [header::CONTENT_LENGTH, header::HOST, header::AUTHORIZATION].contains(name)
}

/// What cargo holds in place of a token, and npm as a Bearer token, says nothing to a registry. One whose credential
/// goes in another header, or a place outside every scope, would take it for a wrong token.
fn drop_placeholder(headers: &mut HeaderMap) {
    if headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value.as_bytes().ends_with(PLACEHOLDER.as_bytes()))
    {
        headers.remove(header::AUTHORIZATION);
    }
}

/// HTTP/2 may split Cookie into crumbs; HTTP/1.1 knows one line only (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(header::COOKIE).iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(header::COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(header::COOKIE, joined);
    }
}

/// RFC 2965, which some servers still know.
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
    fn connection_cannot_name_what_frames_the_message() {
        let headers = rewritten(&[("connection", "content-length"), ("content-length", "3")]);
        assert_eq!(headers.get("content-length").unwrap(), "3");
    }

    #[test]
    fn a_placeholder_never_leaves_and_a_token_of_the_clients_own_does() {
        assert!(rewritten(&[("authorization", PLACEHOLDER)]).is_empty());
        assert!(rewritten(&[("authorization", "Bearer regauth-placeholder-not-a-secret")]).is_empty());
        assert_eq!(
            rewritten(&[("authorization", "mine")]).get("authorization").unwrap(),
            "mine"
        );
    }

    #[test]
    fn cookie_crumbs_become_one_line() {
        let headers = rewritten(&[("cookie", "a=1"), ("cookie", "b=2")]);
        assert_eq!(headers.get_all("cookie").iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    proptest::proptest! {
        /// Whatever a client names in Connection: what must not travel does not, and what frames the message stays.
        #[test]
        fn nothing_of_the_hop_leaves(
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
                let of_the_hop = HOP_BY_HOP.contains(name) || name.as_str().starts_with("proxy-");
                proptest::prop_assert!(!of_the_hop && name != header::HOST && name != header::EXPECT, "{}", name);
                let named = before.get_all(header::CONNECTION).iter().any(|value| {
                    value.to_str().unwrap().split(',').any(|word| word.trim().eq_ignore_ascii_case(name.as_str()))
                });
                proptest::prop_assert!(!named || frames(name), "{}", name);
            }
            for name in [header::CONTENT_LENGTH, header::AUTHORIZATION] {
                let [before, after] = [&before, &parts.headers].map(|headers| headers.get_all(&name).iter().count());
                proptest::prop_assert_eq!(before, after);
            }
        }
    }
}
