//! Upstreams that misbehave: nobody waits longer than for a deadline, one silent connection never blocks the next request,
//! and a cut body is never passed on as a whole one.

mod bodies;

use std::time::Duration;
use std::{fs, thread};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::certificates::Authority;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::misbehaving_server::{Http2Ending, MisbehavingServer, Silence};
use regauth_tests::proxy_client::{ProxyClient, block_on, connect_head};
use regauth_tests::{exec, poll};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TOKEN: &str = "s3ntinel-of-the-upstream";

/// Daemon with the registry `corp` on the server.
fn daemon_with(server: &MisbehavingServer, root: &Authority, more: &[&str]) -> Daemon {
    let daemon = Daemon::start();
    add(&daemon, "corp", server, root, more);
    daemon
}

fn add(daemon: &Daemon, name: &str, server: &MisbehavingServer, root: &Authority, more: &[&str]) {
    let scope = server.url(&format!("/{name}/"));
    let location = [&["--scope", &scope, "--no-verify"], more].concat();
    daemon
        .try_add(name, &location, &Scheme::bearer(), &root.file(), TOKEN)
        .succeeds();
}

fn curl(daemon: &Daemon) -> Curl {
    Curl::new().behind(daemon)
}

/// GET by a client that gives up after a second.
fn impatient_get(daemon: &Daemon, url: &str) {
    let given_up = curl(daemon).with(&["--max-time", "1"]).fetch(url);
    given_up.output.fails();
}

#[test]
fn a_connection_that_stays_silent_does_not_block_the_next_request() {
    for silence in [Silence::AfterAccept, Silence::InHandshake] {
        let root = Authority::new("Corp Root");
        let server = MisbehavingServer::http1(&root).first(&[silence]).start();
        let daemon = daemon_with(&server, &root, &[]);
        impatient_get(&daemon, &server.url("/corp/first"));
        let second = curl(&daemon)
            .with(&["--max-time", "12"])
            .get(&server.url("/corp/second"));
        assert_eq!(second.status, 200, "{silence:?}");
    }
}

/// The client that began the opening is still there, and so the opening is.
#[test]
fn a_request_that_waits_for_a_silent_connection_gets_another_one() {
    let root = Authority::new("Corp Root");
    let silent = [Silence::InHandshake, Silence::AfterAccept];
    let server = MisbehavingServer::http1(&root).first(&silent).start();
    let daemon = daemon_with(&server, &root, &[]);
    let answer = curl(&daemon)
        .with(&["--max-time", "14"])
        .get(&server.url("/corp/patient"));
    assert_eq!((answer.status, server.accepted()), (200, 3));
}

#[test]
fn an_http2_server_that_falls_silent_after_its_handshake_does_not_block_the_next_request() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http2(&root, Http2Ending::EndThenReset)
        .first(&[Silence::AfterHandshake])
        .start();
    let daemon = daemon_with(&server, &root, &[]);
    let waiting = curl(&daemon).start(&server.url("/corp/first"));
    poll::wait_for("the silent connection", || (server.accepted() > 0).then_some(()));
    let second = || {
        curl(&daemon)
            .with(&["--max-time", "4"])
            .fetch(&server.url("/corp/second"))
    };
    poll::wait_for("an answer on another connection", || {
        second().output.status.success().then_some(())
    });
    // The deadline of the HTTP handshake moves the request to the other connection.
    assert_eq!(waiting.finish().response().status, 200);
}

#[test]
fn a_silent_upstream_is_a_timeout_and_not_an_endless_wait() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).always(Silence::InHandshake).start();
    let daemon = daemon_with(&server, &root, &[]);
    let answer = curl(&daemon).get(&server.url("/corp/x"));
    assert_eq!(answer.status, 504);
    assert!(server.closes_to(0, poll::TIMEOUT), "{} sockets are left", server.open());
}

/// The control side has connections of its own.
#[test]
fn verify_and_rotate_get_past_a_silent_connection() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root)
        .first(&[Silence::InHandshake, Silence::AfterAccept])
        .start();
    let daemon = daemon_with(&server, &root, &[]);
    daemon.ctl(&["verify", "corp"]).output.says("was reached");
    daemon.ctl(&["verify", "corp"]).output.says("was reached");
    daemon.rotate("corp", "an0ther-t0ken-of-the-upstream").succeeds();
}

#[test]
fn a_rotation_and_a_reload_free_requests_from_a_silent_connection() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).first(&[Silence::InHandshake]).start();
    let daemon = daemon_with(&server, &root, &[]);
    let waiting = curl(&daemon).start(&server.url("/corp/waits"));
    poll::wait_for("the silent connection", || (server.accepted() > 0).then_some(()));
    let rotated = ["rotate", "corp", "--token-stdin", "--no-verify"];
    daemon
        .ctl_with_input(&rotated, "an0ther-t0ken-of-the-upstream")
        .succeeds();
    daemon.ctl(&["reload"]).succeeds();
    assert_eq!(curl(&daemon).get(&server.url("/corp/next")).status, 200);
    assert_eq!(waiting.finish().response().status, 200);
}

#[test]
fn openings_end_with_the_clients_that_wait_for_them() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).always(Silence::InHandshake).start();
    let daemon = daemon_with(&server, &root, &[]);
    impatient_get(&daemon, &server.url("/corp/x"));
    assert!(server.accepted() > 0);
    assert!(server.closes_to(0, SOON), "{} sockets of a dead client", server.open());
}

#[test]
fn a_silent_corporate_proxy_keeps_no_sockets_of_clients_that_have_gone() {
    let proxy = MisbehavingServer::plain().always(Silence::AfterAccept).start();
    let config = format!("[upstream]\nproxy = \"http://{}\"\n", proxy.authority());
    let daemon = Daemon::builder().config(&config).start();
    let curl = Curl::new().proxy(&daemon.proxy()).with(&["--max-time", "1"]);
    let clients: Vec<_> = (0..10).map(|_| curl.start("https://stranger.invalid/")).collect();
    for client in clients {
        client.finish().output.fails();
    }
    assert!(proxy.accepted() >= 10);
    assert!(proxy.closes_to(0, SOON), "{} sockets of dead clients", proxy.open());
}

#[test]
fn a_tunnel_through_a_silent_corporate_proxy_is_a_timeout() {
    let proxy = MisbehavingServer::plain().always(Silence::AfterAccept).start();
    let config = format!("[upstream]\nproxy = \"http://{}\"\n", proxy.authority());
    let daemon = Daemon::builder().config(&config).start();
    let answer = Curl::new().proxy(&daemon.proxy()).fetch("https://stranger.invalid/");
    answer.output.fails().says("504");
}

#[test]
fn a_write_survives_a_server_that_closes_after_each_answer() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).start();
    let daemon = daemon_with(&server, &root, &["--writes", "allow"]);
    let post = curl(&daemon).with(&["--data-binary", "x"]);
    for number in 0..10 {
        assert_eq!(curl(&daemon).get(&server.url("/corp/hangs-up")).status, 200);
        assert_eq!(post.get(&server.url("/corp/hangs-up")).status, 200, "POST {number}");
    }
    let posts = server
        .requests()
        .iter()
        .filter(|line| line.starts_with("POST "))
        .count();
    assert_eq!(posts, 10, "no write is sent twice");
}

#[test]
fn requests_to_an_http1_registry_share_few_connections() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).start();
    let daemon = daemon_with(&server, &root, &[]);
    assert_eq!(curl(&daemon).get(&server.url("/corp/ok")).status, 200);
    let parallel = ["--http2", "--parallel", "--parallel-max", "100"];
    let crowd = curl(&daemon).with(&parallel).start(&server.url("/corp/held?[1-100]"));
    poll::wait_for("a full registry", || (server.held().0 == CAP).then_some(()));
    server.release();
    let answers = crowd.finish().output.succeeds();
    assert_eq!(answers.stdout.matches("200 2").count(), 100, "{}", answers.stdout);
    assert_eq!(server.held(), (0, CAP));
}

/// Its bearer's requests wait, and the owner's do not.
#[test]
fn a_grant_leaves_connections_of_an_http1_registry_to_others() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).start();
    let daemon = daemon_with(&server, &root, &[]);
    assert_eq!(curl(&daemon).get(&server.url("/corp/ok")).status, 200);
    let granted = daemon.ctl(&["grant", "--registry", "corp"]).succeeds().json;
    let bearer = Curl::new()
        .proxy(granted["proxy"].as_str().unwrap())
        .trusts(&daemon.bundle());
    let parallel = ["--http2", "--parallel", "--parallel-max", "250"];
    let crowd = bearer.with(&parallel).start(&server.url("/corp/held?[1-250]"));
    poll::wait_for("the grant's share", || (server.held().0 == CAP / 2).then_some(()));
    let owner = curl(&daemon).with(&["--max-time", "20"]);
    for _ in 0..5 {
        assert_eq!(owner.get(&server.url("/corp/ok")).status, 200);
    }
    assert_eq!(server.held(), (CAP / 2, CAP / 2));
    server.release();
    let answers = crowd.finish().output.succeeds();
    assert_eq!(answers.stdout.matches("200 2").count(), 250, "{}", answers.stdout);
}

#[test]
fn running_out_of_descriptors_is_a_warning_with_a_remedy() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).start();
    let daemon = Daemon::builder().log_level("info").start();
    add(&daemon, "corp", &server, &root, &[]);
    let used = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count();
    // Room for the client's connection and the lookup of its user, and for no connection to the registry.
    let mut room = (1..10).cycle();
    poll::wait_for("a warning", || {
        let limit = format!("--nofile={}:", used + room.next()?);
        let mut prlimit = exec::command("prlimit", daemon.home());
        exec::run(prlimit.args(["--pid", &daemon.pid().to_string(), &limit])).succeeds();
        let _ = curl(&daemon).with(&["--max-time", "2"]).fetch(&server.url("/corp/x"));
        daemon.log().contains("no file descriptor left").then_some(())
    });
    assert!(daemon.log().contains("LimitNOFILE"));
}

#[test]
fn changes_that_do_not_concern_a_registry_keep_its_connections() {
    let root = Authority::new("Corp Root");
    let [server, elsewhere] = [(); 2].map(|()| MisbehavingServer::http1(&root).start());
    let daemon = daemon_with(&server, &root, &[]);
    add(&daemon, "other", &elsewhere, &root, &[]);
    assert_eq!(curl(&daemon).get(&server.url("/corp/ok")).status, 200);
    let accepted = server.accepted();
    let scope = elsewhere.url("/more/");
    for change in [
        &["add-scope", "other", &scope, "--token-stdin"][..],
        &["reload"],
        &["remove-registry", "other"],
    ] {
        daemon.ctl_with_input(change, TOKEN).succeeds();
        assert_eq!(curl(&daemon).get(&server.url("/corp/ok")).status, 200);
        assert_eq!(server.accepted(), accepted, "{change:?}");
    }
}

#[test]
fn a_path_outside_all_scopes_is_verified_by_the_roots_of_all_registries_on_the_host() {
    let [root, other] = ["Corp Root", "Someone Else"].map(Authority::new);
    let server = MisbehavingServer::http1(&root).start();
    let daemon = daemon_with(&server, &root, &[]);
    // First by name, and with another root.
    add(&daemon, "archive", &server, &other, &[]);
    assert_eq!(curl(&daemon).get(&server.url("/elsewhere")).status, 200);
    let accepted = server.accepted();
    daemon.ctl(&["reload"]).succeeds();
    assert_eq!(curl(&daemon).get(&server.url("/elsewhere")).status, 200);
    assert_eq!(server.accepted(), accepted, "the connection is kept");
    assert_eq!(
        curl(&daemon).get(&server.url("/archive/x")).status,
        502,
        "a registry trusts its own roots only"
    );
}

/// A token that was accepted a moment ago needs no trial.
#[test]
fn after_a_pause_all_requests_of_a_build_are_sent_at_once() {
    let root = Authority::new("Corp Root");
    let server = MisbehavingServer::http1(&root).start();
    let daemon = daemon_with(&server, &root, &[]);
    assert_eq!(curl(&daemon).get(&server.url("/corp/ok")).status, 200);
    // The pause is the condition: trust ends with time.
    thread::sleep(Duration::from_secs(3));
    let parallel = ["--http2", "--parallel", "--parallel-max", "12"];
    let build = curl(&daemon).with(&parallel).start(&server.url("/corp/held?[1-12]"));
    poll::wait_for("all requests at the registry", || (server.held().0 == 12).then_some(()));
    server.release();
    build.finish().output.succeeds();
}

#[test]
fn a_reset_in_a_tunnel_is_passed_on_as_a_reset() {
    let server = MisbehavingServer::plain().start();
    let daemon = Daemon::start();
    for (path, is_reset) in [("/reset", true), ("/until-close", false)] {
        let ended = block_on(async {
            let client = ProxyClient::new(&daemon);
            let mut tunnel = client.connect(&connect_head(&server.authority())).await.unwrap();
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            tunnel.write_all(request.as_bytes()).await.unwrap();
            let mut received = Vec::new();
            tunnel.read_to_end(&mut received).await
        });
        assert_eq!(ended.is_err(), is_reset, "{path}");
    }
}

/// Closing a socket with unread bytes resets it, and the client loses the end of the response.
#[test]
fn a_client_that_still_sends_gets_all_that_the_host_has_sent_before_it_closed() {
    let server = MisbehavingServer::plain().start();
    let daemon = Daemon::start();
    let received = block_on(async {
        let client = ProxyClient::new(&daemon);
        let mut tunnel = client.connect(&connect_head(&server.authority())).await.unwrap();
        tunnel
            .write_all(b"GET /until-close HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        // The host closes its socket, so these bytes reach nobody.
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            tunnel.write_all(&[0; 4096]).await.unwrap();
        }
        let mut received = String::new();
        tunnel.read_to_string(&mut received).await.unwrap();
        received
    });
    assert!(received.ends_with("whole"), "{received}");
}

/// Limit for an end at once, which takes a fraction of it. The deadline of an opening is longer.
const SOON: Duration = Duration::from_secs(8);
/// Requests in flight to an HTTP/1.1 registry, per worker.
const CAP: usize = 16;
