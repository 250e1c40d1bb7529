//! The main job: builds pass, and the token is at the registry and nowhere else.

use regauth_tests::cargo::Cargo;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::honeypot::Honeypot;
use regauth_tests::leaks::Hunt;
use regauth_tests::registry::Registry;

const TOKEN: &str = "sentinel-of-the-main-job";

#[test]
fn cargo_builds_from_a_registry_whose_token_it_never_sees() {
    let registry = Registry::start(TOKEN);
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#)
        .behind(&daemon);
    let build = cargo.build().succeeds();
    let download = registry.nginx.saw(|seen| seen.uri.ends_with("/ship/1.0.0/download"));
    assert_eq!(download.authorization(), Some(registry.credential().as_str()));
    Hunt::new(TOKEN)
        .look("cargo's output", build.report())
        .folder(cargo.home(), &[])
        .look("the daemon's log", daemon.log())
        .folder(&daemon.home(), &[])
        .process(daemon.pid())
        .assert_clean();
}

#[test]
fn a_rotated_token_is_used_at_once() {
    let registry = Registry::start("first-token");
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    registry.accept(&["second-token"]);
    daemon.rotate("corp", "second-token").succeeds();
    let answer = Curl::new()
        .behind(&daemon)
        .get(&registry.nginx.url("/api/cargo/index/config.json"));
    assert_eq!(answer.status, 200, "{}", answer.body());
}

#[test]
fn a_restarted_daemon_keeps_its_port_and_forgets_what_was_in_memory() {
    let registry = Registry::start(TOKEN);
    let mut daemon = Daemon::start();
    daemon.add("corp", &registry);
    let proxy = daemon.proxy();
    daemon.restart();
    assert_eq!(daemon.proxy(), proxy);
    let answer = Curl::new()
        .behind(&daemon)
        .get(&registry.nginx.url("/api/cargo/index/config.json"));
    assert!(answer.header("regauth-error").is_some(), "{}", answer.headers);
    assert!(daemon.stop().success());
}

#[test]
fn an_unconfigured_host_shows_its_own_certificate() {
    let registry = Registry::start(TOKEN);
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let stranger = Honeypot::builder(registry.authority(), "127.0.0.1").start();
    let curl = Curl::new().proxy(&daemon.proxy()).trusts(&registry.ca());
    assert_eq!(curl.get(&stranger.url("/")).status, 200);
    let mut hunt = Hunt::new(TOKEN);
    hunt.look("the stranger", stranger.requests()[0].text()).assert_clean();
    // The registry's own name is intercepted: the company's root alone does not vouch for what curl gets.
    curl.fetch(&registry.nginx.url("/")).outcome.fails().says("certificate");
}
