//! Logins with a code that a person, the server or the time ends.

use regauth_shared::exit_code;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::device_service::DeviceService;
use regauth_tests::registry::Registry;
use serde_json::{Value, json};

/// Daemon with a registry whose tokens come from a login at this server.
fn scene() -> (Registry, DeviceService, Daemon) {
    let registry = Registry::builder(Scheme::bearer(), "no-token-of-a-person").start();
    registry.accept(&[]);
    let service = DeviceService::start(registry.gate());
    let daemon = Daemon::builder().store("vault").start();
    let (index, scope, ca) = (registry.index(), registry.scope(), registry.ca());
    let location = ["add-registry", "corp", "--index", &index, "--scope", &scope];
    let source = ["--ca-file", ca.to_str().unwrap(), "--source", &service.source()];
    daemon.ctl(&[&location[..], &source].concat()).succeeds();
    (registry, service, daemon)
}

fn request(daemon: &Daemon, method: &str) -> Value {
    daemon.request(json!({ "method": method, "name": "corp" }))
}

#[test]
fn a_login_that_is_refused_or_too_late_ends_with_the_servers_reason_and_the_next_step() {
    let (_registry, service, daemon) = scene();
    for code in ["access_denied", "expired_token"] {
        service.set_poll_error(Some(code));
        let ended = daemon.ctl(&["login", "corp", "--no-browser"]);
        let ended = ended.exits(i32::from(exit_code::FAILED)).json;
        let message = ended["err"]["message"].as_str().unwrap();
        assert!(message.contains(&format!("answered 400: {code}")), "{ended}");
        let hint = ended["err"]["hint"].as_str().unwrap();
        assert!(hint.contains("`regauthctl login corp` begins another login"), "{ended}");
        assert_eq!(request(&daemon, "device-login-poll")["err"]["kind"], "not-found");
    }
    service.set_poll_error(None);
    service.confirm();
    daemon.ctl(&["login", "corp", "--no-browser"]).succeeds();
    service
        .refresh_tokens()
        .iter()
        .for_each(|token| daemon.register_secret(token));
}

#[test]
fn a_server_that_wants_rarer_polls_gets_them() {
    let (_registry, service, daemon) = scene();
    service.set_poll_error(Some("slow_down"));
    assert!(request(&daemon, "device-login")["ok"].is_object());
    // One second, and five more (RFC 8628, section 3.5).
    assert_eq!(request(&daemon, "device-login-poll")["ok"]["interval"], 6);
    assert!(request(&daemon, "device-login-poll")["ok"]["interval"].is_u64());
    assert_eq!(service.polls(), 1, "a poll came early");
}

#[test]
fn a_login_that_was_revoked_serves_its_last_token_and_says_what_to_do() {
    let (registry, service, daemon) = scene();
    service.confirm();
    daemon.ctl(&["login", "corp", "--no-browser"]).succeeds();
    service.end_login();
    let refused = daemon.ctl(&["rotate", "corp"]).exits(i32::from(exit_code::FAILED)).json;
    let error = refused["err"].to_string();
    assert!(
        error.contains("invalid_grant") && error.contains("regauthctl login corp"),
        "{error}"
    );
    let answer = Curl::new().behind(&daemon).get(&registry.file("f", 100));
    assert_eq!(answer.status, 200, "the token in service has not ended");
    service
        .refresh_tokens()
        .iter()
        .for_each(|token| daemon.register_secret(token));
}
