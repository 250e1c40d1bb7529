//! A token that is rotated or removed while something waits to send it is not sent any more: by `verify`, by the check of a
//! denied token, or by a request to a registry that shared it.

use std::thread;

use regauth_tests::ctl::Ctl;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::held_server::HeldServer;
use regauth_tests::proxy_client::{ProxyClient, block_on};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OLD: &str = "t0ken-of-yesterday";
const NEW: &str = "t0ken-of-today";

fn add(daemon: &Daemon, name: &str, server: &HeldServer, more: &[&str]) {
    let location = server.location("/");
    let location: Vec<&str> = location.iter().map(String::as_str).collect();
    let arguments = [&["add-registry", name, "--no-verify"], &location[..], more].concat();
    let with_token = more.contains(&"--token-stdin");
    daemon
        .ctl_with_input(&arguments, if with_token { OLD } else { "" })
        .succeeds();
}

fn rotate_unverified(daemon: &Daemon, name: &str) {
    let rotated = daemon.ctl_with_input(&["rotate", name, "--token-stdin", "--no-verify"], NEW);
    let notes = rotated.succeeds().json["notes"].to_string();
    assert!(!notes.contains("still waits"), "{notes}");
}

fn old() -> String {
    format!("Bearer {OLD}")
}

/// Runs `meanwhile` while `verify` waits for a connection, and returns what `verify` gave.
fn verify_during(daemon: &Daemon, server: &HeldServer, meanwhile: impl FnOnce()) -> Ctl {
    server.hold_handshakes();
    thread::scope(|scope| {
        let verifying = scope.spawn(|| daemon.ctl(&["verify", "corp"]));
        server.wait_for_held_handshake();
        meanwhile();
        server.release();
        verifying.join().unwrap()
    })
}

#[test]
fn a_verify_that_waits_during_a_rotation_asks_about_the_new_token() {
    let server = HeldServer::start(&[]);
    let daemon = Daemon::start();
    add(&daemon, "corp", &server, &["--token-stdin"]);
    let verified = verify_during(&daemon, &server, || rotate_unverified(&daemon, "corp"))
        .succeeds()
        .json;
    assert_eq!(verified["registries"][0]["result"], "accepted", "{verified}");
    let asked = server.arrivals("/");
    assert_eq!(asked.first(), Some(&format!("Bearer {NEW}")));
    assert!(!asked.contains(&old()), "{asked:?}");
}

#[test]
fn a_verify_that_waits_during_a_removal_sends_no_token() {
    let server = HeldServer::start(&[]);
    let daemon = Daemon::start();
    add(&daemon, "corp", &server, &["--token-stdin"]);
    let verified = verify_during(&daemon, &server, || {
        let removed = daemon.ctl(&["remove-registry", "corp"]).succeeds().json;
        assert!(!removed.to_string().contains("still wait"), "{removed}");
    });
    let verdict = &verified.json["registries"][0];
    assert_eq!(
        [&verdict["result"], &verdict["detail"]],
        ["no-token", "it was removed meanwhile"],
        "{verdict}"
    );
    assert_eq!(server.arrivals("/"), [""; 0]);
}

/// Makes the daemon check the token of `corp`, and returns while the check waits for a connection.
async fn begin_check(daemon: &Daemon, server: &HeldServer) -> impl AsyncReadExt + AsyncWriteExt + Unpin {
    let authority = server.url("").trim_start_matches("https://").to_owned();
    let mut tunnel = ProxyClient::new(daemon).open(&authority, &["http/1.1"]).await.unwrap();
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nhost: {authority}\r\n\r\n");
    // One connection of the client stays on one worker, whose connection to the registry stays open.
    tunnel.write_all(get("/sample").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    tunnel.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    server.hold_handshakes();
    tunnel.write_all(get("/denied").as_bytes()).await.unwrap();
    server.wait_for_held_handshake();
    tunnel
}

#[test]
fn a_token_check_that_waits_during_a_removal_sends_no_token() {
    let server = HeldServer::start(&[]);
    let daemon = Daemon::start();
    add(&daemon, "corp", &server, &["--token-stdin"]);
    let _tunnel = block_on(begin_check(&daemon, &server));
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    server.release();
    server.wait_for_held_connections();
    assert_eq!(server.arrivals("/sample"), [old()], "once, for the client");
    assert_eq!(server.arrivals("/denied"), [old()], "once, for the client");
    assert_eq!(server.arrivals("/"), [""; 0], "no probe");
}

#[test]
fn a_request_that_waits_for_a_removed_registry_gets_no_token_that_others_still_use() {
    let [owner, shared] = [(), ()].map(|()| HeldServer::start(&["/slow"]));
    // While the worker's one connection is in use, only a request opens another.
    let daemon = Daemon::builder().arg("--workers").arg("1").start();
    add(&daemon, "corp", &owner, &["--token-stdin"]);
    add(&daemon, "more", &shared, &["--credential-of", "corp", "--token-stdin"]);
    let curl = Curl::new().behind(&daemon);
    let slow = curl.start(&shared.url("/slow"));
    shared.wait_for_arrivals("/slow", 1);
    shared.hold_handshakes();
    let waiting = curl.start(&shared.url("/waiting"));
    shared.wait_for_held_handshake();
    let removed = daemon.ctl(&["remove-registry", "more"]).succeeds().json;
    assert!(removed["notes"][0].to_string().contains("2 requests"), "{removed}");
    shared.release();
    assert_eq!(slow.finish().response().status, 200);
    let answer = waiting.finish().response();
    assert_eq!(
        answer.header("regauth-error"),
        Some("credential-unavailable"),
        "{}",
        answer.body()
    );
    assert_eq!(shared.arrivals("/waiting"), [""; 0]);
    assert_eq!(curl.get(&owner.url("/still")).status, 200);
    assert_eq!(owner.arrivals("/still"), [old()]);
}
