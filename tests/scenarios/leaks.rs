//! The flagship: a sentinel secret is at the registry and nowhere else, whatever happens and whoever asks.

use regauth_tests::cargo::Cargo;
use regauth_tests::certificates::{Authority, together};
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::gate::Scheme;
use regauth_tests::honeypot::Honeypot;
use regauth_tests::keyring::Keyring;
use regauth_tests::leaks::Hunt;
use regauth_tests::registry::{Registry, USERNAME};

const FIRST: &str = "s3ntinel-before-the-rotation";
const SECOND: &str = "s3ntinel-after-the-rotation";
const REJECTED: &str = "s3ntinel-that-nobody-accepts";

/// Everything a day brings: builds, refusals, redirects, strangers, rotations, wrong input, restarts.
fn a_day(daemon: &mut Daemon, hunts: &mut [Hunt]) {
    let registry = Registry::builder(Scheme::basic(USERNAME), FIRST).start();
    let elsewhere = Authority::new("Elsewhere");
    let stranger = Honeypot::builder(&elsewhere, "localhost").echo().start();
    let mut said = String::new();
    let mut hear = |text: String| said.push_str(&text);

    hear(daemon.add("corp", &registry).outcome.report());
    hear(
        daemon
            .try_add(
                "corp",
                &["--index", &registry.index()],
                &Scheme::bearer(),
                &registry.ca(),
                REJECTED,
            )
            .exits(7)
            .outcome
            .report(),
    );
    let scope = registry.nginx.url("/api/cargo/index/sh/");
    hear(
        daemon
            .try_add(
                "wrong",
                &["--scope", &scope],
                &Scheme::bearer(),
                &registry.ca(),
                REJECTED,
            )
            .exits(4)
            .outcome
            .report(),
    );
    hear(
        daemon
            .ctl(&["rotate", "corp", "--token", REJECTED])
            .exits(2)
            .outcome
            .stderr,
    );
    hear(
        daemon
            .ctl_with_input(&["rotate", "corp", "--token-stdin"], &format!("{REJECTED}\n{REJECTED}"))
            .exits(2)
            .outcome
            .report(),
    );

    let cargo = Cargo::new()
        .registry("corp", &registry.index())
        .behind(daemon)
        .depends_on(r#"ship = { version = "1", registry = "corp" }"#);
    hear(cargo.build().succeeds().report());
    hear(cargo.publish("corp").report());

    let roots = together(&[&daemon.bundle(), &elsewhere.file(), &registry.ca()]);
    let curl = Curl::new().proxy(&daemon.proxy()).trusts(&roots);
    for (url, status) in [
        (registry.nginx.url("/elsewhere"), 200),
        (registry.nginx.url("/api/cargo-evil/index/"), 200),
        (registry.nginx.url("/api/cargo/../cargo-evil"), 200),
        (stranger.url("/api/cargo/index/config.json"), 200),
    ] {
        let answer = curl.clone().with(&["--path-as-is"]).get(&url);
        hear(answer.headers.clone() + &answer.body());
        assert!(
            answer.status == status || answer.status == 400 || answer.status == 404,
            "{url}: {}",
            answer.status
        );
    }
    for odd in [
        &["--request", "TRACE"][..],
        &["--header", "Host: other.example"],
        &["--header", "Authorization: mine"],
    ] {
        let answer = curl
            .clone()
            .with(odd)
            .get(&registry.nginx.url("/api/cargo/index/config.json"));
        hear(answer.headers.clone() + &answer.body());
    }

    registry.accept(&[FIRST, SECOND]);
    hear(daemon.rotate("corp", SECOND).succeeds().outcome.report());
    hear(daemon.rotate("corp", REJECTED).exits(4).outcome.report());
    registry.accept(&[SECOND]);
    cargo.forget();
    hear(cargo.build().succeeds().report());
    for verb in [
        &["list"][..],
        &["show", "corp"],
        &["status"],
        &["verify"],
        &["reload"],
        &["show", "nobody"],
    ] {
        hear(daemon.ctl(verb).outcome.report());
    }
    hunts.iter_mut().for_each(|hunt| {
        hunt.process(daemon.pid());
    });
    let first_log = daemon.log();
    daemon.restart();
    cargo.forget();
    let rebuilt = cargo.build();
    hear(rebuilt.report());
    registry.accept(&[]);
    hear(curl.get(&registry.nginx.url("/api/cargo/index/config.json")).body());

    for hunt in hunts {
        hunt.process(daemon.pid())
            .look("what was said", &said)
            .look("the log", first_log.as_bytes())
            .look("the log after the restart", daemon.log())
            .look("what a stranger saw", format!("{:?}", stranger.requests()))
            .folder(&daemon.home(), &[])
            .folder(cargo.home(), &[]);
    }
    assert!(first_log.len() > 10_000, "the log is at trace");
    for seen in registry.nginx.requests() {
        let inside = seen.uri.starts_with("/api/cargo/") || seen.uri.starts_with("/api/v1/");
        assert!(
            inside || seen.authorization() != Some(registry.credential().as_str()),
            "{seen:?}"
        );
    }
}

#[test]
fn the_sentinel_is_nowhere_but_at_the_registry_with_the_vault() {
    let mut daemon = Daemon::builder().store("vault").start();
    let mut hunts = [FIRST, SECOND, REJECTED].map(Hunt::new);
    a_day(&mut daemon, &mut hunts);
    hunts.iter().for_each(Hunt::assert_clean);
}

#[test]
fn the_sentinel_is_nowhere_but_at_the_registry_with_the_keychain() {
    let keyring = Keyring::start();
    let mut daemon = Daemon::builder()
        .store("keychain")
        .env("DBUS_SESSION_BUS_ADDRESS", &keyring.address())
        .start();
    let mut hunts = [FIRST, SECOND, REJECTED].map(Hunt::new);
    a_day(&mut daemon, &mut hunts);
    hunts.iter().for_each(Hunt::assert_clean);
}

#[test]
fn the_hunt_finds_what_is_there() {
    let registry = Registry::builder(Scheme::basic(USERNAME), FIRST).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    Curl::new()
        .behind(&daemon)
        .get(&registry.nginx.url("/api/cargo/index/config.json"));
    let seen = registry.nginx.saw(|seen| seen.authorization().is_some());
    let mut hunt = Hunt::new(FIRST);
    hunt.look("what the registry saw", format!("{seen:?}"));
    assert_eq!(hunt.found().len(), 1);
}
