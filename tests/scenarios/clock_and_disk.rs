//! A wall clock that is set back, and a disk that is slow.

use std::thread;

use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::poll;
use regauth_tests::registry::Registry;
use regauth_tests::system_shim::SystemShim;

const TOKEN: &str = "t0ken-of-the-company";

fn start(store: &str) -> (SystemShim, Registry, Daemon) {
    let shim = SystemShim::new();
    let registry = Registry::builder(Scheme::bearer(), TOKEN).start();
    let daemon = shim.load_into(Daemon::builder().store(store)).start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    (shim, registry, daemon)
}

fn index(registry: &Registry) -> String {
    registry.nginx.url("/api/cargo/index/config.json")
}

#[test]
fn a_clock_that_is_set_back_prolongs_no_grant() {
    let (shim, registry, daemon) = start("memory");
    let granted = daemon
        .ctl(&["grant", "--registry", "corp", "--for", "3s"])
        .succeeds()
        .json;
    let bearer = Curl::new()
        .trusts(&daemon.bundle())
        .proxy(granted["proxy"].as_str().unwrap());
    assert_eq!(bearer.get(&index(&registry)).status, 200);
    shim.shift_clock(-3600);
    poll::wait_for("the grant's end", || {
        (!bearer.fetch(&index(&registry)).output.status.success()).then_some(())
    });
    assert_eq!(
        daemon.ctl(&["grants"]).succeeds().json["grants"]
            .as_array()
            .unwrap()
            .len(),
        0
    );
}

#[test]
fn a_clock_that_is_set_back_keeps_no_writes_open() {
    let (shim, registry, daemon) = start("memory");
    let upload = |daemon: &Daemon| Curl::new().behind(daemon).upload(&registry.upload(), 10).status;
    assert_eq!(upload(&daemon), 403);
    daemon.ctl(&["allow", "corp", "--for", "3s"]).succeeds();
    assert_eq!(upload(&daemon), 200);
    shim.shift_clock(-3600);
    poll::wait_for("writes to close", || (upload(&daemon) == 403).then_some(()));
}

#[test]
fn a_clock_that_is_set_back_between_two_runs_prolongs_no_grant_beyond_its_length() {
    let (shim, registry, mut daemon) = start("vault");
    let granted = daemon
        .ctl(&["grant", "--registry", "corp", "--for", "3s"])
        .succeeds()
        .json;
    daemon.stop();
    // The authorities are not valid before the clock of their creation.
    shim.shift_clock(-60);
    daemon.restart();
    let bearer = Curl::new()
        .trusts(&daemon.bundle())
        .proxy(granted["proxy"].as_str().unwrap());
    poll::wait_for("the grant's end", || {
        (!bearer.fetch(&index(&registry)).output.status.success()).then_some(())
    });
}

#[test]
fn a_slow_disk_delays_no_new_connection() {
    let (shim, registry, daemon) = start("vault");
    let granted = daemon
        .ctl(&["grant", "--registry", "corp", "--for", "1h"])
        .succeeds()
        .json;
    for (file, verb) in [
        ("grants", &["grant", "--registry", "corp", "--for", "1h"][..]),
        ("ledger", &["rotate", "corp", "--token-stdin", "--no-verify"]),
        ("config.toml", &["remove-registry", "corp"]),
    ] {
        shim.hold_syncs(file);
        thread::scope(|scope| {
            let verb = scope.spawn(|| daemon.ctl_with_input(verb, TOKEN));
            shim.wait_for_held_sync();
            assert_eq!(Curl::new().behind(&daemon).get(&index(&registry)).status, 200, "{file}");
            assert!(!verb.is_finished(), "{file} is not written");
            if file == "grants" {
                let id = granted["grant"]["id"].as_str().unwrap();
                let revoking = scope.spawn(|| daemon.ctl(&["revoke", id]));
                let bearer = Curl::new()
                    .trusts(&daemon.bundle())
                    .proxy(granted["proxy"].as_str().unwrap());
                poll::wait_for("the end of the grant", || {
                    (!bearer.fetch(&index(&registry)).output.status.success()).then_some(())
                });
                assert!(!verb.is_finished(), "a revocation does not wait for the disk");
                shim.release_syncs();
                revoking.join().unwrap().succeeds();
            }
            shim.release_syncs();
            verb.join().unwrap().succeeds();
        });
        shim.forget_held_syncs();
    }
}
