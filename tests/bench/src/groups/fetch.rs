//! `cargo fetch` with an empty `CARGO_HOME`, and `cargo update` with a full one: a large and a small project, local and over
//! the link emulator.

use std::time::Instant;

use regauth_tests::cargo::Cargo;
use regauth_tests::exec::Output;

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
        (&local, &small[..], SMALL_LOCAL),
        (&remote, &small[..], SMALL_REMOTE),
    ] {
        testbed.measure_in_turns(&mut candidates, |candidate| {
            // As in daily use: the proxy has connections, and has seen the crates before.
            project(candidate, authority, dependencies).fetch().succeeds();
            let cargo = project(candidate, authority, dependencies);
            results.record(row, &candidate.name, seconds(|| cargo.fetch()));
        });
    }
    testbed.measure_in_turns(&mut candidates, |candidate| {
        let cargo = project(candidate, &remote, &small);
        cargo.fetch().succeeds();
        results.record(SMALL_UPDATE, &candidate.name, seconds(|| cargo.run(["update"])));
    });
    testbed.measure_in_turns(&mut candidates, |candidate| {
        candidate.restart();
        candidate.wait_until_ready();
        let cargo = project(candidate, &remote, &small);
        results.record(SMALL_REMOTE_COLD, &candidate.name, seconds(|| cargo.fetch()));
    });
}

/// Project with these dependencies, and an empty `CARGO_HOME`.
fn project(candidate: &Candidate, authority: &str, dependencies: &[String]) -> Cargo {
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
    cargo.depends_on(&lines.join("\n"))
}

/// Runs cargo and returns the seconds that it took.
fn seconds(run: impl FnOnce() -> Output) -> f64 {
    let begin = Instant::now();
    let output = run();
    let duration = begin.elapsed();
    output.succeeds();
    duration.as_secs_f64()
}

const LARGE_LOCAL: Row = Row::new("cargo fetch, 507 crates", Unit::Seconds, &[Goal::Direct(1.03)]);
const LARGE_REMOTE: Row = Row::new("cargo fetch, 507 crates, 60 ms", Unit::Seconds, &[Goal::Direct(0.75)]);
const SMALL_REMOTE: Row = Row::new("cargo fetch, serde + regex, 60 ms", Unit::Seconds, &[Goal::Direct(0.3)]);
const SMALL_LOCAL: Row = Row::new("cargo fetch, serde + regex", Unit::Seconds, &[Goal::Direct(1.03)]);
const SMALL_UPDATE: Row = Row::new(
    "cargo update, serde + regex, 60 ms",
    Unit::Seconds,
    &[Goal::Direct(0.5)],
);
const SMALL_REMOTE_COLD: Row = Row::new("cargo fetch, serde + regex, 60 ms, cold", Unit::Seconds, &[]);
