//! The end of a token: after a rotation or a removal it is not sent again, and numbers never go back.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::held_server::HeldServer;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::poll;
use regauth_tests::proxy_client::{ProxyClient, block_on};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const OLD: &str = "t0ken-of-yesterday";
const NEW: &str = "t0ken-of-today";

fn add(daemon: &Daemon, server: &HeldServer, more: &[&str]) {
    let location = server.location("/");
    let location: Vec<&str> = location.iter().map(String::as_str).collect();
    let arguments = [&["add-registry", "corp", "--no-verify"], &location[..], more].concat();
    let with_token = more.contains(&"--token-stdin");
    daemon
        .ctl_with_input(&arguments, if with_token { OLD } else { "" })
        .succeeds();
}

fn rotate_unverified(daemon: &Daemon) -> regauth_tests::ctl::Ctl {
    daemon.ctl_with_input(&["rotate", "corp", "--token-stdin", "--no-verify"], NEW)
}

/// Replaces a token file as a whole.
fn put(file: &Path, token: &str) {
    let next = file.with_extension("next");
    fs::write(&next, token).unwrap();
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(next, file).unwrap();
}

#[test]
fn a_rotation_counts_the_requests_that_still_wait_and_sends_none_again_with_the_old_token() {
    let server = HeldServer::start(&["/slow"]);
    let daemon = Daemon::start();
    add(&daemon, &server, &["--token-stdin"]);
    let curl = Curl::new().behind(&daemon);
    // So that `/lost` goes out on a connection that is open, and is safe to repeat.
    assert_eq!(curl.get(&server.url("/warm")).status, 200);
    let lost = curl.start(&server.url("/lost"));
    server.wait_for_arrivals("/lost", 1);
    let slow = curl.start(&server.url("/slow"));
    server.wait_for_arrivals("/slow", 1);
    let rotated = rotate_unverified(&daemon).succeeds().json;
    assert!(
        rotated["notes"][0]
            .to_string()
            .contains("2 requests that were sent before"),
        "{rotated}"
    );
    server.release();
    assert_eq!(lost.finish().response().status, 200);
    assert_eq!(slow.finish().response().status, 200);
    assert_eq!(
        server.arrivals("/lost"),
        [format!("Bearer {OLD}"), format!("Bearer {NEW}")]
    );
    assert_eq!(server.arrivals("/slow"), [format!("Bearer {OLD}")]);
}

#[test]
fn the_token_of_a_removed_registry_is_not_sent_again() {
    let server = HeldServer::start(&[]);
    let daemon = Daemon::start();
    add(&daemon, &server, &["--token-stdin"]);
    let curl = Curl::new().behind(&daemon);
    assert_eq!(curl.get(&server.url("/warm")).status, 200);
    let lost = curl.start(&server.url("/lost"));
    server.wait_for_arrivals("/lost", 1);
    let removed = daemon.ctl(&["remove-registry", "corp"]).succeeds().json;
    assert!(
        removed["notes"][0]
            .to_string()
            .contains("1 request that was sent before"),
        "{removed}"
    );
    server.release();
    let answer = lost.finish().response();
    assert_eq!(
        answer.header("regauth-error"),
        Some("credential-unavailable"),
        "{}",
        answer.body()
    );
    assert_eq!(server.arrivals("/lost"), [format!("Bearer {OLD}")]);
}

#[test]
fn a_removed_registry_is_gone_from_open_connections() {
    let server = HeldServer::start(&[]);
    let folder = TempDir::new().unwrap();
    let daemon = Daemon::start();
    daemon.register_secret("minted-t0ken-of-corp");
    // `corp` and `witness` are asked for a token every second.
    let source = |name: &str| {
        let file = folder.path().join(name);
        put(&file.with_extension("token"), &format!("minted-t0ken-of-{name}"));
        format!("echo run >>{0}; cat {0}.token", file.display())
    };
    let runs = |name: &str| {
        fs::read_to_string(folder.path().join(name))
            .unwrap_or_default()
            .lines()
            .count()
    };
    let minting = |script: &str| ["--source-ttl", "1s", "--source-command", "sh", "-c", script].map(str::to_owned);
    let corp = minting(&source("corp"));
    add(&daemon, &server, &corp.each_ref().map(String::as_str));
    let other = HeldServer::start(&[]);
    let location = other.location("/");
    let witness = minting(&source("witness"));
    let arguments: Vec<&str> = ["add-registry", "witness", "--no-verify"]
        .into_iter()
        .chain(location.iter().map(String::as_str))
        .chain(witness.iter().map(String::as_str))
        .collect();
    daemon.ctl(&arguments).succeeds();

    let authority = server.url("").trim_start_matches("https://").to_owned();
    let mut tunnel = block_on(ProxyClient::new(&daemon).open(&authority, &["http/1.1"])).unwrap();
    block_on(async {
        let request = format!("GET /open HTTP/1.1\r\nhost: {authority}\r\n\r\n");
        tunnel.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 12];
        tunnel.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    });
    assert_eq!(server.arrivals("/open"), ["Bearer minted-t0ken-of-corp"]);

    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    let before = (runs("corp"), runs("witness"));
    poll::wait_for("connections to the registry to close", || {
        (server.connections() == 0).then_some(())
    });
    poll::wait_for("the witness to be asked again", || {
        (runs("witness") > before.1 + 3).then_some(())
    });
    assert_eq!(runs("corp"), before.0, "the source of a removed registry is not asked");
    let mut scan = LeakScan::new("minted-t0ken-of-corp");
    scan.scan_memory(daemon.pid());
    scan.assert_clean();
    // The client's connection was open all the while.
    block_on(async {
        let request = format!("GET /after HTTP/1.1\r\nhost: {authority}\r\nconnection: close\r\n\r\n");
        tunnel.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tunnel.read_to_end(&mut answer).await;
    });
    assert_eq!(server.arrivals("/after"), [""], "without a credential");
}

#[test]
fn a_rotation_closes_the_connections_of_before_a_reload() {
    let server = HeldServer::start(&[]);
    let daemon = Daemon::builder().store("vault").start();
    add(&daemon, &server, &["--token-stdin"]);
    let authority = server.url("").trim_start_matches("https://").to_owned();
    let _open = block_on(ProxyClient::new(&daemon).open(&authority, &["http/1.1"])).unwrap();
    assert_eq!(Curl::new().behind(&daemon).get(&server.url("/x")).status, 200);
    assert!(server.connections() > 0);
    daemon.ctl(&["reload"]).succeeds();
    rotate_unverified(&daemon).succeeds();
    poll::wait_for("connections that carried the old token to close", || {
        (server.connections() == 0).then_some(())
    });
    assert_eq!(Curl::new().behind(&daemon).get(&server.url("/y")).status, 200);
    assert_eq!(server.arrivals("/y"), [format!("Bearer {NEW}")]);
}

#[test]
fn a_token_file_that_changes_during_a_rotation_wins() {
    let server = HeldServer::start(&["/"]);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    put(&file, OLD);
    let daemon = Daemon::start();
    daemon.register_secret(OLD);
    daemon.register_secret(NEW);
    add(&daemon, &server, &["--source", &format!("file:{}", file.display())]);
    let curl = Curl::new().behind(&daemon);
    thread::scope(|scope| {
        let rotating = scope.spawn(|| daemon.ctl(&["rotate", "corp"]));
        server.wait_for_arrivals("/", 1);
        put(&file, NEW);
        poll::wait_for("the new token in use", || {
            curl.get(&server.url("/during"));
            (server.arrivals("/during").last()? == &format!("Bearer {NEW}")).then_some(())
        });
        server.release();
        let rotated = rotating.join().unwrap().succeeds().json;
        assert_eq!(
            rotated["verified"], true,
            "the newer token was verified instead: {rotated}"
        );
    });
    curl.get(&server.url("/after"));
    assert_eq!(server.arrivals("/after"), [format!("Bearer {NEW}")]);
}

#[test]
fn a_rotation_that_takes_long_does_not_undo_a_later_one() {
    let server = HeldServer::start(&["/"]);
    let daemon = Daemon::builder().store("vault").start();
    add(&daemon, &server, &["--token-stdin"]);
    thread::scope(|scope| {
        let slow = scope.spawn(|| daemon.rotate("corp", "t0ken-that-took-long"));
        server.wait_for_arrivals("/", 1);
        assert_eq!(rotate_unverified(&daemon).succeeds().json["generation"], 2);
        server.release();
        let conflict = slow.join().unwrap().exits(1);
        let message = conflict.json["err"]["message"].to_string();
        assert!(
            message.contains("a later command has rotated `corp` to generation 2"),
            "{message}"
        );
    });
    Curl::new().behind(&daemon).get(&server.url("/after"));
    assert_eq!(server.arrivals("/after"), [format!("Bearer {NEW}")]);
}

#[test]
fn a_lost_journal_does_not_make_generation_numbers_go_back() {
    let server = HeldServer::start(&[]);
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    put(&file, OLD);
    let mut daemon = Daemon::builder().store("vault").start();
    daemon.register_secret(OLD);
    daemon.register_secret(NEW);
    add(&daemon, &server, &["--token-stdin"]);
    let sourced = HeldServer::start(&[]);
    let location = sourced.location("/");
    let source = format!("file:{}", file.display());
    let arguments: Vec<&str> = ["add-registry", "filed", "--no-verify", "--source", &source]
        .into_iter()
        .chain(location.iter().map(String::as_str))
        .collect();
    daemon.ctl(&arguments).succeeds();
    assert_eq!(rotate_unverified(&daemon).succeeds().json["generation"], 2);
    daemon.stop();
    fs::remove_file(daemon.home().join("state/ledger.json")).unwrap();
    daemon.restart();
    let generation = |daemon: &Daemon, name: &str| {
        poll::wait_for("a token", || {
            let shown = daemon.ctl(&["show", name]).succeeds().json;
            shown["credential"]["generation"].as_u64().filter(|number| *number > 0)
        })
    };
    let (stored, filed) = (generation(&daemon, "corp"), generation(&daemon, "filed"));
    assert!(stored > 2 && filed > 2, "{stored} and {filed}");
    assert_eq!(rotate_unverified(&daemon).succeeds().json["generation"], stored + 1);
    daemon.restart();
    assert_eq!(
        daemon.ctl(&["show", "corp"]).json["credential"]["generation"],
        stored + 1
    );
}

#[test]
fn a_token_from_a_source_that_one_registry_cannot_send_replaces_none() {
    let [owner, other] = [(), ()].map(|()| HeldServer::start(&[]));
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("token");
    put(&file, OLD);
    let daemon = Daemon::start();
    daemon.register_secret(OLD);
    let script = format!("cat {}", file.display());
    let source = ["--source-ttl", "1h", "--source-command", "sh", "-c", &script];
    add(&daemon, &owner, &[&["--username", "me"], &source[..]].concat());
    let location = other.location("/");
    let location: Vec<&str> = location.iter().map(String::as_str).collect();
    let shared = ["add-registry", "more", "--no-verify", "--credential-of", "corp"];
    daemon.ctl(&[&shared[..], &location].concat()).succeeds();
    // Basic can send it, Bearer cannot.
    put(&file, "pässwörd-of-today");
    let refused = daemon.ctl(&["rotate", "corp", "--no-verify"]).exits(2).json;
    assert!(
        refused["err"]["message"].to_string().contains("scheme basic"),
        "{refused}"
    );
    Curl::new().behind(&daemon).get(&other.url("/x"));
    assert_eq!(other.arrivals("/x"), [format!("Bearer {OLD}")]);
}
