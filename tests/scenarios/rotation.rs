//! Token rotation: it fails no request, and after it the registry never receives the old token.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::poll;
use regauth_tests::registry::{Registry, USERNAME};

const OLD: &str = "old-t0ken";
const ROTATIONS: usize = 8;

fn token(number: usize) -> String {
    format!("t0ken-number-{number}")
}

#[test]
fn rotations_under_load_fail_no_request_and_end_the_old_token() {
    let registry = Registry::builder(Scheme::basic(USERNAME), &token(0)).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let url = registry.nginx.url("/api/cargo/index/config.json");
    let (done, requests) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for protocol in ["--http1.1", "--http2", "--http2"] {
            let curl = Curl::new().behind(&daemon).with(&[protocol]);
            let (url, done, requests) = (&url, &done, &requests);
            scope.spawn(move || {
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(curl.get(url).status, 200);
                    requests.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for number in 1..=ROTATIONS {
            registry.accept(&[&token(number - 1), &token(number)]);
            daemon.rotate("corp", &token(number)).succeeds();
            // From here on, a request with the old token gets 401.
            registry.accept(&[&token(number)]);
        }
        poll::wait_for("enough requests", || {
            (requests.load(Ordering::Relaxed) > ROTATIONS).then_some(())
        });
        done.store(true, Ordering::Relaxed);
    });
    assert!(
        registry
            .nginx
            .requests()
            .iter()
            .all(|request| request.status == 200 || request.authorization().is_none())
    );
    let shown = daemon.ctl(&["show", "corp"]).succeeds().json;
    assert_eq!(shown["credential"]["generation"], 1 + ROTATIONS);
}

#[test]
fn a_rejected_new_token_changes_nothing() {
    let registry = Registry::builder(Scheme::bearer(), OLD).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    let refused = daemon.rotate("corp", "unknown-t0ken").exits(4);
    assert_eq!(refused.json["err"]["kind"], "token-rejected");
    let answer = Curl::new()
        .behind(&daemon)
        .get(&registry.nginx.url("/api/cargo/index/config.json"));
    assert_eq!(answer.status, 200);
    assert_eq!(daemon.ctl(&["show", "corp"]).json["credential"]["generation"], 1);
    assert_eq!(
        daemon.ctl(&["verify", "corp"]).succeeds().json["registries"][0]["result"],
        "accepted"
    );
}

#[test]
fn a_rejected_token_is_reported_and_a_rotation_fixes_it() {
    let registry = Registry::builder(Scheme::bearer(), OLD).start();
    let daemon = Daemon::start();
    daemon.add("corp", &registry);
    registry.accept(&["new-t0ken"]);
    let url = registry.nginx.url("/api/cargo/index/config.json");
    let refused = Curl::new().behind(&daemon).get(&url);
    assert_eq!(
        (refused.status, refused.header("regauth-error")),
        (403, Some("token-rejected"))
    );
    assert!(refused.body().contains("regauthctl login corp"), "{}", refused.body());
    daemon.ctl(&["verify", "corp"]).exits(4);
    assert_eq!(daemon.ctl(&["show", "corp"]).json["credential"]["state"], "rejected");
    daemon.rotate("corp", "new-t0ken").succeeds();
    assert_eq!(Curl::new().behind(&daemon).get(&url).status, 200);
    assert_eq!(daemon.ctl(&["show", "corp"]).json["credential"]["state"], "ready");
}
