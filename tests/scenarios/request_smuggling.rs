//! Request smuggling: from malformed or ambiguous bytes of a client, the registry receives one well-formed request or none.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::daemon::Daemon;
use regauth_tests::http2_frames;
use regauth_tests::proxy_client::{ProxyClient, TlsTunnel, block_on, read_available};
use regauth_tests::strict_server::{ReceivedRequest, StrictServer};
use tokio::io::AsyncWriteExt;
use tokio::task::JoinSet;

const CANARY: &str = "canary-of-corp-0123";

struct Fixture {
    daemon: Daemon,
    upstream: StrictServer,
}

/// Registry with a strict HTTP server. Writes are allowed, so that a request is refused for its form only.
fn fixture() -> Fixture {
    let root = Authority::new("Corp Root");
    let upstream = StrictServer::start(&root);
    let daemon = Daemon::start();
    let scope = format!("https://{}/in/", upstream.authority());
    let location = [
        "--kind",
        "generic",
        "--scope",
        &scope,
        "--no-verify",
        "--writes",
        "allow",
    ];
    daemon
        .try_add("corp", &location, &Scheme::bearer(), &root.file(), CANARY)
        .succeeds();
    Fixture { daemon, upstream }
}

impl Fixture {
    /// Requests at the upstream for a case, whose path is `/in/NUMBER`.
    fn received(&self, number: usize) -> Vec<ReceivedRequest> {
        let path = format!("/in/{number}");
        let requests = self.upstream.requests().into_iter();
        let of_case = |message: &ReceivedRequest| {
            let target = message.line.split(' ').nth(1).unwrap();
            target.split(['?', '#', ';']).next() == Some(&path)
        };
        requests.filter_map(Result::ok).filter(of_case).collect()
    }

    fn assert_nothing_malformed(&self) {
        for recorded in self.upstream.requests() {
            let message = recorded.unwrap_or_else(|wrong| panic!("the upstream received {wrong}"));
            let path = message.line.split(' ').nth(1).unwrap();
            assert!(
                !path.contains("smuggled") && !message.body.starts_with(b"GET"),
                "{message:?}"
            );
            if path.starts_with("/in/") {
                let authorization: Vec<_> = message
                    .headers
                    .iter()
                    .filter(|(name, _)| name == "authorization")
                    .collect();
                assert_eq!(authorization.len(), 1, "{message:?}");
                assert!(authorization[0].1.ends_with(CANARY), "{message:?}");
            }
        }
    }
}

/// Headers and bodies: `(lines after Host, body)`. `{c}` stands for a chunked body with `hello`.
#[rustfmt::skip]
const FRAMINGS: [(&str, &str); 66] = [
    ("Content-Length: 5", "hello"),
    ("Content-Length: +5", "hello"),
    ("Content-Length: -5", "hello"),
    ("Content-Length: 5 5", "hello"),
    ("Content-Length: 5,5", "hello"),
    ("Content-Length: 5, 6", "hello"),
    ("Content-Length: 0x5", "hello"),
    ("Content-Length: 5;a", "hello"),
    ("Content-Length: 5a", "hello"),
    ("Content-Length:", "hello"),
    ("Content-Length: ٥", "hello"),
    ("Content-Length: 00005", "hello"),
    ("Content-Length: 18446744073709551621", "hello"),
    ("Content-Length: 99999999999999999999999", "hello"),
    ("Content-Length: \x0b5", "hello"),
    ("Content-Length: 5\x0c", "hello"),
    ("Content-Length: 5\0", "hello"),
    ("Content-Length: 5\r\nContent-Length: 5", "hello"),
    ("Content-Length: 5\r\nContent-Length: 6", "hello!"),
    ("Content-Length: 0\r\nContent-Length: 5", "hello"),
    ("Content-Length : 5", "hello"),
    ("Content-Length\t: 5", "hello"),
    (" Content-Length: 5", "hello"),
    ("\tContent-Length: 5", "hello"),
    ("Content\0-Length: 5", "hello"),
    ("Content_Length: 5", "hello"),
    ("X: a\r\n Content-Length: 5", "hello"),
    ("X: a\rContent-Length: 5", "hello"),
    ("X: a\nContent-Length: 5", "hello"),
    ("X: a\r\r\nContent-Length: 5", "hello"),
    ("Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG"),
    ("Transfer-Encoding: chunked\r\nContent-Length: 6", "0\r\n\r\nG"),
    ("Content-Length: 4\r\nTransfer-Encoding: chunked", "5c\r\nGET /in/smuggled HTTP/1.1\r\n\r\n"),
    ("Transfer-Encoding: chunked", "{c}"),
    ("transfer-encoding: CHUNKED", "{c}"),
    ("Transfer-Encoding:chunked", "{c}"),
    ("Transfer-Encoding: \tchunked \t", "{c}"),
    ("Transfer-Encoding: chunked, chunked", "{c}"),
    ("Transfer-Encoding: chunked, identity", "{c}"),
    ("Transfer-Encoding: identity, chunked", "{c}"),
    ("Transfer-Encoding: identity", "{c}"),
    ("Transfer-Encoding: gzip, chunked", "{c}"),
    ("Transfer-Encoding: gzip", "{c}"),
    ("Transfer-Encoding: xchunked", "{c}"),
    ("Transfer-Encoding: chunkedx", "{c}"),
    ("Transfer-Encoding: chunked;a=b", "{c}"),
    ("Transfer-Encoding: chunked,", "{c}"),
    ("Transfer-Encoding: ,chunked", "{c}"),
    ("Transfer-Encoding: \"chunked\"", "{c}"),
    ("Transfer-Encoding: \x0bchunked", "{c}"),
    ("Transfer-Encoding: chu\0nked", "{c}"),
    ("Transfer-Encoding:", "{c}"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "{c}"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "{c}"),
    ("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked", "{c}"),
    ("Transfer-Encoding: chunked\r\nTransfer-Encoding: x", "{c}"),
    ("Transfer-Encoding : chunked", "{c}"),
    ("Transfer-Encoding\r\n : chunked", "{c}"),
    ("X: a\r\n Transfer-Encoding: chunked", "{c}"),
    ("X: a\nTransfer-Encoding: chunked", "{c}"),
    ("Transfer_Encoding: chunked", "{c}"),
    ("Transfer-Encoding: chunked\r\nConnection: transfer-encoding", "{c}"),
    ("Content-Length: 5\r\nConnection: content-length", "hello"),
    ("Content-Length: 5\r\nConnection: close, Content-Length\r\nConnection: Host, Authorization", "hello"),
    ("Content-Length: 5\r\nExpect: 100-continue", "hello"),
    ("Content-Length: 5\r\nExpect: 200-ok", "hello"),
];

/// Chunked bodies.
#[rustfmt::skip]
const CHUNKS: [&str; 24] = [
    "0x5\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5\t\r\nhello\r\n0\r\n\r\n",
    "5;\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\n\r\n",
    "5;a=\"\r\n\"\r\nhello\r\n0\r\n\r\n",
    "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\rhello\r0\r\r",
    "5\r\nhelloX0\r\n\r\n",
    "5\r\nhello0\r\n\r\n",
    "5\r\nhello\n0\n\n",
    "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n",
    "00000000000000000005\r\nhello\r\n0\r\n\r\n",
    "g\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\nHost: smuggled\r\n\r\n",
    "5\r\nhello\r\n0\r\nAuthorization: smuggled\r\nContent-Length: 3\r\n\r\n",
    "5\r\nhello\r\n0\r\n smuggled\r\n\r\n",
    "5\r\nhello\r\n",
];

/// Whole heads: `{p}` stands for the path of the case, `{h}` for the host.
#[rustfmt::skip]
const HEADS: [&str; 56] = [
    "GET {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET {p} HTTP/1.0\r\n\r\n",
    "GET {p} HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "GET {p} HTTP/1.1\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nHost: {h}\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nhost: smuggled\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: smuggled, {h}\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h} smuggled\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}/smuggled\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}@smuggled\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost:\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost : {h}\r\n\r\n",
    "GET {p} HTTP/1.1\r\n Host: {h}\r\n\r\n",
    "GET {p} HTTP/1.1\r\nX: y\r\n Host: smuggled\r\nHost: {h}\r\n\r\n",
    "GET {p} HTTP/1.1\nHost: {h}\n\n",
    "GET {p} HTTP/1.1\rHost: {h}\r\r",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nX: a\0b\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nX: a\rb\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nX\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\n: x\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nX Y: x\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nX(): x\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\né: x\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nX: a\x7fb\r\n\r\n",
    "GET  {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET {p}  HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET\t{p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    " GET {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "\r\n\r\nGET {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET {p} HTTP/1.1 \r\nHost: {h}\r\n\r\n",
    "GET {p} smuggled HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET {p} HTTP/1.2\r\nHost: {h}\r\n\r\n",
    "GET {p} HTTP/2.0\r\nHost: {h}\r\n\r\n",
    "GET {p} HTTP/0.9\r\nHost: {h}\r\n\r\n",
    "GET {p} http/1.1\r\nHost: {h}\r\n\r\n",
    "GET {p}\r\n\r\n",
    "get {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "G(T {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "TRACE {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "trace {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "TRACK {p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "CONNECT {h} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET * HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET in/x HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET {p}#smuggled HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET {p}%0d%0aHost:%20smuggled HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET {p}/../../out HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET /out/..{p} HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET /in%2fsmuggled HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "GET //in/smuggled HTTP/1.1\r\nHost: {h}\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nTE: trailers\r\nKeep-Alive: 5\r\nProxy-Connection: x\r\nProxy-Authorization: x\r\nProxy-X: y\r\n\r\n",
    "GET {p} HTTP/1.1\r\nHost: {h}\r\nAuthorization: mine\r\nAuthorization: also mine\r\nConnection: authorization\r\n\r\n",
];

fn corpus(host: &str) -> Vec<String> {
    let framed = FRAMINGS.iter().map(|(lines, body)| {
        let body = body.replace("{c}", "5\r\nhello\r\n0\r\n\r\n");
        format!("POST {{p}} HTTP/1.1\r\nHost: {{h}}\r\n{lines}\r\n\r\n{body}")
    });
    let chunked = CHUNKS
        .iter()
        .map(|body| format!("POST {{p}} HTTP/1.1\r\nHost: {{h}}\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
    let heads = HEADS.iter().map(|head| (*head).to_owned());
    let long = ["X: ".to_owned() + &"x".repeat(40_000), "X: y\r\n".repeat(300) + "X: z"]
        .map(|line| format!("GET {{p}} HTTP/1.1\r\nHost: {{h}}\r\n{line}\r\n\r\n"));
    let cases = framed.chain(chunked).chain(heads).chain(long).enumerate();
    cases
        .map(|(number, text)| text.replace("{h}", host).replace("{p}", &format!("/in/{number}")))
        .collect()
}

#[test]
fn http1_bytes_become_one_well_formed_request_or_none() {
    let fixture = fixture();
    let host = fixture.upstream.authority();
    let corpus = corpus(&host);
    assert!(corpus.len() >= 140);
    block_on(async {
        for batch in corpus.chunks(16) {
            let mut conversations = JoinSet::new();
            for case in batch {
                let tunnel = ProxyClient::new(&fixture.daemon)
                    .open(&host, &["http/1.1"])
                    .await
                    .unwrap();
                conversations.spawn(exchange(tunnel, case.clone()));
            }
            while conversations.join_next().await.is_some() {}
        }
    });
    fixture.assert_nothing_malformed();
    let reached: Vec<usize> = (0..corpus.len()).map(|number| fixture.received(number).len()).collect();
    for (number, times) in reached.iter().enumerate() {
        assert!(*times <= 1, "{times} requests of {:?}", corpus[number]);
    }
    // Well-formed requests do arrive; otherwise the assertions above prove nothing.
    assert!(reached.iter().sum::<usize>() > 20, "{reached:?}");
    for number in [0, 33, FRAMINGS.len() + CHUNKS.len()] {
        assert_eq!(reached[number], 1, "{:?}", corpus[number]);
    }
}

async fn exchange(mut tunnel: TlsTunnel, text: String) -> Vec<u8> {
    let _ = tunnel.write_all(text.as_bytes()).await;
    let _ = tunnel.flush().await;
    read_available(&mut tunnel).await
}

/// Header lines after the pseudo-headers.
#[rustfmt::skip]
const LINES: [&[(&str, &str)]; 29] = [
    &[],
    &[("transfer-encoding", "chunked")],
    &[("content-length", "5")],
    &[("content-length", "0")],
    &[("content-length", "3"), ("content-length", "5")],
    &[("content-length", "+5")],
    &[("content-length", "5"), ("content-length", "5")],
    &[("content-length", "5, 5")],
    &[("content-length", "")],
    &[("content-length", ""), ("content-length", "0")],
    &[("content-length", "0"), ("content-length", "")],
    &[("x", "a\r\nX-Smuggled: b")],
    &[("x", "a\nX-Smuggled: b")],
    &[("x", "a\0b")],
    &[("x\r\ny", "a")],
    &[("x: y", "a")],
    &[("", "a")],
    &[("X-Upper", "a")],
    &[("connection", "close")],
    &[("upgrade", "h2c")],
    &[("te", "gzip")],
    &[("te", "trailers")],
    &[("keep-alive", "5")],
    &[("proxy-connection", "x")],
    &[("host", "smuggled")],
    &[(":path", "/in/smuggled")],
    &[(":authority", "smuggled")],
    &[(":method", "GET")],
    &[("x", "y"), (":scheme", "http")],
];

/// Pseudo-header values that replace the default ones.
#[rustfmt::skip]
const PSEUDO: [(&str, &str); 12] = [
    (":path", "/in/smuggled HTTP/1.1\r\nHost: x\r\n\r\nGET /"),
    (":path", "in/smuggled"),
    (":path", ""),
    (":path", "https://smuggled/"),
    (":method", "GET /in/smuggled HTTP/1.1\r\nX: "),
    (":method", "G T"),
    (":method", "CONNECT"),
    (":method", "TRACE"),
    (":scheme", "http"),
    (":scheme", "https://x/"),
    (":authority", "smuggled"),
    (":authority", "x\r\ny"),
];

fn http2_corpus(host: &str) -> Vec<Vec<(String, String)>> {
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    let usual = |path: &str| {
        [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", host),
            (":path", path),
        ]
        .map(own)
    };
    let lines = LINES.iter().enumerate().map(|(number, lines)| {
        let more = lines.iter().copied().map(own);
        usual(&format!("/in/{number}")).into_iter().chain(more).collect()
    });
    let pseudo = PSEUDO.iter().map(|(name, value)| {
        let mut headers = usual("/in/999").to_vec();
        headers.iter_mut().find(|(key, _)| key == name).unwrap().1 = (*value).to_owned();
        headers
    });
    lines.chain(pseudo).collect()
}

/// HTTP/2 downgrade: each case becomes two requests, or another one, when copied into HTTP/1.1 unchanged.
#[test]
fn an_http2_request_becomes_one_well_formed_http1_request_or_none() {
    let fixture = fixture();
    let host = fixture.upstream.authority();
    let cases = http2_corpus(&host);
    block_on(async {
        let mut conversations = JoinSet::new();
        for case in &cases {
            let pairs: Vec<_> = case
                .iter()
                .map(|(name, value)| (name.as_str(), value.as_str()))
                .collect();
            let mut bytes = http2_frames::preface();
            bytes.extend(http2_frames::headers(1, &pairs, false));
            bytes.extend(http2_frames::frame(0, 1, 1, b"hello"));
            let tunnel = ProxyClient::new(&fixture.daemon).open(&host, &["h2"]).await.unwrap();
            conversations.spawn(async move {
                let mut tunnel = tunnel;
                let _ = tunnel.write_all(&bytes).await;
                read_available(&mut tunnel).await;
            });
        }
        while conversations.join_next().await.is_some() {}
    });
    fixture.assert_nothing_malformed();
    for (number, lines) in LINES.iter().enumerate() {
        assert!(fixture.received(number).len() <= 1, "{lines:?}");
    }
    assert_eq!(fixture.received(0)[0].body, b"hello");
    let arrives = |lines: &[(&str, &str)]| {
        let number = LINES.iter().position(|other| *other == lines).unwrap();
        !fixture.received(number).is_empty()
    };
    assert!(arrives(&[("content-length", "5"), ("content-length", "5")]));
    assert!(!arrives(&[("transfer-encoding", "chunked")]) && !arrives(&[("x", "a\r\nX-Smuggled: b")]));
}
