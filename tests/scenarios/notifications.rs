//! Desktop notifications, shown by a real notification daemon on a session bus.

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::keyring::Keyring;
use regauth_tests::leak_scan::LeakScan;
use regauth_tests::notification_daemon::NotificationDaemon;
use regauth_tests::poll;
use regauth_tests::registry::Registry;

#[test]
fn each_cause_is_shown_once_a_day_also_after_a_restart() {
    let keyring = Keyring::start();
    let desktop = NotificationDaemon::start(&keyring.address());
    let token = token_that_ends_in(36 * 3600);
    let mut daemon = on_bus(&keyring).without_store_flag().start();
    let [corp, rejecting] = ["corp", "rejecting"].map(|name| add(&daemon, name, &token));
    let body = desktop.wait_for("the token of the registry `corp` ends at");
    assert_eq!(body, "`regauthctl login corp` gives it a new one");

    rejecting.accept(&["another"]);
    poll::wait_for("the rejection", || (get(&daemon, &rejecting) == 403).then_some(()));
    let body = desktop.wait_for("the registry `rejecting` rejects its token");
    assert_eq!(body, "`regauthctl login rejecting` gives it a new one");

    daemon.stop();
    keyring.lock();
    daemon.restart();
    let body = desktop.wait_for("the store is locked");
    assert!(body.contains("`regauthctl unlock`"), "{body}");
    keyring.unlock();
    daemon.ctl(&["unlock"]).succeeds();
    assert_eq!(get(&daemon, &corp), 200);
    poll::wait_for("the rejection", || (get(&daemon, &rejecting) == 403).then_some(()));
    add(&daemon, "later", &token);
    desktop.wait_for("the token of the registry `later` ends at");
    // By then the other causes have been present as long: the token of `corp` ends, `rejecting` rejects its token.
    for cause in ["`corp` ends at", "`rejecting` rejects its token", "the store is locked"] {
        assert_eq!(count(&desktop, cause), 1, "{cause}: {:?}", desktop.shown());
    }
    LeakScan::new(&token)
        .scan("the notifications", desktop.log())
        .assert_clean();
}

#[test]
fn notify_false_ephemeral_daemons_and_the_systems_daemon_show_nothing() {
    let keyring = Keyring::start();
    let desktop = NotificationDaemon::start(&keyring.address());
    let token = token_that_ends_in(36 * 3600);
    let silent = [
        ("turned-off", on_bus(&keyring).config("notify = false\n")),
        ("ephemeral", on_bus(&keyring).arg("--ephemeral")),
        ("system", of_the_system(&keyring)),
    ];
    let silent = silent.map(|(name, builder)| {
        let daemon = builder.start();
        let registry = add(&daemon, name, &token);
        assert!(
            problems(&daemon).contains(&format!("`{name}` ends at")),
            "{}",
            problems(&daemon)
        );
        (daemon, registry)
    });
    let loud = on_bus(&keyring).start();
    add(&loud, "loud", &token);
    desktop.wait_for("the token of the registry `loud` ends at");
    assert_eq!(desktop.shown().len(), 1, "{:?}", desktop.shown());
    drop(silent);
}

#[test]
fn without_a_session_bus_requests_and_status_go_on() {
    let nowhere = tempfile::tempdir().unwrap();
    let daemon = Daemon::builder()
        .env("XDG_RUNTIME_DIR", nowhere.path().to_str().unwrap())
        .start();
    let registry = add(&daemon, "corp", &token_that_ends_in(3600));
    poll::wait_for("the attempt", || {
        let log = daemon.log();
        log.contains("could not show a desktop notification").then_some(())
    });
    assert_eq!(get(&daemon, &registry), 200);
    assert!(problems(&daemon).contains("`corp` ends at"), "{}", problems(&daemon));
}

fn on_bus(keyring: &Keyring) -> Builder {
    Daemon::builder().env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
}

/// Daemon whose control socket is for a group, as in the packaged units of the system.
fn of_the_system(keyring: &Keyring) -> Builder {
    on_bus(keyring).service_manager(|manager, home| {
        manager.add_port("proxy", "127.0.0.1:0");
        manager.add_control_socket("control", home, 0o660);
    })
}

fn add(daemon: &Daemon, name: &str, token: &str) -> Registry {
    let registry = Registry::builder(Scheme::bearer(), token).start();
    daemon
        .add_with(name, &registry, &["--scope", &registry.scope()])
        .succeeds();
    registry
}

fn get(daemon: &Daemon, registry: &Registry) -> u16 {
    let url = registry.nginx.url("/api/cargo/index/config.json");
    Curl::new().behind(daemon).get(&url).status
}

fn problems(daemon: &Daemon) -> String {
    daemon.ctl(&["status"]).json["problems"].to_string()
}

fn count(desktop: &NotificationDaemon, text: &str) -> usize {
    let shown = desktop.shown();
    shown.iter().filter(|(summary, _)| summary.contains(text)).count()
}

/// JWT that ends so many seconds from now.
fn token_that_ends_in(seconds: u64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = format!("{{\"exp\":{}}}", now + seconds);
    format!("e30.{}.c2lnbmF0dXJl", URL_SAFE_NO_PAD.encode(claims))
}
