//! `cargo fetch` with an empty `CARGO_HOME`: a large and a small project, local and over the link emulator.

use std::time::{Duration, Instant};

use regauth_tests::cargo::Cargo;
use regauth_tests::curl::Curl;

use crate::candidate::Candidate;
use crate::crate_index;
use crate::link_emulator::LinkEmulator;
use crate::registry;
use crate::results::{Goal, Results, Row, Unit};
use crate::testbed::Testbed;

/// Measures all candidates.
pub(crate) fn measure(testbed: &Testbed, results: &mut Results) {
    let mut candidates = testbed.candidates();
    candidates.retain(Candidate::serves_any_host);
    let link = LinkEmulator::start(&testbed.registry);
    for candidate in &candidates {
        candidate.add_registry("remote", &link.authority(), &testbed.registry.roots());
    }
    let (local, remote) = (testbed.registry.authority(), link.authority());
    let large = crate_index::large_project_dependencies();
    let small = ["serde", "regex"].map(str::to_owned);
    for (authority, dependencies, row) in [
        (&local, &large[..], LARGE_LOCAL),
        (&remote, &large[..], LARGE_REMOTE),
        (&remote, &small[..], SMALL_REMOTE),
    ] {
        testbed.measure_in_turns(&mut candidates, |candidate| {
            warm_up(candidate, authority);
            let duration = fetch(candidate, authority, dependencies);
            results.record(row, &candidate.name, duration.as_secs_f64());
        });
    }
    testbed.measure_in_turns(&mut candidates, |candidate| {
        candidate.restart();
        candidate.wait_until_ready();
        let duration = fetch(candidate, &remote, &small);
        results.record(SMALL_REMOTE_COLD, &candidate.name, duration.as_secs_f64());
    });
}

/// Sends one request through the proxy, so that it has a connection to the registry, as in daily use.
fn warm_up(candidate: &Candidate, authority: &str) {
    let Some(proxy) = candidate.proxy() else { return };
    let config = format!("https://{authority}/{}/index/config.json", candidate.path_prefix());
    let curl = Curl::new().proxy(&proxy).trusts(&candidate.roots);
    assert_eq!(curl.get(&config).status, 200);
}

fn fetch(candidate: &Candidate, authority: &str, dependencies: &[String]) -> Duration {
    let index = format!("sparse+https://{authority}/{}/index/", candidate.path_prefix());
    let mut cargo = Cargo::within(registry::memory_folder())
        .registry("corp", &index)
        .trusts(&candidate.roots);
    if let Some(proxy) = candidate.proxy() {
        cargo = cargo.proxy(&proxy);
    }
    let lines: Vec<String> = dependencies
        .iter()
        .map(|name| format!("{name} = {{ version = \"1\", registry = \"corp\" }}"))
        .collect();
    let cargo = cargo.depends_on(&lines.join("\n"));
    let begin = Instant::now();
    let outcome = cargo.fetch();
    let duration = begin.elapsed();
    outcome.succeeds();
    duration
}

const LARGE_LOCAL: Row = Row::new("cargo fetch, 507 crates", Unit::Seconds, &[Goal::Direct(1.03)]);
const LARGE_REMOTE: Row = Row::new("cargo fetch, 507 crates, 60 ms", Unit::Seconds, &[Goal::Direct(0.8)]);
const SMALL_REMOTE: Row = Row::new(
    "cargo fetch, serde + regex, 60 ms",
    Unit::Seconds,
    &[Goal::Direct(0.45)],
);
const SMALL_REMOTE_COLD: Row = Row::new("cargo fetch, serde + regex, 60 ms, cold", Unit::Seconds, &[]);
