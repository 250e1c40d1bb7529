//! Logins with a code while something else happens: a logout, a removal, a stop, a reload or a store move. A server accepts
//! each refresh token once, so a refresh that is cut short would end the login.
#![cfg(target_os = "linux")]

use std::fs;
use std::thread;
use std::time::Duration;

use regauth_shared::exit_code;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::device_service::DeviceService;
use regauth_tests::keyring::Keyring;
use regauth_tests::poll;
use regauth_tests::registry::Registry;
use regauth_tests::store_items;
use regauth_tests::system_shim::SystemShim;
use serde_json::{Value, json};

/// A registry that accepts only tokens of a login, and the server of the logins.
struct Scene {
    registry: Registry,
    service: DeviceService,
}

impl Scene {
    fn new() -> Self {
        let registry = Registry::builder(Scheme::bearer(), "no-token-of-a-person").start();
        registry.accept(&[]);
        let service = DeviceService::start(registry.gate());
        Self { registry, service }
    }

    fn add(&self, daemon: &Daemon, more: &str) {
        let (index, scope, ca) = (self.registry.index(), self.registry.scope(), self.registry.ca());
        let source = self.service.source() + more;
        let location = ["add-registry", "corp", "--index", &index, "--scope", &scope];
        let source = ["--ca-file", ca.to_str().unwrap(), "--source", &source];
        daemon.ctl(&[&location[..], &source].concat()).succeeds();
    }

    /// Logs in, with a first token of this life and later ones of an hour.
    fn log_in(&self, daemon: &Daemon, first: Duration) {
        self.service.set_lifetime(first);
        begin(daemon);
        self.service.confirm();
        let answer = poll_login(daemon);
        assert!(answer["ok"]["rotated"].is_object(), "{answer}");
        self.service.set_lifetime(Duration::from_secs(3600));
    }

    /// Logs in, and returns while the answer to a refresh of the token is held.
    fn log_in_and_hold_refresh(&self, daemon: &Daemon) {
        self.log_in(daemon, Duration::from_secs(4));
        self.service.hold();
        self.service.wait_for_held();
    }

    /// HTTP status of a request, and the proxy's error.
    fn request(&self, daemon: &Daemon) -> (u16, Option<String>) {
        let answer = Curl::new().behind(daemon).get(&self.registry.file("f", 100));
        (answer.status, answer.header("regauth-error").map(str::to_owned))
    }

    /// Waits until a request succeeds, and refreshes once more: the refresh token in use was never sent before.
    fn assert_login_lives(&self, daemon: &Daemon) {
        poll::wait_for("a token", || (self.request(daemon).0 == 200).then_some(()));
        daemon.ctl(&["rotate", "corp"]).succeeds();
        assert_eq!(self.service.reuses(), 0, "a refresh token was sent twice");
    }

    fn scan(&self, daemon: &Daemon) {
        for token in self.service.refresh_tokens() {
            daemon.register_secret(&token);
        }
    }
}

fn begin(daemon: &Daemon) {
    let answer = daemon.request(json!({ "method": "device-login", "name": "corp" }));
    assert!(answer["ok"].is_object(), "{answer}");
}

fn poll_request() -> Value {
    json!({ "method": "device-login-poll", "name": "corp" })
}

/// Polls until the answer is final.
fn poll_login(daemon: &Daemon) -> Value {
    poll::wait_for("the end of the login", || {
        let answer = daemon.request(poll_request());
        answer["ok"]["interval"].is_null().then_some(answer)
    })
}

fn state(daemon: &Daemon) -> String {
    let shown = daemon.ctl(&["show", "corp"]).succeeds().json;
    shown["credential"]["state"].as_str().unwrap().to_owned()
}

fn has_refresh_token(daemon: &Daemon) -> bool {
    store_items::in_vault(daemon).iter().any(|item| item == "corp")
}

#[test]
fn a_logout_during_a_refresh_ends_the_login() {
    let scene = Scene::new();
    let daemon = Daemon::builder().store("vault").start();
    scene.add(&daemon, "");
    for by_rotate in [false, true] {
        thread::scope(|scope| {
            let rotating = by_rotate.then(|| {
                scene.log_in(&daemon, Duration::from_secs(3600));
                scene.service.hold();
                let rotating = scope.spawn(|| daemon.ctl(&["rotate", "corp"]));
                scene.service.wait_for_held();
                rotating
            });
            if rotating.is_none() {
                scene.log_in_and_hold_refresh(&daemon);
            }
            let logged_out = daemon.request(json!({ "method": "logout", "name": "corp" }));
            assert!(logged_out["ok"].is_object(), "{logged_out}");
            scene.service.release();
            // The refresher asks again, and finds that nobody is logged in.
            poll::wait_for("the end of the refresh", || {
                let failure = daemon.ctl(&["show", "corp"]).json["credential"]["failure"]["message"].clone();
                (failure == "nobody is logged in").then_some(())
            });
            assert_eq!(state(&daemon), "missing");
            assert!(!has_refresh_token(&daemon));
            assert_eq!(scene.request(&daemon).1.as_deref(), Some("credential-unavailable"));
            if let Some(rotating) = rotating {
                rotating.join().unwrap().exits(i32::from(exit_code::FAILED));
            }
        });
    }
    scene.log_in(&daemon, Duration::from_secs(3600));
    scene.assert_login_lives(&daemon);
    scene.scan(&daemon);
}

#[test]
fn a_poll_gives_no_registry_that_took_the_name_a_refresh_token() {
    let scene = Scene::new();
    let mut daemon = Daemon::builder().store("vault").start();
    scene.add(&daemon, "");
    begin(&daemon);
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    scene.add(&daemon, "");
    scene.service.confirm();
    let answer = daemon.request(poll_request());
    assert_eq!(answer["err"]["kind"], "not-found", "{answer}");
    assert_eq!(scene.service.polls(), 0, "the service was asked for another registry");

    begin(&daemon);
    scene.service.hold();
    let polling = daemon.start_request(poll_request());
    scene.service.wait_for_held();
    daemon.ctl(&["remove-registry", "corp"]).succeeds();
    scene.registry.accept(&["t0ken-of-the-next"]);
    daemon
        .try_add(
            "corp",
            &["--index", &scene.registry.index(), "--scope", &scene.registry.scope()],
            &Scheme::bearer(),
            &scene.registry.ca(),
            "t0ken-of-the-next",
        )
        .succeeds();
    scene.service.release();
    let answer = polling();
    assert!(
        answer["err"]["message"].to_string().contains("replaced meanwhile"),
        "{answer}"
    );
    daemon.restart();
    assert_eq!(
        scene.request(&daemon),
        (200, None),
        "the store has the registry's own token"
    );
    scene.scan(&daemon);
}

#[test]
fn a_refresh_token_that_was_stored_during_a_reload_is_deleted_with_its_registry() {
    let scene = Scene::new();
    let shim = SystemShim::new();
    let daemon = shim.load_into(Daemon::builder().store("vault")).start();
    scene.add(&daemon, "");
    begin(&daemon);
    scene.service.confirm();
    shim.hold_syncs("vault.age");
    let polling = daemon.start_request(poll_request());
    shim.wait_for_held_sync();
    // Another client of another server, whose logins are not this one.
    let config = daemon.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"person\"", "\"other\"")).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    shim.release_syncs();
    let answer = polling();
    assert!(
        answer["err"]["message"].to_string().contains("replaced meanwhile"),
        "{answer}"
    );
    assert!(!has_refresh_token(&daemon));
    scene.scan(&daemon);
}

#[test]
fn a_poll_without_an_answer_ends_no_login() {
    let scene = Scene::new();
    let daemon = Daemon::builder().store("vault").start();
    scene.add(&daemon, "");
    begin(&daemon);
    scene.service.set_down(true);
    let answer = daemon.request(poll_request());
    assert_eq!(answer["ok"]["interval"], 2, "polls are rarer: {answer}");
    scene.service.set_down(false);
    scene.service.confirm();
    let answer = poll_login(&daemon);
    assert!(answer["ok"]["rotated"].is_object(), "{answer}");
    scene.assert_login_lives(&daemon);
    scene.scan(&daemon);
}

#[test]
fn a_stop_during_a_refresh_keeps_the_login() {
    let scene = Scene::new();
    let mut daemon = Daemon::builder()
        .store("vault")
        .config("drain-timeout = \"1s\"\n")
        .start();
    scene.add(&daemon, "");
    scene.log_in_and_hold_refresh(&daemon);
    daemon.ctl(&["stop"]).succeeds();
    // Longer than the drain's deadline.
    thread::sleep(Duration::from_secs(2));
    scene.service.release();
    assert!(daemon.wait().success());
    daemon.restart();
    scene.assert_login_lives(&daemon);
    scene.scan(&daemon);
}

#[test]
fn a_reload_during_a_refresh_keeps_the_login() {
    let scene = Scene::new();
    let daemon = Daemon::builder().store("vault").start();
    scene.add(&daemon, "");
    scene.log_in_and_hold_refresh(&daemon);
    let config = daemon.home().join("config.toml");
    let text = fs::read_to_string(&config).unwrap();
    let edited = text.replace("client-id = \"person\"", "client-id = \"person\", ttl = \"30m\"");
    assert_ne!(text, edited, "{text}");
    fs::write(&config, edited).unwrap();
    daemon.ctl(&["reload"]).succeeds();
    scene.service.release();
    scene.assert_login_lives(&daemon);
    scene.scan(&daemon);
}

#[test]
fn a_refresh_during_a_store_move_reaches_the_new_store() {
    let scene = Scene::new();
    let (keyring, shim) = (Keyring::start(), SystemShim::new());
    let mut daemon = shim
        .load_into(Daemon::builder())
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
        .config("store = \"keychain\"\n")
        .without_store_flag()
        .start();
    scene.add(&daemon, "");
    scene.log_in_and_hold_refresh(&daemon);
    shim.hold_syncs("vault.age");
    thread::scope(|scope| {
        let moving = scope.spawn(|| daemon.ctl(&["store", "move", "vault"]));
        // The spent refresh token is in the vault.
        shim.wait_for_held_sync();
        scene.service.release();
        poll::wait_for("the refresh", || {
            let shown = daemon.ctl(&["show", "corp"]).json;
            (shown["credential"]["generation"] == 2).then_some(())
        });
        shim.release_syncs();
        moving.join().unwrap().succeeds();
    });
    assert!(has_refresh_token(&daemon));
    daemon.restart();
    scene.assert_login_lives(&daemon);
    scene.scan(&daemon);
}

#[test]
fn a_configured_lifetime_ends_a_token_of_a_login_early() {
    let scene = Scene::new();
    let daemon = Daemon::builder().store("vault").start();
    scene.add(&daemon, ",ttl=4s");
    scene.log_in(&daemon, Duration::from_secs(3600));
    poll::wait_for("a refresh before the hour is over", || {
        let shown = daemon.ctl(&["show", "corp"]).json;
        (shown["credential"]["generation"].as_u64() >= Some(2)).then_some(())
    });
    scene.scan(&daemon);
}
