use super::*;

#[test]
fn an_endpoint_is_https_or_on_loopback() {
    for (text, expected) in [
        ("https://login.example/token", Ok("https://login.example/token")),
        ("https://login.example", Ok("https://login.example/")),
        ("http://127.0.0.1:8200/", Ok("http://127.0.0.1:8200/")),
        ("http://localhost:8200", Ok("http://localhost:8200/")),
        ("http://login.example/", Err(InvalidEndpoint::InTheClear)),
        ("http://169.254.169.254/", Err(InvalidEndpoint::InTheClear)),
        ("https://me@login.example/", Err(InvalidEndpoint::NotAUrl)),
        ("https://login.example/#a", Err(InvalidEndpoint::NotAUrl)),
        ("ftp://login.example/", Err(InvalidEndpoint::NotAUrl)),
        ("login.example", Err(InvalidEndpoint::NotAUrl)),
    ] {
        let found = text.parse::<Endpoint>().map(|endpoint| endpoint.to_string());
        assert_eq!(found, expected.map(str::to_owned), "{text}");
    }
    assert_eq!(
        Endpoint::of_host("corp.example:8443").unwrap().host(),
        "corp.example:8443"
    );
    for text in ["https://corp.example", "corp.example/x", "me@corp.example", ""] {
        assert_eq!(Endpoint::of_host(text), Err(InvalidEndpoint::NotAHost), "{text}");
    }
}

#[test]
fn segments_are_encoded_and_never_leave_their_place() {
    let endpoint: Endpoint = "https://vault.example/base/".parse().unwrap();
    let joined = endpoint.join(["v1", "a/b", "..", "c?d"]);
    assert_eq!(joined.to_string(), "https://vault.example/base/v1/a%2Fb/c%3Fd");
}

fn answer(status: u16, headers: &[(&'static str, &str)], body: &str) -> ServiceAnswer {
    let headers = headers
        .iter()
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    ServiceAnswer {
        host: "sts.example".to_owned(),
        status: StatusCode::from_u16(status).unwrap(),
        headers: headers.collect(),
        body: body.to_owned().into(),
    }
}

#[test]
fn an_error_has_the_services_own_reason_without_secrets() {
    let secret = Secret::parse("canary-identity").unwrap();
    for (body, expected) in [
        (
            r#"{"error":"invalid_grant","error_description":"bad canary-identity"}"#,
            "sts.example answered 400: invalid_grant: bad …",
        ),
        (
            r#"{"error":{"code":403,"status":"DENIED","message":"no"}}"#,
            "sts.example answered 400: DENIED: no",
        ),
        (
            r#"{"errors":[{"code":"X","message":"no\nprovider"}]}"#,
            "sts.example answered 400: no provider",
        ),
        (
            r#"{"errors":["permission denied"]}"#,
            "sts.example answered 400: permission denied",
        ),
        (r#"{"detail":"not found"}"#, "sts.example answered 400: not found"),
        (
            "<ErrorResponse><Error><Type>Sender</Type><Code>AccessDenied</Code><Message>no</Message></Error></ErrorResponse>",
            "sts.example answered 400: AccessDenied: no",
        ),
        ("<html><h1>canary</h1></html>", "sts.example answered 400"),
    ] {
        let error = answer(400, &[], body)
            .check("sts.example", std::slice::from_ref(&secret))
            .unwrap_err();
        assert_eq!(error.message, expected);
    }
}

#[test]
fn a_redirect_and_a_web_page_are_refused() {
    let redirect = answer(302, &[("location", "https://evil.example/")], "")
        .check("sts.example", &[])
        .unwrap_err();
    assert!(redirect.message.contains("redirect"), "{redirect}");
    let page = answer(
        200,
        &[("content-type", "text/html; charset=utf-8")],
        "<html>canary</html>",
    );
    let error = page.json::<Value>().unwrap_err();
    assert_eq!(
        error.message,
        "sts.example answered with something other than JSON (text/html)"
    );
}

#[test]
fn a_wrong_clock_and_a_wait_are_read_from_the_headers() {
    let date = (OffsetDateTime::now_utc() + time::Duration::hours(2))
        .format(&Rfc2822)
        .unwrap();
    let date = date.replace("+0000", "GMT");
    let error = answer(400, &[("date", &date), ("retry-after", "7")], "{}")
        .check("sts.example", &[])
        .unwrap_err();
    assert_eq!(error.retry_after, Some(Duration::from_secs(7)));
    let hint = error.hint.unwrap();
    assert!(hint.contains("behind"), "{hint}");
    let endless = answer(503, &[("retry-after", "99999999")], "{}")
        .check("sts.example", &[])
        .unwrap_err();
    assert_eq!(endless.retry_after, Some(MAX_RETRY_AFTER));
}
