//! Changes under running clients: adding and removing registries, reloads and restarts do not disturb them.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::cargo::Cargo;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::registry::{Registry, USERNAME};

const TOKEN: &str = "t0ken-that-stays";

#[test]
fn a_client_with_the_old_bundle_works_after_a_restart() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let mut daemon = Daemon::builder().store("vault").start();
    daemon.add("corp", &registry);
    let before = daemon.home().join("before.pem");
    std::fs::copy(daemon.bundle(), &before).unwrap();
    let url = registry.nginx.url("/api/cargo/index/config.json");
    for kill in [false, true] {
        if kill {
            daemon.kill();
        }
        daemon.restart();
        let curl = Curl::new().proxy(&daemon.proxy()).trusts(&before);
        assert_eq!(curl.get(&url).status, 200);
    }
    assert_eq!(std::fs::read(&before).unwrap(), std::fs::read(daemon.bundle()).unwrap());
}

#[test]
fn a_cargo_that_started_before_a_restart_finishes_after_it() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let mut daemon = Daemon::builder().store("vault").start();
    daemon.add("corp", &registry);
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .behind(&daemon)
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#);
    let running = cargo.start(["build"]);
    registry
        .nginx
        .wait_for_request(|request| request.uri.contains("/sh/ip/ship"));
    daemon.restart();
    running.finish().succeeds();
}

#[test]
fn a_transfer_in_flight_survives_add_remove_reload_and_drain() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let other = Registry::builder(Scheme::bearer(), "another-t0ken").start();
    let mut daemon = Daemon::start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let length = 24 << 20;
    let url = registry.file("long", length);
    let slow = Curl::new().behind(&daemon).with(&["--limit-rate", "8M"]).start(&url);
    regauth_tests::poll::wait_for("the first bytes", || (slow.received() > 0).then_some(()));
    daemon.add("other", &other);
    daemon.ctl(&["reload"]).succeeds();
    daemon.ctl(&["remove-registry", "other"]).succeeds();
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    assert!(daemon.stop().success());
    let answer = slow.finish().response();
    assert_eq!((answer.status, answer.length), (200, length));
}

#[test]
fn a_removed_registry_is_passed_through_at_once() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    let curl = Curl::new().proxy(&daemon.proxy()).trusts(&registry.ca());
    assert_eq!(
        curl.get(&registry.nginx.url("/api/cargo/index/config.json")).status,
        401
    );
    let text = std::fs::read_to_string(daemon.bundle()).unwrap();
    assert!(
        !text.contains("regauth authority"),
        "the bundle still has the authority of a removed registry"
    );
}

#[test]
fn a_restart_keeps_the_port_and_loses_tokens_in_memory() {
    let registry = Registry::builder(Scheme::basic(USERNAME), TOKEN).start();
    let mut daemon = Daemon::start();
    daemon.add("corp", &registry);
    let proxy = daemon.proxy();
    daemon.restart();
    assert_eq!(daemon.proxy(), proxy);
    let answer = Curl::new()
        .behind(&daemon)
        .get(&registry.nginx.url("/api/cargo/index/config.json"));
    assert_eq!(
        (answer.status, answer.header("regauth-error")),
        (502, Some("credential-unavailable"))
    );
    assert_eq!(daemon.ctl(&["show", "corp"]).json["credential"]["state"], "missing");
}
