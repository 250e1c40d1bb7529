//! Events: what each request, refusal and change says about itself, and that no viewer can hold up the daemon.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::registry::Registry;
use regauth_tests::viewer::Viewer;
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
    regauth_tests::poll::wait_for("a free place", || {
        Viewer::request(daemon.home(), json!({})).answer["ok"]
            .is_object()
            .then_some(())
    });
    let unknown = Viewer::request(daemon.home(), json!({"registries": ["nope"]}));
    assert_eq!(unknown.answer["err"]["kind"], "not-found");
}
