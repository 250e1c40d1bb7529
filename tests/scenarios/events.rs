//! Events: what each request, refusal and change says about itself, and that no viewer can hold up the daemon.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Stdio};
use std::sync::mpsc::{self, Receiver};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::registry::Registry;
use regauth_tests::viewer::Viewer;
use regauth_tests::{burst, exec, poll, programs};
use serde_json::{Value, json};

const TOKEN: &str = "t0ken-of-the-company";

#[test]
fn each_request_is_an_event_with_its_facts() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let mut viewer = Viewer::start(daemon.home());
    let curl = Curl::new().behind(&daemon);
    let url = registry.file("crate", 70_000);
    assert_eq!(curl.get(&format!("{url}?query=not-shown")).status, 200);
    let first = viewer.next_of("request");
    let path = first["path"].as_str().unwrap();
    assert!(
        url.ends_with(path) && !first.to_string().contains("not-shown"),
        "{first}"
    );
    for (field, value) in [
        ("registry", json!("corp")),
        ("method", json!("GET")),
        ("operation", json!("read")),
        ("status", json!(200)),
        ("generation", json!(1)),
        ("bytes-up", json!(0)),
        ("bytes-down", json!(70_000)),
    ] {
        assert_eq!(first[field], value, "{field}: {first}");
    }
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(first["client"]["uid"], uid);
    let micros = |event: &Value, field: &str| event[field].as_u64().unwrap();
    assert!(micros(&first, "own-us") <= micros(&first, "first-byte-us"));
    assert!(micros(&first, "first-byte-us") <= micros(&first, "total-us"));
    curl.get(&url);
    let second = viewer.next_of("request");
    assert_eq!(second["reused"], true, "{second}");
    assert!(second["sequence"].as_u64() > first["sequence"].as_u64());
    assert!(second["time"].as_u64() >= first["time"].as_u64());
}

#[test]
fn a_refusal_is_an_event_with_its_code_and_nothing_of_the_token() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let mut daemon = Daemon::start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let mut viewer = Viewer::start(daemon.home());
    let curl = Curl::new().behind(&daemon);
    assert_eq!(curl.upload(&registry.upload(), 10).status, 403);
    let denied = viewer.next_of("refusal");
    for (field, value) in [
        ("registry", json!("corp")),
        ("code", json!("write-denied")),
        ("status", json!(403)),
        ("operation", json!("write")),
        ("method", json!("PUT")),
    ] {
        assert_eq!(denied[field], value, "{field}: {denied}");
    }
    // A tunnel to a port where nobody listens.
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    curl.start(&format!("https://{closed}/")).finish();
    let tunnel = viewer.next_of("refusal");
    assert_eq!(
        (&tunnel["code"], &tunnel["host"]),
        (&json!("upstream-unreachable"), &json!(closed.to_string()))
    );
    assert!(tunnel.get("registry").is_none(), "{tunnel}");
    daemon.stop();
    viewer.next_of("stopping");
    assert_eq!(viewer.next_line(), None);
}

#[test]
fn changes_by_verbs_are_events() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    let mut viewer = Viewer::start(daemon.home());
    daemon.add("corp", &registry);
    assert_eq!(viewer.next_of("registry-added")["registry"], "corp");
    daemon.ctl(&["allow", "corp", "--for", "1m"]).succeeds();
    assert!(viewer.next_of("writes-opened")["until"].is_string());
    daemon.ctl(&["deny", "corp"]).succeeds();
    assert_eq!(viewer.next_of("writes-closed")["registry"], "corp");
    let grant = daemon.ctl(&["grant", "--registry", "corp", "--for", "1h"]).succeeds();
    let id = grant.json["grant"]["id"].as_str().unwrap();
    assert_eq!(viewer.next_of("grant-created")["grant"], id);
    daemon.ctl(&["revoke", id]).succeeds();
    assert_eq!(viewer.next_of("grant-revoked")["grant"], id);
    // What ends by itself, at the end of its time.
    daemon.ctl(&["allow", "corp", "--for", "1s"]).succeeds();
    assert_eq!(viewer.next_of("writes-closed")["registry"], "corp");
    let grant = daemon.ctl(&["grant", "--registry", "corp", "--for", "1s"]).succeeds();
    let id = grant.json["grant"]["id"].as_str().unwrap();
    assert_eq!(viewer.next_of("grant-expired")["grant"], id);
    daemon.ctl(&["verify", "corp"]).succeeds();
    assert_eq!(viewer.next_of("verification")["result"], "accepted");
    registry.accept(&["an0ther-token"]);
    daemon.rotate("corp", "an0ther-token").succeeds();
    assert_eq!(viewer.next_of("rotation")["generation"], 2);
    daemon.ctl(&["reload"]).succeeds();
    assert_eq!(viewer.next_of("reload")["registries"], 1);
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert_eq!(viewer.next_of("registry-removed")["registry"], "corp");
}

#[test]
fn viewers_beyond_the_limit_are_refused_and_a_place_is_free_again_when_one_leaves() {
    let daemon = Daemon::start();
    let mut viewers: Vec<_> = (0..32).map(|_| Viewer::start(daemon.home())).collect();
    let refused = Viewer::request(daemon.home(), json!({}));
    assert_eq!(refused.answer["err"]["kind"], "refused");
    viewers.pop();
    poll::wait_for("a free place", || {
        Viewer::request(daemon.home(), json!({})).answer["ok"]
            .is_object()
            .then_some(())
    });
    let unknown = Viewer::request(daemon.home(), json!({"registries": ["nope"]}));
    assert_eq!(unknown.answer["err"]["kind"], "not-found");
}

/// Running `regauthctl watch` and its lines so far.
struct Watch {
    child: Child,
    lines: Receiver<String>,
    notes: Receiver<String>,
}

impl Watch {
    fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let mut command = exec::command(programs::binary("regauthctl"), daemon.home());
        command.arg("--home").arg(daemon.home()).arg("watch").args(arguments);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let notes = lines_of(child.stderr.take().unwrap());
        Self { child, lines, notes }
    }

    /// First line that an action causes, which is repeated until `watch` has begun. The daemon's own start may come before.
    fn first_line(&self, action: impl Fn()) -> String {
        poll::wait_for("the first line of watch", || {
            action();
            let line = self.lines.recv_timeout(std::time::Duration::from_millis(300)).ok();
            line.filter(|line| !line.contains(" started") && !line.contains("\"started\""))
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines_of(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

#[test]
fn watch_prints_a_line_each_and_goes_on_over_a_restart() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let mut daemon = Daemon::builder().store("vault").start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let watch = Watch::start(&daemon, &["--json", "--registry", "corp", "--op", "read"]);
    let url = registry.file("crate", 1000);
    let get = |daemon: &Daemon| {
        Curl::new().behind(daemon).get(&url);
    };
    let event: Value = serde_json::from_str(&watch.first_line(|| get(&daemon))).unwrap();
    assert_eq!((&event["event"], &event["status"]), (&json!("request"), &json!(200)));
    daemon.restart();
    let back = || watch.notes.recv_timeout(poll::TIMEOUT).unwrap();
    assert_eq!(back(), "note: regauthd ended; waiting for the next one");
    assert_eq!(back(), "note: regauthd is back");
    while watch.lines.try_recv().is_ok() {}
    get(&daemon);
    let event: Value = serde_json::from_str(&watch.lines.recv_timeout(poll::TIMEOUT).unwrap()).unwrap();
    assert_eq!(
        event["sequence"].as_u64().map(|number| number < 5),
        Some(true),
        "{event}"
    );
}

#[test]
fn watch_is_text_for_people_and_ends_quietly_with_its_reader() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let watch = Watch::start(&daemon, &["--refused", "--op", "write"]);
    let curl = Curl::new().behind(&daemon);
    let line = watch.first_line(|| {
        curl.get(&registry.file("crate", 1000));
        curl.upload(&registry.upload(), 10);
    });
    assert!(
        line.contains(" PUT  403 write-denied ") && line.contains("corp"),
        "{line}"
    );
    let mut without_reader = exec::command(programs::binary("regauthctl"), daemon.home());
    without_reader.arg("--home").arg(daemon.home()).arg("watch");
    let mut child = without_reader
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
}

#[test]
fn unknown_filters_are_clear_errors() {
    let mut daemon = Daemon::start();
    for (arguments, exit, says) in [
        (["--registry", "nope"], 6, "nope"),
        (["--grant", "00000000"], 6, "regauthctl grants"),
        (["--op", "delete"], 2, "read, write"),
        (["--registry", "No Name"], 2, "--registry"),
        (["--program", ""], 2, "--program"),
    ] {
        let ctl = daemon.ctl(&["watch", arguments[0], arguments[1]]).exits(exit);
        assert!(ctl.output.stdout.contains(says), "{}", ctl.output.report());
    }
    daemon.stop();
    daemon.ctl(&["watch"]).exits(3);
}

#[test]
fn viewers_that_read_nothing_lose_events_and_hold_up_no_request() {
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = Daemon::builder().log_level("info").start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    // As many as are admitted, and hundreds that are not. Root, which the tests often run as, may have more connections.
    let mut viewers: Vec<_> = (0..1000).map(|_| Viewer::request(daemon.home(), json!({}))).collect();
    let url = registry.file("crate", 100);
    for _ in 0..6 {
        let statuses = burst::send(&daemon, &url, 1000, 10);
        assert!(statuses.iter().all(|status| *status == 200));
    }
    let first = viewers.first_mut().unwrap();
    let lost = first.next_of("lost");
    assert!(lost["events"].as_u64() > Some(0), "{lost}");
    assert!(daemon.memory().peak < 96 << 20, "{} MiB", daemon.memory().peak >> 20);
}
