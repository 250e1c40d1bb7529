//! Host identity: the CONNECT authority decides. SNI, `Host`, `:authority` and absolute-form targets must agree with it;
//! the tests try their combinations.

use bytes::Bytes;
use h2::client::SendRequest;
use hyper::Request;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::mock_server::{MockServer, RecordedRequest};
use regauth_tests::proxy_client::{ProxyClient, block_on, connect_head, read_answer};
use regauth_tests::strict_server::StrictServer;
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

const CANARIES: [&str; 2] = ["canary-of-corp-0123", "canary-of-other-0123"];

struct Fixture {
    daemon: Daemon,
    corp: MockServer,
    other: MockServer,
    unconfigured: MockServer,
}

/// Two registries and an unconfigured host, all on `localhost` with different ports.
fn fixture() -> Fixture {
    let root = Authority::new("Corp Root");
    let [corp, other, unconfigured] = [0; 3].map(|_| MockServer::builder(&root, "localhost").start());
    let daemon = Daemon::start();
    for (name, host, canary) in [("corp", &corp, CANARIES[0]), ("other", &other, CANARIES[1])] {
        let location = ["--scope", &host.url("/"), "--no-verify"];
        daemon
            .try_add(name, &location, &Scheme::bearer(), &root.file(), canary)
            .succeeds();
    }
    Fixture {
        daemon,
        corp,
        other,
        unconfigured,
    }
}

/// Host named by a part of the request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Named {
    Nothing,
    Same,
    Other,
    Unconfigured,
    Malformed,
}

use Named::{Malformed, Nothing, Other, Same};

impl Fixture {
    fn authority(&self, named_host: Named) -> Option<String> {
        match named_host {
            Nothing => None,
            Same => Some(self.corp.authority()),
            Other => Some(self.other.authority()),
            Named::Unconfigured => Some(self.unconfigured.authority()),
            Malformed => Some(format!("me@{}", self.corp.authority())),
        }
    }

    async fn h1(&self, connect: &str, sni: Option<&str>, absolute: Named, host: Named) -> Option<u16> {
        let client = ProxyClient::new(&self.daemon);
        let stream = client.connect(&connect_head(connect)).await.ok()?;
        let mut stream = client.handshake(stream, sni, &["http/1.1"]).await.ok()?;
        let target = self
            .authority(absolute)
            .map_or("/a".to_owned(), |authority| format!("https://{authority}/a"));
        let host = self
            .authority(host)
            .map_or(String::new(), |host| format!("Host: {host}\r\n"));
        let request = format!("GET {target} HTTP/1.1\r\n{host}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let answer = String::from_utf8(read_answer(&mut stream).await.ok()?).unwrap();
        answer.split(' ').nth(1)?.parse().ok()
    }

    async fn h2(&self, connect: &str, sni: Option<&str>, authority: Named, host: Named) -> Option<u16> {
        let client = ProxyClient::new(&self.daemon);
        let stream = client.connect(&connect_head(connect)).await.ok()?;
        let stream = client.handshake(stream, sni, &["h2"]).await.ok()?;
        let (sender, connection) = h2::client::handshake(stream).await.ok()?;
        let mut background = JoinSet::new();
        background.spawn(connection);
        let mut request = Request::get(match self.authority(authority) {
            Some(authority) => format!("https://{authority}/a"),
            None => "/a".to_owned(),
        });
        if let Some(host) = self.authority(host) {
            request = request.header("host", host);
        }
        ask(sender, request.body(()).unwrap()).await
    }
}

async fn ask(sender: SendRequest<Bytes>, request: Request<()>) -> Option<u16> {
    let (answer, _) = sender.ready().await.ok()?.send_request(request, true).ok()?;
    Some(answer.await.ok()?.status().as_u16())
}

/// Requests for `/a`, the path that the tests request; adding a registry requests other paths.
fn test_requests(mock_server: &MockServer) -> Vec<RecordedRequest> {
    let mut requests = mock_server.requests();
    requests.retain(|request| request.uri.ends_with("/a"));
    requests
}

/// Statuses allowed for an intercepted request that names these hosts: 200 when all agree.
fn expected_statuses(sni: Option<&str>, named: [Named; 2]) -> &'static [u16] {
    if sni.is_some_and(|name| name != "localhost") {
        return &[421];
    }
    let is_malformed = named.contains(&Malformed);
    let is_other = named
        .iter()
        .any(|named_host| matches!(named_host, Other | Named::Unconfigured));
    match (is_malformed, is_other) {
        (true, true) => &[400, 421],
        (true, false) => &[400],
        (false, true) => &[421],
        (false, false) if named == [Nothing, Nothing] => &[400],
        (false, false) => &[200],
    }
}

#[test]
fn a_request_that_names_another_host_is_refused_without_a_credential() {
    let fixture = fixture();
    let named_host = [Nothing, Same, Other, Named::Unconfigured, Malformed];
    let mut passed = 0;
    for sni in [
        Some("localhost"),
        None,
        Some("other.example"),
        Some("127.0.0.1.example"),
    ] {
        for named in named_host
            .into_iter()
            .flat_map(|first| named_host.map(|second| [first, second]))
        {
            let connect = fixture.corp.authority();
            let expected = expected_statuses(sni, named);
            let [absolute, host] = named;
            let h1 = block_on(fixture.h1(&connect, sni, absolute, host)).unwrap_or_default();
            assert!(expected.contains(&h1), "h1 {sni:?} {named:?}: {h1}, not {expected:?}");
            // The h2 library omits the scheme with the authority, and the server's h2 rejects that.
            let h2 = block_on(fixture.h2(&connect, sni, absolute, host)).unwrap_or_default();
            let refused_below = absolute == Nothing && h2 == 0;
            // Without `:authority`, nobody knows the `:scheme`.
            let expected: &[u16] = if absolute == Nothing && expected == [200] {
                &[400]
            } else {
                expected
            };
            assert!(
                expected.contains(&h2) || refused_below,
                "h2 {sni:?} {named:?}: {h2}, not {expected:?}"
            );
            passed += [h1, h2].iter().filter(|status| **status == 200).count();
        }
    }
    let at_corp = test_requests(&fixture.corp);
    assert_eq!(at_corp.len(), passed);
    for request in &at_corp {
        assert_eq!(
            request.header("authorization").as_deref(),
            Some("Bearer canary-of-corp-0123")
        );
    }
    assert!(test_requests(&fixture.other).is_empty() && fixture.unconfigured.requests().is_empty());
}

#[test]
fn a_tunnel_to_an_unconfigured_host_carries_the_clients_bytes_only() {
    let fixture = fixture();
    for named_host in [Nothing, Same, Other, Named::Unconfigured, Malformed] {
        for sni in [Some("localhost"), Some("corp.example")] {
            block_on(fixture.h1(&fixture.unconfigured.authority(), sni, named_host, Same));
            block_on(fixture.h2(&fixture.unconfigured.authority(), sni, named_host, Same));
        }
    }
    assert!(!fixture.unconfigured.requests().is_empty());
    assert!(test_requests(&fixture.corp).is_empty() && test_requests(&fixture.other).is_empty());
    for canary in CANARIES {
        let mut scan = LeakScan::new(canary);
        for request in fixture.unconfigured.requests() {
            scan.scan("the unconfigured host", request.text());
        }
        scan.assert_clean();
    }
}

#[test]
fn a_connect_with_a_malformed_authority_is_refused() {
    let fixture = fixture();
    for bad in [
        "localhost",
        "localhost:",
        "localhost:0",
        "localhost:65536",
        "localhost:+1",
        "me@localhost:1",
        "/",
        "*",
        "https://localhost:1/",
        "localhost:1/x",
        "localhost:1?x",
        "[::1",
        "::1:1",
        "a b:1",
        "local%68ost:1",
        ":1",
        "",
        "localhost:1:2",
        "..:1",
        "a..b:1",
        "*.example:1",
    ] {
        let connect = format!("CONNECT {bad} HTTP/1.1\r\n\r\n");
        let answer = ProxyClient::new(&fixture.daemon).exchange(&connect);
        assert!(answer.contains("regauth-error: bad-request"), "{bad}: {answer}");
    }
}

#[test]
fn a_connect_needs_one_host_that_agrees_in_any_spelling() {
    let fixture = fixture();
    let corp = fixture.corp.authority();
    let port = corp.rsplit(':').next().unwrap();
    for (host, good) in [
        (corp.as_str(), true),
        ("localhost", true),
        ("LOCALHOST.", true),
        ("other", false),
        ("a,b", false),
    ] {
        let head = format!("CONNECT {corp} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(
            block_on(ProxyClient::new(&fixture.daemon).connect(&head)).is_ok(),
            good,
            "{host}"
        );
    }
    let double = format!("CONNECT {corp} HTTP/1.1\r\nHost: {corp}\r\nHost: {corp}\r\n\r\n");
    block_on(ProxyClient::new(&fixture.daemon).connect(&double)).unwrap_err();
    for same in [
        format!("LocalHost:{port}"),
        format!("localhost.:{port}"),
        format!("localhost:0{port}"),
    ] {
        let status = block_on(fixture.h1(&same, Some("localhost"), Nothing, Same));
        let expected = if same.contains(":0") && port.len() == 5 {
            None
        } else {
            Some(200)
        };
        assert_eq!(status, expected, "{same}");
    }
}

/// An IPv6 literal has no SNI and several spellings.
#[test]
fn an_ipv6_literal_is_matched_like_a_name() {
    let root = Authority::new("Corp Root");
    let corp = MockServer::builder(&root, "::1").start();
    let daemon = Daemon::start();
    let location = ["--scope", &corp.url("/"), "--no-verify"];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &root.file(), CANARIES[0])
        .succeeds();
    let port = corp.authority().rsplit(':').next().unwrap().to_owned();
    for protocol in ["--http1.1", "--http2"] {
        for (host, status) in [
            (format!("[::1]:{port}"), 200),
            ("[::1]".to_owned(), 200),
            (format!("[0:0::0001]:{port}"), 200),
            (format!("[::2]:{port}"), 421),
            (format!("[::ffff:127.0.0.1]:{port}"), 421),
        ] {
            let curl = Curl::new().behind(&daemon).with(&[protocol]);
            let answer = curl.header(&format!("Host: {host}")).get(&corp.url("/a"));
            assert_eq!(answer.status, status, "{protocol} {host}: {}", answer.body());
        }
    }
    for request in test_requests(&corp) {
        assert_eq!(
            request.header("host").as_deref().unwrap_or(&corp.authority()),
            corp.authority()
        );
        assert!(request.header("authorization").is_some());
    }
    assert_eq!(test_requests(&corp).len(), 6);
}

/// A web page can make a browser send requests to the proxy's port; the proxy refuses them all.
#[test]
fn requests_from_a_browser_to_the_proxy_are_refused() {
    let fixture = fixture();
    let own_address = fixture.daemon.proxy();
    let own_address = own_address.trim_start_matches("http://");
    for request in [
        format!("GET / HTTP/1.1\r\nHost: {own_address}\r\n\r\n"),
        "GET / HTTP/1.1\r\nHost: rebound.example\r\nOrigin: http://rebound.example\r\n\r\n".to_owned(),
        format!("POST /x HTTP/1.1\r\nHost: {own_address}\r\nSec-Fetch-Site: cross-site\r\nContent-Length: 0\r\n\r\n"),
        format!("OPTIONS * HTTP/1.1\r\nHost: {own_address}\r\nOrigin: http://a.example\r\n\r\n"),
        format!("GET http://{own_address}/ HTTP/1.1\r\nHost: {own_address}\r\n\r\n"),
        format!("GET https://{}/a HTTP/1.1\r\nHost: x\r\n\r\n", fixture.corp.authority()),
    ] {
        let answer = ProxyClient::new(&fixture.daemon).exchange(&request);
        assert!(
            answer.starts_with("HTTP/1.1 400 ") && answer.contains("bad-request"),
            "{request}{answer}"
        );
        assert!(!answer.to_ascii_lowercase().contains("access-control"), "{answer}");
    }
    assert!(test_requests(&fixture.corp).is_empty());
}

#[test]
fn a_refusal_inside_the_tunnel_has_its_error_code() {
    let fixture = fixture();
    for protocol in ["--http1.1", "--http2"] {
        let curl = Curl::new().behind(&fixture.daemon).with(&[protocol, "--path-as-is"]);
        for (path, more, expected) in [
            ("/a", ["--request", "TRACE"], (405, "method-refused")),
            ("/a", ["--request", "Track"], (405, "method-refused")),
            ("/b/../a", ["--request", "GET"], (400, "bad-request")),
            ("/x%2fy/../../a", ["--request", "GET"], (400, "bad-request")),
            ("/b%5c..%5c/a", ["--request", "GET"], (400, "bad-request")),
            ("/%00/a", ["--request", "GET"], (400, "bad-request")),
            ("/a", ["--header", "Host: other.example"], (421, "authority-mismatch")),
        ] {
            let answer = curl.clone().with(&more).get(&fixture.corp.url(path));
            let refusal = (answer.status, answer.header("regauth-error").unwrap_or_default());
            assert_eq!(refusal, expected, "{protocol} {path} {more:?}");
            assert!(
                !answer.body().contains("other.example") && !answer.body().contains(path),
                "{}",
                answer.body()
            );
        }
    }
    assert!(test_requests(&fixture.corp).is_empty());
}

#[test]
fn a_response_with_the_token_in_a_header_is_refused() {
    let root = Authority::new("Corp Root");
    let echo = MockServer::builder(&root, "localhost").echo().start();
    for (number, scheme) in [Scheme::basic("me@corp.example"), Scheme::bearer(), Scheme::raw()]
        .into_iter()
        .enumerate()
    {
        let daemon = Daemon::start();
        let location = ["--scope", &echo.url("/in/"), "--no-verify"];
        daemon
            .try_add("corp", &location, &scheme, &root.file(), CANARIES[0])
            .succeeds();
        for protocol in ["--http1.1", "--http2"] {
            let curl = Curl::new().behind(&daemon).with(&[protocol]);
            let answer = curl.get(&echo.url("/in/x"));
            assert_eq!(
                (answer.status, answer.header("regauth-error")),
                (502, Some("upstream-unsafe")),
                "{number}"
            );
            LeakScan::new(CANARIES[0])
                .scan("the answer", answer.headers.clone() + &answer.body())
                .assert_clean();
            assert_eq!(curl.get(&echo.url("/outside")).status, 200);
        }
    }
}

/// The reason phrase of a status line is free text.
#[test]
fn a_reason_phrase_with_the_token_is_removed() {
    let root = Authority::new("Corp Root");
    let response = format!("HTTP/1.1 403 No {} here\r\ncontent-length: 0\r\n\r\n", CANARIES[0]);
    let registry = StrictServer::answering(&root, &response);
    let daemon = Daemon::start();
    let location = ["--no-verify", "--scope", &format!("https://{}/", registry.authority())];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &root.file(), CANARIES[0])
        .succeeds();
    let curl = Curl::new().behind(&daemon).with(&["--http1.1"]);
    let answer = curl.get(&format!("https://{}/x", registry.authority()));
    assert_eq!(answer.status, 403);
    LeakScan::new(CANARIES[0])
        .scan("the answer", &answer.headers)
        .assert_clean();
}
