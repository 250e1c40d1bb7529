use super::*;

/// Headers of a rewritten request, without its Via.
fn rewritten(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let mut request = http::Request::get("/a?b").body(()).unwrap().into_parts().0;
    for (name, value) in lines {
        request.headers.append(*name, HeaderValue::from_static(value));
    }
    crate::proxy::exchange::rewrite::request(&mut request, &UriScheme::HTTPS, &Authority::from_static("corp.example"));
    assert_eq!(request.uri, "https://corp.example/a?b");
    assert_eq!(request.headers.remove("via").unwrap(), "1.1 regauth");
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
        ("expect", "200-ok"),
        ("proxy_authorization", "Basic x"),
        ("transfer_encoding", "chunked"),
        ("content_length", "3"),
        ("accept", "*/*"),
    ]);
    assert_eq!(headers.keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["accept"]);
}

#[test]
fn the_expectation_of_100_is_passed_on() {
    assert_eq!(rewritten(&[("expect", "100-continue")]).len(), 1);
}

#[test]
fn a_via_follows_those_of_other_proxies() {
    let mut headers = HeaderMap::from_iter([(header::VIA, HeaderValue::from_static("1.1 cache"))]);
    response(&mut headers, Version::HTTP_2).unwrap();
    assert_eq!(
        headers.get_all("via").iter().collect::<Vec<_>>(),
        ["1.1 cache", "2 regauth"]
    );
}

#[test]
fn one_of_equal_lengths_stays_and_others_are_refused() {
    for (values, expected) in [
        (&["5"][..], Ok("5")),
        (&["5", "5"], Ok("5")),
        (&["5, 5"], Ok("5")),
        (&["5,5", "05"], Ok("5")),
        (&["5", "6"], Err(InvalidFraming)),
        (&["5, 6"], Err(InvalidFraming)),
        (&[""], Err(InvalidFraming)),
        (&["", "0"], Err(InvalidFraming)),
        (&["0", ""], Err(InvalidFraming)),
        (&["5,"], Err(InvalidFraming)),
        (&["+5"], Err(InvalidFraming)),
        (&["5 5"], Err(InvalidFraming)),
        (&["18446744073709551616"], Err(InvalidFraming)),
    ] {
        let lines = values
            .iter()
            .map(|value| (header::CONTENT_LENGTH, HeaderValue::from_static(value)));
        let mut headers: HeaderMap = lines.collect();
        let framed = framing(&mut headers);
        let kept: Vec<_> = headers.get_all("content-length").iter().collect();
        assert_eq!(framed.map(|()| kept[0].to_str().unwrap()), expected, "{values:?}");
        assert!(framed.is_err() || kept.len() == 1, "{values:?}");
    }
}

#[test]
fn a_response_has_one_framing() {
    for (lines, expected) in [
        (&[("content-length", "2, 2")][..], Ok(Some("2"))),
        (&[("content-length", "2"), ("content-length", "3")], Ok(None)),
        (&[("content-length", "2"), ("transfer-encoding", "chunked")], Ok(None)),
        (&[("transfer-encoding", "gzip, chunked")], Err(InvalidFraming)),
        (&[("transfer-encoding", "identity")], Err(InvalidFraming)),
        (&[("regauth-error", "write-denied")], Ok(None)),
    ] {
        let lines = lines
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)));
        let mut headers: HeaderMap = lines.collect();
        let framed = response(&mut headers, Version::HTTP_11);
        let length = headers.get("content-length").map(|length| length.to_str().unwrap());
        assert_eq!(framed.map(|()| length), expected);
        assert!(!headers.contains_key(REGAUTH_ERROR));
    }
}

#[test]
fn characters_that_a_uri_cannot_contain_are_encoded() {
    for (target, valid) in [
        ("/a/b?c=d/?:@!$&'()*+,;=-._~", "/a/b?c=d/?:@!$&'()*+,;=-._~"),
        ("/a%2fb?c%5B", "/a%2fb?c%5B"),
        ("/a[1]{\"c\"}?b[]={c}", "/a%5B1%5D%7B%22c%22%7D?b%5B%5D=%7Bc%7D"),
        ("/a?100%", "/a?100%25"),
        ("/a?%zz%2", "/a?%25zz%252"),
        ("/a?b|c^d`e\\f", "/a?b%7Cc%5Ed%60e%5Cf"),
        ("/caf\u{e9}", "/caf%C3%A9"),
        ("/a#b", "/a"),
    ] {
        let uri = Uri::try_from(target).expect(target);
        assert_eq!(valid_target(&uri), valid, "{target}");
    }
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
                "connection|proxy[-_][a-z]{1,8}|te|keep_alive|transfer_encoding|content_length|transfer-encoding|upgrade|keep-alive|host|expect|content-length|x-[ab]|authorization",
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
            let dashed = name.as_str().replace('_', "-");
            let is_hop_by_hop = HOP_BY_HOP.contains(&dashed.parse().unwrap()) || dashed.starts_with("proxy-");
            proptest::prop_assert!(!is_hop_by_hop && name != header::HOST && name != header::EXPECT, "{}", name);
            proptest::prop_assert!(name != "content_length");
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
