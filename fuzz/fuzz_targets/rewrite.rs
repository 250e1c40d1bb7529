//! Request and response rewriting: hop-by-hop headers are removed, exactly one credential is attached, and a response that
//! contains it is detected. The input's lines are a scheme, a token, a target, and headers.
#![no_main]

use http::header::{CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderName, HeaderValue};
use http::uri::{Authority, Scheme as UriScheme};
use http::{HeaderMap, Request};
use libfuzzer_sys::fuzz_target;
use regauth_shared::Secret;
use regauth_shared::placeholder::PLACEHOLDER;
use regauthd::credential::header::CredentialHeader;
use regauthd::proxy::exchange::rewrite;
use regauthd::registry::Scheme;

fuzz_target!(|bytes: &[u8]| {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut next_line = || std::str::from_utf8(lines.next().unwrap_or_default()).unwrap_or_default();
    let (scheme, token, target) = (next_line(), next_line(), next_line());
    let Ok(request) = Request::get(target).body(()) else {
        return;
    };
    let mut parts = request.into_parts().0;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or_default().trim_ascii();
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            parts.headers.append(name, value);
        }
    }
    if rewrite::framing(&mut parts.headers).is_ok() {
        let lengths: Vec<_> = parts.headers.get_all(CONTENT_LENGTH).iter().collect();
        assert!(
            lengths.len() <= 1
                && lengths
                    .iter()
                    .all(|length| length.as_bytes().iter().all(u8::is_ascii_digit))
        );
    }
    let before = parts.headers.clone();
    rewrite::request(&mut parts, &UriScheme::HTTPS, &Authority::from_static("corp.example"));
    assert_eq!(parts.uri.authority().unwrap(), "corp.example");
    assert_eq!(parts.uri.scheme(), Some(&UriScheme::HTTPS));
    assert_stripped(&before, &parts.headers);
    assert!(!parts.headers.contains_key(HOST));
    assert!(
        parts
            .headers
            .get_all(EXPECT)
            .iter()
            .all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
    );
    let target = parts.uri.path_and_query().unwrap().as_str();
    assert!(
        target
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"<>[]\\^`{|}#".contains(&byte)),
        "{target}"
    );
    assert!(
        target
            .split('%')
            .skip(1)
            .all(|rest| rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2)
    );
    assert!(parts.headers.get_all(COOKIE).iter().count() <= 1);
    let values = parts.headers.get("authorization").map(HeaderValue::as_bytes);
    assert!(!values.is_some_and(|value| value.ends_with(PLACEHOLDER.as_bytes())));
    attach(&mut parts.headers, scheme, token);

    let mut response = before.clone();
    if rewrite::response(&mut response, http::Version::HTTP_11).is_ok() {
        assert_stripped(&before, &response);
        assert!(!response.contains_key("regauth-error") && response.get_all(CONTENT_LENGTH).iter().count() <= 1);
    }
});

fn assert_stripped(before: &HeaderMap, after: &HeaderMap) {
    let mut connection_options: Vec<String> = Vec::new();
    for value in before.get_all(CONNECTION) {
        let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
        connection_options.extend(text.split(',').map(|name| name.trim().to_owned()));
    }
    connection_options.retain(|name| !["content-length", "host", "authorization"].contains(&name.as_str()));
    for name in after.keys().map(HeaderName::as_str) {
        let hop_by_hop = [
            "connection",
            "keep-alive",
            "te",
            "transfer-encoding",
            "upgrade",
            "http2-settings",
        ];
        assert!(!hop_by_hop.contains(&name) && !name.starts_with("proxy-"), "{name}");
        // Ours is added afterwards.
        assert!(
            name == "via" || !connection_options.iter().any(|option| option == name),
            "{name}"
        );
    }
}

fn attach(headers: &mut HeaderMap, scheme: &str, token: &str) {
    let (Ok(scheme), Ok(secret)) = (Scheme::parse(scheme, Some("me")), Secret::parse(token)) else {
        return;
    };
    let header = CredentialHeader::new(&scheme, &secret);
    assert!(!format!("{header:?}").contains(secret.expose()) || secret.expose().len() < 8);
    header.attach(headers);
    let value = headers.get(scheme.header()).unwrap();
    assert!(value.is_sensitive() && !value.is_empty());
    assert_eq!(headers.get_all(scheme.header()).iter().count(), 1);
    let mut response = HeaderMap::new();
    response.insert("x", value.clone());
    assert!(secret.expose().len() < 8 || header.is_leaked_in(&response));
}
