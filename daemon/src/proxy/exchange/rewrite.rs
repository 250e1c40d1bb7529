//! Rewriting of headers: strips what belongs to one hop. Pure; it never sees the registry's token.

use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::request::Parts;
use http::uri::{Authority, PathAndQuery, Scheme as UriScheme, Uri};
use http::{Method, Request, Version};
use http_body::Body as _;
use http_body_util::{Either, Full};
use percent_encoding::percent_encode_byte;
use regauth_shared::placeholder::PLACEHOLDER;

use crate::policy::header_name::is_alias_of;
use crate::proxy::exchange::body::RequestBody;
use crate::proxy::exchange::error::REGAUTH_ERROR;
use crate::proxy::exchange::expectation;

/// Turns a client's request into an upstream request: absolute target, no hop-by-hop or `Proxy-*` header, no Host, and a
/// Via. The upstream client writes Host from the target.
pub fn request(parts: &mut Parts, scheme: &UriScheme, authority: &Authority) {
    let path = valid_target(&parts.uri);
    let mut target = http::uri::Parts::default();
    target.scheme = Some(scheme.clone());
    target.authority = Some(authority.clone());
    target.path_and_query = Some(path);
    parts.uri = Uri::from_parts(target).unwrap_or_default();
    strip_hop_by_hop(&mut parts.headers);
    remove_aliases(&mut parts.headers);
    parts.headers.remove(header::HOST);
    if !expectation::is_expected(&parts.headers) {
        parts.headers.remove(header::EXPECT);
    }
    drop_placeholder(&mut parts.headers);
    join_cookies(&mut parts.headers);
    parts.headers.append(header::VIA, via(parts.version));
    // The upstream client speaks the version that ALPN negotiated.
    parts.version = Version::HTTP_11;
}

/// Removes hop-by-hop headers from a response, and headers that only regauthd may write; adds a Via. `version` is the
/// upstream's.
///
/// # Errors
/// [`InvalidFraming`] when the body is in a transfer coding that this hop has not removed.
pub fn response(headers: &mut HeaderMap, version: Version) -> Result<(), InvalidFraming> {
    if headers.contains_key(header::TRANSFER_ENCODING) {
        check_transfer_coding(headers)?;
        // RFC 9112, section 6.3: the coding overrides the length, which must not be passed on.
        headers.remove(header::CONTENT_LENGTH);
    }
    // hyper has refused an invalid length of a body. Without a body (HEAD, 304), the length is only information.
    if unify_content_length(headers).is_err() {
        headers.remove(header::CONTENT_LENGTH);
    }
    strip_hop_by_hop(headers);
    headers.remove(REGAUTH_ERROR);
    headers.append(header::VIA, via(version));
    Ok(())
}

/// Checks that a message is framed in one way, and keeps one of several equal Content-Length values.
///
/// A request's transfer coding must be `chunked` (RFC 9112, section 6.1). hyper has refused other ambiguous framings of
/// HTTP/1.1 (two lengths, codings on HTTP/1.0) and drops a length beside a coding. Its HTTP/2 side accepts equal, empty
/// and repeated lengths (RFC 9110, section 8.6: a recipient must not pass them on).
///
/// # Errors
/// [`InvalidFraming`] if not.
pub fn framing(headers: &mut HeaderMap) -> Result<(), InvalidFraming> {
    check_transfer_coding(headers)?;
    unify_content_length(headers)
}

/// A message's length or transfer coding is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the message's length or transfer coding is invalid")]
pub struct InvalidFraming;

fn check_transfer_coding(headers: &HeaderMap) -> Result<(), InvalidFraming> {
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let is_chunked = |coding: &HeaderValue| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked");
    if codings.next().is_none_or(is_chunked) && codings.next().is_none() {
        Ok(())
    } else {
        Err(InvalidFraming)
    }
}

fn unify_content_length(headers: &mut HeaderMap) -> Result<(), InvalidFraming> {
    let mut values = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = values.next() else { return Ok(()) };
    if values.next().is_none() && is_length(first.as_bytes()) {
        return Ok(());
    }
    let mut lengths = headers
        .get_all(header::CONTENT_LENGTH)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(|digits| length(digits.trim_ascii()));
    let first = lengths.next().flatten().ok_or(InvalidFraming)?;
    if lengths.any(|other| other != Some(first)) {
        return Err(InvalidFraming);
    }
    headers.insert(header::CONTENT_LENGTH, first.into());
    Ok(())
}

fn is_length(digits: &[u8]) -> bool {
    length(digits).is_some()
}

fn length(digits: &[u8]) -> Option<u64> {
    let digits = digits.iter().all(u8::is_ascii_digit).then_some(digits)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Path and query with the characters encoded that a URI cannot contain (RFC 3986, section 3.3 and 3.4). Clients send some
/// of them: browsers and curl leave `[` in a query. Servers decode them to the same.
fn valid_target(uri: &Uri) -> PathAndQuery {
    // RFC 9112, section 3.2.4: `OPTIONS *` has no path.
    let Some(target) = uri.path_and_query() else {
        return PathAndQuery::from_static("/");
    };
    if is_valid_target(target.as_str().as_bytes()) {
        return target.clone();
    }
    let mut encoded = Vec::with_capacity(target.as_str().len() * 3);
    let mut rest = target.as_str().as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if is_valid_in_target(byte) || is_escape(rest) {
            encoded.push(byte);
        } else {
            encoded.extend(percent_encode_byte(byte).bytes());
        }
        rest = after;
    }
    PathAndQuery::try_from(encoded).unwrap_or(PathAndQuery::from_static("/"))
}

fn is_valid_target(target: &[u8]) -> bool {
    let mut bytes = target.iter().enumerate();
    bytes.all(|(at, byte)| is_valid_in_target(*byte) || target.get(at..).is_some_and(is_escape))
}

fn is_escape(bytes: &[u8]) -> bool {
    matches!(bytes, [b'%', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit())
}

fn is_valid_in_target(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/?".contains(&byte)
}

/// Via entry for a message of this version (RFC 9110, section 7.6.3). The name is the same for all, so that it tells nothing
/// about the machine.
fn via(version: Version) -> HeaderValue {
    HeaderValue::from_static(match version {
        Version::HTTP_2 => "2 regauth",
        Version::HTTP_10 => "1.0 regauth",
        _ => "1.1 regauth",
    })
}

/// Removes headers that a server which reads `_` as `-` takes for a header of the connection or the framing (RFC 3875,
/// section 4.1.18).
fn remove_aliases(headers: &mut HeaderMap) {
    let is_alias = |name: &HeaderName| {
        let known = |known: &HeaderName| is_alias_of(name.as_str(), known.as_str());
        name.as_str().contains('_')
            && (HOP_BY_HOP.iter().chain(&FRAMING).any(known)
                || is_alias_of(name.as_str().get(..6).unwrap_or_default(), "proxy-"))
    };
    while let Some(name) = headers.keys().find(|name| is_alias(name)).cloned() {
        headers.remove(name);
    }
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

const FRAMING: [HeaderName; 1] = [header::CONTENT_LENGTH];
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
mod tests;
