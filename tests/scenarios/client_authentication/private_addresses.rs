//! Addresses that a grant does not reach, however they are written or resolved.

use std::net::Ipv4Addr;

use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::mock_server::MockServer;
use regauth_tests::network::{DnsServer, NetworkNamespace};
use regauth_tests::privilege::require_root;

use super::create_grant;

#[test]
fn a_grant_does_not_lead_to_private_addresses() {
    let daemon = Daemon::start();
    let (_, proxy) = create_grant(&daemon, &[]);
    let target = MockServer::builder(&Authority::new("Elsewhere"), "127.0.0.1")
        .plain()
        .start();
    let port = target.authority().rsplit(':').next().unwrap().to_owned();
    let curl = Curl::new().proxy(&proxy).with(&["--proxytunnel", "--max-time", "10"]);
    for host in [
        "127.0.0.1",
        "127.1",
        "0x7f000001",
        "2130706433",
        "localhost",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "0.0.0.0",
        "[::]",
        "[64:ff9b::7f00:1]",
        "169.254.169.254",
        "10.0.0.1",
        "192.168.0.1",
        "100.100.100.200",
        "[fd00:ec2::254]",
        "[fe80::1]",
    ] {
        let plain = Curl::new().proxy(&proxy).get(&format!("http://{host}:{port}/"));
        assert_eq!(
            (plain.status, plain.header("regauth-error")),
            (403, Some("grant-denied")),
            "{host}"
        );
        curl.fetch(&format!("http://{host}:{port}/")).output.fails().says("403");
    }
    let own = format!("http://{}/", daemon.proxy().trim_start_matches("http://"));
    curl.fetch(&own).output.fails().says("400");
    assert!(target.requests().is_empty());
    let open = Curl::new().proxy(&daemon.proxy()).get(&target.url("/"));
    assert_eq!(open.status, 200, "the owner may connect to loopback");
}

/// DNS rebinding: a name may resolve to another address between check and connection.
#[test]
fn a_name_is_resolved_once_and_does_not_lead_to_private_addresses() {
    if !require_root("a network namespace") {
        return;
    }
    let network = NetworkNamespace::start(&[]);
    let (public, here) = (Ipv4Addr::new(93, 184, 216, 34), Ipv4Addr::LOCALHOST);
    let names = DnsServer::start(&network, move |name, number| match name {
        "here.example" => vec![here],
        "both.example" => vec![public, here],
        _ if number % 2 == 0 => vec![public],
        _ => vec![here],
    });
    let daemon = Daemon::builder().wrapped_in(&network.enter_command()).start();
    let target = MockServer::builder(&Authority::new("Elsewhere"), "localhost").plain();
    let target = network.enter(|| target.start());
    let port = target.authority().rsplit(':').next().unwrap().to_owned();
    let (_, proxy) = create_grant(&daemon, &[]);
    let status = |proxy: &str, host: &str, more: &[&str]| {
        let curl = Curl::new().proxy(proxy).with(more);
        let url = format!("http://{host}:{port}/");
        network.enter(|| curl.fetch(&url).output.stdout)
    };
    // The owner may connect to loopback, a grant may not.
    assert!(status(&daemon.proxy(), "here.example", &[]).starts_with("200"));
    assert!(status(&proxy, "here.example", &[]).starts_with("403"));
    assert!(status(&proxy, "both.example", &[]).starts_with("403"));
    let before = names.queries();
    for number in 1..=8 {
        // curl prints the status of a refused CONNECT too.
        let more: &[&str] = if number % 4 < 2 {
            &[]
        } else {
            &["--proxytunnel", "--write-out", "%{http_connect}"]
        };
        let code = status(&proxy, "flip.example", more);
        assert!(
            ["403", "502"].iter().any(|expected| code.starts_with(expected)),
            "{code}"
        );
        assert_eq!(
            names.queries() - before,
            number,
            "the name is resolved once per request"
        );
    }
    assert_eq!(target.requests().len(), 1, "only the owner's request arrived");
}
