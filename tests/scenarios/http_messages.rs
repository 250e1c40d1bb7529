//! HTTP as clients and registries speak it: bodies, expectations, many headers, equal lengths, reason phrases.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::head_server::HeadServer;
use regauth_tests::mock_server::MockServer;
use regauth_tests::proxy_client::{ProxyClient, block_on, read_answer};
use regauth_tests::strict_server::StrictServer;
use tokio::io::AsyncWriteExt;

const TOKEN: &str = "t0ken-of-messages";

/// Daemon with a registry at `authority`, whose writes are allowed.
fn daemon_for(authority: &str, root: &Authority, scheme: &Scheme, token: &str) -> Daemon {
    let daemon = Daemon::start();
    let scope = format!("https://{authority}/");
    let location = [
        "--kind",
        "generic",
        "--no-verify",
        "--writes",
        "allow",
        "--scope",
        &scope,
    ];
    daemon
        .try_add("corp", &location, scheme, &root.file(), token)
        .succeeds();
    daemon
}

/// curl's response to a GET, over one HTTP version, from a registry that sends these bytes.
fn response_to(answer: &str, version: &str) -> regauth_tests::curl::Response {
    let root = Authority::new("Corp Root");
    let registry = StrictServer::answering(&root, answer);
    let daemon = daemon_for(&registry.authority(), &root, &Scheme::bearer(), TOKEN);
    let curl = Curl::new().behind(&daemon).with(&[version]);
    curl.get(&format!("https://{}/x", registry.authority()))
}

#[test]
fn a_get_with_a_body_arrives_with_it() {
    let root = Authority::new("Corp Root");
    for protocol in ["http/1.1", "h2"] {
        let registry = MockServer::builder(&root, "localhost").protocols(&[protocol]).start();
        let daemon = daemon_for(&registry.authority(), &root, &Scheme::bearer(), TOKEN);
        registry.clear_requests();
        let body = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(body.path(), "query").unwrap();
        let data = format!("@{}", body.path().display());
        let curl = Curl::new()
            .behind(&daemon)
            .with(&["--request", "GET", "--data-binary", &data]);
        let cases = [
            curl.clone().with(&["--http2"]).header("Content-Length:"),
            curl.clone().with(&["--http2"]),
            curl.clone().with(&["--http1.1"]).header("Transfer-Encoding: chunked"),
            curl.with(&["--http1.1"]),
        ];
        for curl in &cases {
            assert_eq!(curl.get(&registry.url("/search")).status, 200);
        }
        let bodies: Vec<_> = registry.requests().into_iter().map(|request| request.body).collect();
        assert_eq!(bodies, ["query"; 4], "{protocol}");
        assert_eq!(Curl::new().behind(&daemon).get(&registry.url("/search")).status, 200);
        let plain = registry.requests().pop().unwrap();
        assert!(plain.body.is_empty() && plain.header("transfer-encoding").is_none());
    }
}

#[test]
fn a_body_that_the_registry_does_not_want_is_not_sent() {
    let root = Authority::new("Corp Root");
    let answer = "HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\n\r\nno\n";
    let registry = HeadServer::answering(&root, answer);
    let daemon = daemon_for(&registry.authority(), &root, &Scheme::bearer(), TOKEN);
    let curl = Curl::new()
        .behind(&daemon)
        .with(&["--http1.1"])
        .header("Expect: 100-continue");
    let response = curl.upload(&format!("https://{}/up", registry.authority()), 20_000_000);
    assert_eq!((response.status, response.body().as_str()), (413, "no\n"));
    let head = registry.wait_for_head();
    assert!(
        head.text.to_lowercase().contains("expect: 100-continue"),
        "{}",
        head.text
    );
    assert_eq!(head.following, 0);
}

#[test]
fn a_body_is_sent_after_the_registrys_100_and_to_a_registry_that_sends_none() {
    let root = Authority::new("Corp Root");
    let asks = HeadServer::continuing(
        &root,
        "HTTP/1.1 201 Created\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
    );
    let waits = StrictServer::start(&root);
    for (authority, status) in [(asks.authority(), 201), (waits.authority(), 200)] {
        let daemon = daemon_for(&authority, &root, &Scheme::bearer(), TOKEN);
        let curl = Curl::new()
            .behind(&daemon)
            .with(&["--http1.1"])
            .header("Expect: 100-continue");
        assert_eq!(curl.upload(&format!("https://{authority}/up"), 5).status, status);
    }
    assert_eq!(waits.requests().pop().unwrap().unwrap().body, [0; 5]);
}

#[test]
fn a_message_names_the_proxy_in_via() {
    let root = Authority::new("Corp Root");
    let registry = MockServer::builder(&root, "localhost").protocols(&["http/1.1"]).start();
    let daemon = daemon_for(&registry.authority(), &root, &Scheme::bearer(), TOKEN);
    for (version, via) in [("--http1.1", "1.1 regauth"), ("--http2", "2 regauth")] {
        let response = Curl::new().behind(&daemon).with(&[version]).get(&registry.url("/x"));
        assert_eq!(response.header("via"), Some("1.1 regauth"));
        assert_eq!(registry.requests().pop().unwrap().header("via").as_deref(), Some(via));
    }
}

#[test]
fn an_answer_with_many_or_large_headers_passes() {
    let lines: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let large = "z".repeat(40_000);
    for answer in [
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n{lines}\r\nok"),
        format!("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-199: y\r\nx-large: {large}\r\n\r\nok"),
    ] {
        for version in ["--http1.1", "--http2"] {
            let response = response_to(&answer, version);
            assert_eq!(
                (response.status, response.header("x-199")),
                (200, Some("y")),
                "{version}"
            );
        }
    }
    let root = Authority::new("Corp Root");
    let registry = MockServer::builder(&root, "localhost")
        .protocols(&["h2"])
        .answer(200, &[("x-large", &large)], "ok")
        .start();
    let daemon = daemon_for(&registry.authority(), &root, &Scheme::bearer(), TOKEN);
    let response = Curl::new().behind(&daemon).get(&registry.url("/x"));
    assert_eq!(
        (response.status, response.header("x-large").map(str::len)),
        (200, Some(40_000))
    );
}

#[test]
fn an_answer_that_curl_understands_passes_in_one_form() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\nx-a: b c\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2, 2\r\nx-a: b c\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length : 2\r\nx-a : b c\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nx-a: b\r\n c\r\n\r\nok",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\ntransfer-encoding: chunked\r\nx-a: b c\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        for version in ["--http1.1", "--http2"] {
            let response = response_to(answer, version);
            let folded = response
                .header("x-a")
                .map(|value| value.split_whitespace().collect::<Vec<_>>().join(" "));
            assert_eq!(
                (response.status, response.body().as_str()),
                (200, "ok"),
                "{version} {answer:?}"
            );
            assert_eq!(folded.as_deref(), Some("b c"), "{version} {answer:?}");
            let lengths = response.headers.to_lowercase().matches("content-length").count();
            assert!(lengths <= 1, "{version} {answer:?}: {}", response.headers);
        }
    }
}

#[test]
fn an_answer_in_an_unknown_coding_is_refused_with_the_reason() {
    let response = response_to(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "--http1.1",
    );
    assert_eq!(
        (response.status, response.header("regauth-error")),
        (502, Some("upstream-unsafe"))
    );
    assert!(response.body().contains("Transfer-Encoding"), "{}", response.body());
}

#[test]
fn the_registrys_reason_phrase_is_kept_and_its_regauth_error_is_not() {
    let answer = "HTTP/1.1 403 Forbidden - You need to have 'AddPackage'.\r\ncontent-length: 0\r\n\
        regauth-error: write-denied\r\n\r\n";
    let response = response_to(answer, "--http1.1");
    assert!(
        response
            .headers
            .contains("403 Forbidden - You need to have 'AddPackage'."),
        "{}",
        response.headers
    );
    assert_eq!(response.header("regauth-error"), None);
    assert_eq!(response_to(answer, "--http2").status, 403);
}

#[test]
fn a_token_in_an_answer_is_found_however_short_or_escaped() {
    const SHORT: &str = "q7Zx-9k";
    let root = Authority::new("Corp Root");
    for (token, scheme, echoed) in [
        (SHORT, Scheme::basic("me"), "got Basic bWU6cTdaeC05aw==".to_owned()),
        (SHORT, Scheme::bearer(), format!("got Bearer {SHORT}")),
        (
            "slash/t0ken/of/corp",
            Scheme::bearer(),
            r#"{"token":"slash\/t0ken\/of\/corp"}"#.to_owned(),
        ),
        (
            "plus+t0ken+of+corp",
            Scheme::bearer(),
            r#"{"token":"plus\u002Bt0ken\u002bof+corp"}"#.to_owned(),
        ),
        ("hex-t0ken", Scheme::bearer(), "6865782d74306b656e".to_owned()),
    ] {
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nx-echo: {echoed}\r\n\r\n");
        let registry = StrictServer::answering(&root, &answer);
        let daemon = daemon_for(&registry.authority(), &root, &scheme, token);
        let response = Curl::new()
            .behind(&daemon)
            .get(&format!("https://{}/x", registry.authority()));
        assert_eq!((response.status, response.header("x-echo")), (502, None), "{echoed}");
    }
}

#[test]
fn the_clients_own_value_of_the_credentials_header_is_removed_in_every_spelling() {
    let root = Authority::new("Corp Root");
    let registry = MockServer::builder(&root, "localhost").start();
    let config = format!(
        "[registries.corp]\nkind = 'generic'\nscopes = ['{}']\nscheme = 'Private-Token: {{token}}'\n\
         source = 'env:CORP_TOKEN'\nca-file = '{}'\n",
        registry.url("/"),
        root.file().display()
    );
    let daemon = Daemon::builder().config(&config).env("CORP_TOKEN", TOKEN).start();
    let curl = Curl::new().behind(&daemon);
    for name in ["Private-Token", "private_token", "PRIVATE_TOKEN"] {
        let curl = curl
            .clone()
            .header(&format!("{name}: mine"))
            .header("Proxy_Authorization: mine");
        assert_eq!(curl.get(&registry.url("/x")).status, 200);
        let request = registry.requests().pop().unwrap();
        assert_eq!(request.header("private-token").as_deref(), Some(TOKEN));
        assert!(!request.text().contains("mine"), "{}", request.text());
    }
}

#[test]
fn characters_that_a_target_cannot_contain_arrive_encoded() {
    let root = Authority::new("Corp Root");
    let registry = StrictServer::start(&root);
    let daemon = daemon_for(&registry.authority(), &root, &Scheme::bearer(), TOKEN);
    let host = registry.authority();
    let request = format!("GET /a[1]?q[]={{x}}&r=100% HTTP/1.1\r\nHost: {host}\r\n\r\n");
    let response = block_on(async {
        let mut tunnel = ProxyClient::new(&daemon).open(&host, &["http/1.1"]).await.unwrap();
        tunnel.write_all(request.as_bytes()).await.unwrap();
        read_answer(&mut tunnel).await.unwrap()
    });
    assert!(response.starts_with(b"HTTP/1.1 200"));
    let received = registry.requests().pop().unwrap().unwrap();
    assert_eq!(received.line, "GET /a%5B1%5D?q%5B%5D=%7Bx%7D&r=100%25 HTTP/1.1");
}

#[test]
fn a_refused_upload_to_a_plain_registry_is_answered() {
    let daemon = Daemon::start();
    let registry = MockServer::builder(&Authority::new("Corp Root"), "127.0.0.1")
        .plain()
        .start();
    let location = ["--kind", "generic", "--no-verify", "--scope", &registry.url("/")];
    let root = Authority::new("Corp Root");
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &root.file(), TOKEN)
        .succeeds();
    let head = format!(
        "PUT {} HTTP/1.1\r\nHost: {}\r\nContent-Length: 20000000\r\n\r\n",
        registry.url("/up"),
        registry.authority()
    );
    let response = block_on(async {
        let mut stream = ProxyClient::new(&daemon).dial().await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        // This client sends everything before it reads.
        stream.write_all(&vec![0; 20_000_000]).await.unwrap();
        read_answer(&mut stream).await.unwrap()
    });
    let text = String::from_utf8_lossy(&response);
    assert!(
        text.starts_with("HTTP/1.1 403") && text.contains("regauth-error: write-denied"),
        "{text}"
    );
}

#[test]
fn a_second_host_is_refused_also_for_a_host_without_a_registry() {
    let daemon = Daemon::start();
    let server = MockServer::builder(&Authority::new("Corp Root"), "127.0.0.1")
        .plain()
        .start();
    let host = server.authority();
    let client = ProxyClient::new(&daemon);
    for (hosts, status) in [
        (format!("Host: {host}\r\n"), "200"),
        (format!("Host: {host}\r\nHost: {host}\r\n"), "400"),
        (format!("Host: {host}\r\nHost: other.example\r\n"), "400"),
    ] {
        let response = client.exchange(&format!("GET {} HTTP/1.1\r\n{hosts}\r\n", server.url("/x")));
        assert!(
            response.starts_with(&format!("HTTP/1.1 {status}")),
            "{hosts}: {response}"
        );
    }
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_connect_to_the_proxy_itself_is_refused_in_every_spelling() {
    let daemon = Daemon::start();
    let proxy = daemon.proxy();
    let port = proxy.rsplit(':').next().unwrap();
    let client = ProxyClient::new(&daemon);
    for host in [
        "127.0.0.1",
        "127.1",
        "localhost",
        "0.0.0.0",
        "0",
        "[::]",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:0.0.0.0]",
    ] {
        let response = client.exchange(&format!("CONNECT {host}:{port} HTTP/1.1\r\n\r\n"));
        assert!(
            response.starts_with("HTTP/1.1 400") && response.contains("own port"),
            "{host}: {response}"
        );
        let response = client.exchange(&format!("GET http://{host}:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n"));
        assert!(
            response.starts_with("HTTP/1.1 400") && response.contains("own port"),
            "{host}: {response}"
        );
    }
}
