//! SOCKS5 proxies of a company: who resolves names, passwords, refusals.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::mock_server::MockServer;
use regauth_tests::network::{DnsServer, NetworkNamespace};
use regauth_tests::privilege::require_root;
use regauth_tests::registry::Registry;
use regauth_tests::socks_proxy::SocksProxy;

use super::{Company, HOST, OTHER_HOST, PASSWORD, TOKEN, USER, add_loopback_registry, configured, with_all_variables};

#[test]
fn a_socks5h_proxy_resolves_the_name() {
    let company = Company::new();
    let socks = SocksProxy::start(&[HOST]);
    for daemon in [
        configured(&socks.url("socks5h", "")),
        Daemon::builder().env("ALL_PROXY", &socks.url("socks5h", "")),
    ] {
        company.assert_reached(&daemon.start());
    }
    socks.wait_for_connection(&company.registry.authority());
}

#[test]
fn a_socks5_proxy_gets_the_address_that_we_resolve() {
    if !require_root("network namespaces") {
        return;
    }
    let network = NetworkNamespace::start(&["203.0.113.9/24"]);
    let _dns = DnsServer::start(&network, |_, _| vec!["203.0.113.9".parse().unwrap()]);
    let authority = Authority::new("Corp Root");
    let server = MockServer::builder(&authority, "203.0.113.9").plain();
    let (server, socks) = network.enter(|| (server.start(), SocksProxy::start(&[])));
    let port = server.authority().rsplit_once(':').unwrap().1.to_owned();
    let daemon = configured(&socks.url("socks5", ""))
        .wrapped_in(&network.enter_command())
        .start();
    let url = format!("http://{OTHER_HOST}:{port}/");
    let answer = network.enter(|| Curl::new().proxy(&daemon.proxy()).get(&url));
    assert_eq!(answer.status, 200);
    socks.wait_for_connection(&format!("203.0.113.9:{port}"));
}

#[test]
fn a_socks5_proxy_is_not_asked_for_a_name_that_we_cannot_resolve() {
    let company = Company::new();
    let socks = SocksProxy::start(&[HOST]);
    let daemon = configured(&socks.url("socks5", "")).start();
    company.add_unverified(&daemon);
    assert_eq!(company.ask(&daemon).0, 502);
    assert_eq!(socks.connections(), 0);
}

#[test]
fn a_socks_proxy_with_a_password_is_used_and_its_refusals_are_named() {
    let company = Company::new();
    let socks = SocksProxy::start_with_login(&[HOST], USER, PASSWORD);
    let working = configured(&socks.url("socks5h", &format!("{USER}:{PASSWORD}@"))).start();
    company.assert_reached(&working);
    assert!(!working.log().contains(PASSWORD));
    for (login, words) in [
        (String::new(), "requires a user and a password"),
        (format!("{USER}:wrong@"), "rejected the user and the password"),
    ] {
        let daemon = configured(&socks.url("socks5h", &login)).start();
        let report = company.add(&daemon).output.report();
        assert!(report.contains(words) && report.contains(&socks.address()), "{report}");
    }
}

#[test]
fn plain_http_and_tunnels_pass_through_a_socks_proxy() {
    let company = Company::new();
    let socks = SocksProxy::start(&[HOST, OTHER_HOST]);
    let daemon = with_all_variables(&socks.url("socks5h", "")).start();
    let plain = MockServer::builder(&company.authority, OTHER_HOST).plain().start();
    let curl = Curl::new().proxy(&daemon.proxy()).trusts(&company.authority.file());
    assert_eq!(curl.get(&plain.url("/page")).status, 200);
    assert_eq!(plain.requests()[0].uri, "/page");
    assert_eq!(curl.get(&company.registry.url("/")).status, 200);
    socks.wait_for_connection(&plain.authority());
    socks.wait_for_connection(&company.registry.authority());
}

#[test]
fn a_host_that_the_socks_proxy_cannot_reach_is_told_from_a_dead_proxy() {
    let company = Company::new();
    let socks = SocksProxy::start(&[]);
    let daemon = configured(&socks.url("socks5h", "")).start();
    company.add_unverified(&daemon);
    let (_, _, body) = company.ask(&daemon);
    assert!(body.contains("could not connect to the host (SOCKS5"), "{body}");
    let address = socks.address();
    drop(socks);
    let (_, _, body) = company.ask(&daemon);
    assert!(body.contains(&address) && body.contains("cannot be reached"), "{body}");
}

#[test]
fn the_token_of_a_plain_loopback_registry_never_goes_to_a_socks_proxy() {
    let socks = SocksProxy::start(&[]);
    let registry = MockServer::builder(&Authority::new("Corp Root"), "127.0.0.1")
        .plain()
        .start();
    for daemon in [
        configured(&socks.url("socks5h", "")),
        with_all_variables(&socks.url("socks5", "")),
    ] {
        let daemon = daemon.start();
        add_loopback_registry(&daemon, &registry.url("/"), &[]).succeeds();
        assert_eq!(Curl::new().proxy(&daemon.proxy()).get(&registry.url("/")).status, 200);
    }
    assert_eq!(socks.connections(), 0);
}

#[test]
fn verify_and_rotate_go_through_the_socks_proxy() {
    let (company, socks) = (Company::new(), SocksProxy::start(&[HOST]));
    let daemon = configured(&socks.url("socks5h", "")).start();
    company.add(&daemon).succeeds();
    daemon.ctl(&["verify", "corp"]);
    daemon.rotate("corp", "sentinel-token-number-two").succeeds();
    let sent: Vec<_> = company.registry.requests();
    let last = sent
        .iter()
        .filter_map(|request| request.header("authorization"))
        .next_back();
    assert_eq!(last.as_deref(), Some("Bearer sentinel-token-number-two"));
    socks.wait_for_connection(&company.registry.authority());
}

#[test]
fn cargo_builds_through_a_socks_proxy() {
    let socks = SocksProxy::start(&[HOST]);
    let registry = Registry::builder(Scheme::bearer(), TOKEN).host(HOST).start();
    let daemon = Daemon::builder().env("https_proxy", &socks.url("socks5h", "")).start();
    daemon.add("corp", &registry);
    Cargo::new()
        .registry("corp", &registry.index())
        .behind(&daemon)
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#)
        .build()
        .succeeds();
    assert!(socks.connections() > 0);
}

#[test]
fn a_grant_reaches_no_private_address_through_a_socks5_proxy() {
    if !require_root("network namespaces") {
        return;
    }
    // The address is public, and this machine's own.
    let network = NetworkNamespace::start(&["203.0.113.9/24"]);
    let _dns = DnsServer::start(&network, |name, _| match name {
        OTHER_HOST => vec!["203.0.113.9".parse().unwrap()],
        _ => vec!["10.1.2.3".parse().unwrap()],
    });
    let socks = network.enter(|| SocksProxy::start(&[]));
    let daemon = configured(&socks.url("socks5", "")).wrapped_in(&network.enter_command());
    let daemon = daemon.start();
    let granted = daemon.ctl(&["grant", "--for", "1h"]).succeeds();
    let url = granted.json["proxy"].as_str().unwrap().to_owned();
    for host in [OTHER_HOST, "private.corp.example"] {
        let target = format!("http://{host}:8080/");
        let answer = network.enter(|| Curl::new().proxy(&url).get(&target));
        assert_eq!(answer.header("regauth-error"), Some("grant-denied"), "{host}");
    }
    assert_eq!(socks.connections(), 0);
}

#[test]
fn no_proxy_keeps_hosts_from_a_socks_proxy() {
    let (company, socks) = (Company::new(), SocksProxy::start(&[HOST, OTHER_HOST]));
    let settings = format!(
        "[upstream]\nproxy = \"{}\"\nno-proxy = [\"*.corp.example\", \"10.0.0.0/8\"]\n",
        socks.url("socks5h", "")
    );
    let daemon = Daemon::builder().config(&settings).start();
    company.add_unverified(&daemon);
    assert_eq!(company.ask(&daemon).0, 502);
    assert_eq!(socks.connections(), 0);
}
