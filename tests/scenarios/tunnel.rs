//! Pass-through: an unconfigured host is tunnelled and plain HTTP is forwarded, without a credential.

use regauth_tests::certificates::{Authority, concatenate, read_pem};
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::exec;
use regauth_tests::mock_server::MockServer;
use regauth_tests::registry::Registry;

const TOKEN: &str = "canary-of-the-tunnel";

#[test]
fn an_unconfigured_host_shows_its_own_certificate() {
    let other_authority = Authority::new("Elsewhere");
    let unconfigured = MockServer::builder(&other_authority, "localhost").start();
    let registry = Registry::start(TOKEN);
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let mut openssl = exec::command("openssl", daemon.home());
    openssl.args([
        "s_client",
        "-showcerts",
        "-proxy",
        daemon.proxy().trim_start_matches("http://"),
    ]);
    openssl.args(["-connect", &unconfigured.authority(), "-servername", "localhost"]);
    let request = exec::run_with_input(&mut openssl, "").stdout;
    let file = daemon.home().join("request.pem");
    std::fs::write(&file, request).unwrap();
    assert_eq!(&read_pem(&file)[0], unconfigured.certificate().leaf());
}

#[test]
fn an_unconfigured_host_gets_no_credential_on_either_protocol() {
    let other_authority = Authority::new("Elsewhere");
    let unconfigured = MockServer::builder(&other_authority, "localhost").start();
    let registry = Registry::start(TOKEN);
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    for (protocol, version) in [("--http1.1", "1.1"), ("--http2", "2")] {
        let curl = Curl::new()
            .proxy(&daemon.proxy())
            .trusts(&other_authority.file())
            .with(&[protocol]);
        let answer = curl.get(&unconfigured.url("/api/cargo/index/config.json"));
        assert_eq!((answer.status, answer.version.as_str()), (200, version));
    }
    for request in unconfigured.wait_for_requests(2) {
        assert!(
            !request.text().contains(TOKEN) && request.header("authorization").is_none(),
            "{request:?}"
        );
    }
}

#[test]
fn a_redirect_to_another_host_carries_no_credential() {
    let other_authority = Authority::new("Elsewhere");
    let cdn = MockServer::builder(&other_authority, "127.0.0.2").start();
    let registry = Registry::builder(regauth_tests::auth_gate::Scheme::bearer(), TOKEN)
        .location("/api/cargo/away", &format!("return 302 {};", cdn.url("/caught")))
        .start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let roots = concatenate(&[&daemon.bundle(), &other_authority.file()]);
    let curl = Curl::new().proxy(&daemon.proxy()).trusts(&roots).with(&["--location"]);
    assert_eq!(curl.get(&registry.nginx.url("/api/cargo/away")).status, 200);
    let caught = &cdn.wait_for_requests(1)[0];
    assert!(
        !caught.text().contains(TOKEN) && caught.header("authorization").is_none(),
        "{caught:?}"
    );
}

#[test]
fn plain_http_is_forwarded_without_a_credential() {
    let other_authority = Authority::new("Elsewhere");
    let plain = MockServer::builder(&other_authority, "127.0.0.1").plain().start();
    let registry = Registry::start(TOKEN);
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let curl = Curl::new().proxy(&daemon.proxy()).header("X-Mine: 1");
    assert_eq!(curl.get(&plain.url("/api/cargo/index/config.json")).status, 200);
    let request = &plain.wait_for_requests(1)[0];
    assert_eq!(request.header("x-mine").as_deref(), Some("1"));
    assert_eq!(request.header("host"), Some(plain.authority()));
    for absent in ["authorization", "proxy-authorization", "proxy-connection"] {
        assert_eq!(request.header(absent), None, "{absent}");
    }
}

#[test]
fn requests_to_the_proxy_itself_are_refused() {
    let daemon = Daemon::start();
    let origin_form = Curl::new().get(&format!("{}/", daemon.proxy()));
    assert_eq!(
        (origin_form.status, origin_form.header("regauth-error")),
        (400, Some("bad-request"))
    );
    let looped = Curl::new().proxy(&daemon.proxy()).get(&format!("{}/", daemon.proxy()));
    assert_eq!(looped.status, 400);
}

#[test]
fn an_unreachable_host_gives_502() {
    let daemon = Daemon::start();
    let gone = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let answer = Curl::new().proxy(&daemon.proxy()).fetch(&format!("https://{gone}/"));
    answer.output.fails().says("502");
}

#[test]
fn an_upstream_with_an_untrusted_certificate_gets_no_request() {
    let [right, wrong] = [Authority::new("Corp Root"), Authority::new("Someone Else")];
    let imposter = MockServer::builder(&wrong, "localhost").start();
    let daemon = Daemon::start();
    let scope = imposter.url("/");
    let location = ["--scope", &scope, "--no-verify"];
    daemon
        .try_add(
            "corp",
            &location,
            &regauth_tests::auth_gate::Scheme::bearer(),
            &right.file(),
            TOKEN,
        )
        .succeeds();
    let answer = Curl::new().behind(&daemon).get(&imposter.url("/"));
    assert_eq!(
        (answer.status, answer.header("regauth-error")),
        (502, Some("upstream-untrusted"))
    );
    assert!(imposter.requests().is_empty());
}
