//! Streaming: bodies of a gibibyte pass both ways with back-pressure, and the daemon's memory stays small.

use regauth_tests::auth_gate::Scheme;
use regauth_tests::curl::Curl;
use regauth_tests::daemon::Daemon;
use regauth_tests::poll;
use regauth_tests::registry::Registry;

const GIB: u64 = 1 << 30;
/// Limit of the daemon's resident set size in bytes.
const MEMORY_LIMIT: u64 = 40 << 20;

fn assert_gibibyte_streams(protocol: &str, registry: Registry) {
    let daemon = Daemon::builder().log_level("info").start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope(), "--writes", "allow"]);
    let curl = Curl::new().behind(&daemon).with(&[protocol]);
    let down = curl.get(&registry.file("gibibyte", GIB));
    assert_eq!((down.status, down.length), (200, GIB));
    let up = curl.upload(&registry.upload(), GIB);
    assert!(up.body().contains(&format!("\"length\":{GIB}")), "{}", up.body());
    let peak = daemon.memory().peak;
    assert!(peak < MEMORY_LIMIT, "{protocol}: the peak is {} MiB", peak >> 20);
}

#[test]
fn a_gibibyte_streams_both_ways_over_http1() {
    assert_gibibyte_streams(
        "--http1.1",
        Registry::builder(Scheme::bearer(), "a-t0ken").http1_only().start(),
    );
}

#[test]
fn a_gibibyte_streams_both_ways_over_http2() {
    assert_gibibyte_streams("--http2", Registry::builder(Scheme::bearer(), "a-t0ken").start());
}

#[test]
fn a_slow_reader_holds_back_the_registry_without_buffering_in_the_daemon() {
    let registry = Registry::builder(Scheme::bearer(), "a-t0ken").start();
    let daemon = Daemon::builder().log_level("info").start();
    daemon.add_with("corp", &registry, &["--scope", &registry.scope()]);
    let url = registry.file("large", 256 << 20);
    let slow = Curl::new().behind(&daemon).with(&["--limit-rate", "1M"]).start(&url);
    // A daemon without back-pressure would read the whole file within these seconds.
    poll::wait_for("the first bytes of the reader", || {
        (slow.received() > 4 << 20).then_some(())
    });
    let peak = daemon.memory().peak;
    assert!(peak < MEMORY_LIMIT, "the peak is {} MiB", peak >> 20);
    // nginx logs a request once it has written the whole response.
    let requests = registry.nginx.requests();
    let is_complete = requests.iter().any(|request| request.uri.ends_with("/large"));
    assert!(!is_complete, "the registry was not held back: {requests:?}");
}
