//! Rewriting of headers: strips what belongs to one hop. Pure; it sees no secret.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme, Uri};
use http::{Method, Request, Version};
use http_body::Body as _;
use http_body_util::{Either, Full};
use regauth_shared::placeholder::PLACEHOLDER;

use crate::proxy::exchange::body::RequestBody;

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
    }
}
