//! Proxies that refuse, that are silent or dead, or that are no proxies.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use regauth_tests::curl::Curl;
use regauth_tests::mock_server::MockServer;
use regauth_tests::poll;
use regauth_tests::squid::Squid;

use super::{Company, OTHER_HOST, PASSWORD, USER, configured};

/// Port that accepts connections and never answers, on an address of its own: no other test takes it once it is free.
fn silent_port() -> (TcpListener, String) {
    let listener = TcpListener::bind((Ipv4Addr::new(127, 0, 44, 3), 0)).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    (listener, address)
}

#[test]
fn a_password_that_the_proxy_wants_is_asked_for_by_name() {
    let (company, squid) = (Company::new(), Company::squid().login(USER, PASSWORD).start());
    let server = MockServer::builder(&company.authority, OTHER_HOST).plain().start();
    for (url, words) in [
        (squid.url(), "requires a user and a password (407"),
        (
            squid.url_with_login(USER, "wrong"),
            "rejected the user and the password (407",
        ),
    ] {
        let daemon = configured(&url).start();
        let refused = company.add(&daemon);
        assert!(!refused.succeeded());
        let report = refused.output.report();
        assert!(report.contains(words) && report.contains(&squid.address()), "{report}");
        company.add_unverified(&daemon);
        let (status, code, body) = company.ask(&daemon);
        assert_eq!((status, code.as_str()), (502, "upstream-unreachable"));
        assert!(body.contains(words) && body.contains("set by config.toml"), "{body}");
        let verified = daemon.ctl(&["verify", "corp"]).output.report();
        assert!(verified.contains(words), "{verified}");
        // A client must not take the proxy's 407 for ours, nor see its challenge.
        let plain = Curl::new().proxy(&daemon.proxy()).get(&server.url("/"));
        assert_eq!(plain.status, 502);
        assert!(plain.body().contains(words), "{}", plain.body());
        assert_eq!(plain.header("proxy-authenticate"), None);
    }
    assert!(server.requests().is_empty() && company.registry.requests().is_empty());
}

#[test]
fn a_port_that_the_proxy_forbids_is_called_forbidden() {
    let (company, squid) = (Company::new(), Company::squid().only_ssl_ports().start());
    let daemon = configured(&squid.url()).start();
    company.add_unverified(&daemon);
    let (status, _, body) = company.ask(&daemon);
    assert_eq!(status, 502);
    assert!(body.contains("refused to connect to the host (HTTP 403)"), "{body}");
    let tunnel = Curl::new()
        .behind(&daemon)
        .with(&["--verbose"])
        .fetch(&format!("https://{OTHER_HOST}:8443/"));
    let report = tunnel.output.fails().report();
    assert!(
        report.contains("502") && report.contains("regauth-error: upstream-unreachable"),
        "{report}"
    );
}

#[test]
fn a_host_that_the_proxy_cannot_reach_is_told_from_a_dead_proxy() {
    let company = Company::new();
    let mut squid = Squid::builder().start();
    let daemon = configured(&squid.url()).start();
    company.add_unverified(&daemon);
    let (status, _, body) = company.ask(&daemon);
    assert_eq!(status, 502);
    assert!(body.contains("could not connect to the host (HTTP 50"), "{body}");
    let address = squid.address();
    squid.stop();
    for _ in 0..2 {
        let (status, code, body) = company.ask(&daemon);
        assert_eq!((status, code.as_str()), (502, "upstream-unreachable"));
        assert!(
            body.contains(&format!("The corporate proxy http://{address}")),
            "{body}"
        );
        assert!(body.contains("cannot be reached"), "{body}");
    }
    let verified = daemon.ctl(&["verify", "corp"]).output.report();
    assert!(
        verified.contains("cannot be reached") && verified.contains(&address),
        "{verified}"
    );
}

#[test]
fn a_proxy_that_comes_back_is_used_again() {
    let company = Company::new();
    let (listener, address) = silent_port();
    drop(listener);
    let daemon = configured(&format!("http://{address}")).start();
    company.add_unverified(&daemon);
    assert_eq!(company.ask(&daemon).0, 502);
    let listener = TcpListener::bind(&address).unwrap();
    // It serves until the test process ends.
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        }
    });
    let (_, _, body) = company.ask(&daemon);
    assert!(body.contains("refused to connect to the host (HTTP 403)"), "{body}");
}

#[test]
fn a_silent_proxy_is_named_and_its_connections_end() {
    let company = Company::new();
    let (_listener, address) = silent_port();
    let daemon = configured(&format!("http://{address}")).start();
    company.add_unverified(&daemon);
    let (status, code, body) = company.ask(&daemon);
    assert_eq!((status, code.as_str()), (504, "upstream-timeout"));
    assert!(
        body.contains(&address) && body.contains("did not answer in time"),
        "{body}"
    );
    // A tunnel, too: its client hears of it, and no socket stays.
    let tunnel = Curl::new()
        .behind(&daemon)
        .with(&["--verbose"])
        .fetch("https://stranger.corp.example/");
    let report = tunnel.output.fails().report();
    assert!(report.contains("504"), "{report}");
    poll::wait_for("no connection", || {
        let status = daemon.ctl(&["status"]).succeeds().json;
        (status["connections"] == 0).then_some(())
    });
}

#[test]
fn a_server_that_is_no_proxy_is_called_that() {
    let company = Company::new();
    let server = MockServer::builder(&company.authority, "localhost").start();
    let port = server.authority().rsplit_once(':').unwrap().1.to_owned();
    // TLS answers plain text with an alert, HTTP answers SOCKS with a 400.
    let plain = MockServer::builder(&company.authority, "127.0.0.1").plain().start();
    for proxy in [
        format!("http://127.0.0.1:{port}"),
        format!("socks5h://{}", plain.authority()),
    ] {
        let daemon = configured(&proxy).start();
        company.add_unverified(&daemon);
        let (status, _, body) = company.ask(&daemon);
        assert_eq!(status, 502);
        assert!(body.contains("did not answer as a proxy of its kind does"), "{body}");
    }
}

#[test]
fn bytes_that_follow_the_proxys_answer_at_once_reach_the_client() {
    // A host that speaks first, such as an SSH server, may be ahead of the client.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    let proxy = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 1024];
        let _ = stream.read(&mut head).unwrap();
        stream
            .write_all(b"HTTP/1.1 200 Connection established\r\n\r\nbanner\n")
            .unwrap();
    });
    let daemon = configured(&format!("http://{address}")).start();
    let mut client = TcpStream::connect(daemon.proxy().trim_start_matches("http://")).unwrap();
    client
        .write_all(b"CONNECT host.corp.example:22 HTTP/1.1\r\nHost: host.corp.example:22\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nbanner\n"),
        "{answer}"
    );
    proxy.join().unwrap();
}

#[test]
fn one_connect_that_the_proxy_never_answers_does_not_stop_a_registry_for_good() {
    let (company, squid) = (Company::new(), Company::squid().start());
    // Swallows the first connection, and passes all others to Squid.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (address, behind) = (listener.local_addr().unwrap(), squid.address());
    std::thread::spawn(move || {
        let _swallowed = listener.accept().unwrap();
        for stream in listener.incoming() {
            let (near, far) = (stream.unwrap(), TcpStream::connect(&behind).unwrap());
            for (mut from, mut to) in [(near.try_clone().unwrap(), far.try_clone().unwrap()), (far, near)] {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Write);
                });
            }
        }
    });
    let daemon = configured(&format!("http://{address}")).start();
    company.add_unverified(&daemon);
    company.ask(&daemon);
    poll::wait_for("an answer of the registry", || {
        (company.ask(&daemon).0 == 200).then_some(())
    });
}
