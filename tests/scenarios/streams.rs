//! Bodies stream both ways with back-pressure: a gigabyte passes and the daemon stays small.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::registry::Registry;

const GIB: u64 = 1 << 30;
const MOST_MEMORY: u64 = 40 << 20;

fn gibibyte(protocol: &str, registry: Registry) {
    let daemon = Daemon::builder().log_level("info").start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope(), "--writes", "allow"]);
    let curl = Curl::new().behind(&daemon).with(&[protocol]);
    let down = curl.get(&registry.file("gibibyte", GIB));
    assert_eq!((down.status, down.length), (200, GIB));
    let up = curl.upload(&registry.upload(), GIB);
    assert!(up.body().contains(&format!("\"length\":{GIB}")), "{}", up.body());
    let peak = daemon.memory().peak;
    assert!(peak < MOST_MEMORY, "{protocol}: {} MiB at most", peak >> 20);
}

#[test]
fn a_gibibyte_each_way_over_http1() {
    gibibyte(
        "--http1.1",
        Registry::builder(Scheme::bearer(), "a-t0ken").http1_only().start(),
    );
}

#[test]
fn a_gibibyte_each_way_over_http2() {
    gibibyte("--http2", Registry::builder(Scheme::bearer(), "a-t0ken").start());
}

#[test]
fn a_slow_reader_holds_back_the_registry_and_not_the_daemon() {
    let registry = Registry::builder(Scheme::bearer(), "a-t0ken").start();
    let daemon = Daemon::builder().log_level("info").start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let url = registry.file("large", 256 << 20);
    let slow = Curl::new().behind(&daemon).with(&["--limit-rate", "1M"]).start(&url);
    regauth_tests::poll::wait_for("the reader has begun", || (slow.received() > 1 << 20).then_some(()));
    let peak = daemon.memory().peak;
    assert!(peak < MOST_MEMORY, "{} MiB at most", peak >> 20);
}
