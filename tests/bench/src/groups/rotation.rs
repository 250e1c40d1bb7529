//! Token rotation every 100 ms under full load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::candidate::{Candidate, REGISTRY};
use crate::control_client;
use crate::load::{LoadResult, LoadSize, Protocol, load};
use crate::registry;
use crate::results::{Goal, Results, Row, Unit};
use crate::testbed::Testbed;

/// Measures the regauthds. Other proxies cannot rotate a token.
pub(crate) fn measure(testbed: &Testbed, results: &mut Results) {
    let mut candidates: Vec<Candidate> = testbed.daemons().collect();
    let protocol = Protocol::h1();
    testbed.measure_in_turns(&mut candidates, |candidate| {
        let steady = send_requests(testbed, candidate, protocol);
        let (rotations, rotating) = rotate_during(candidate, || send_requests(testbed, candidate, protocol));
        results.record(STEADY, &candidate.name, steady.p99);
        results.record(ROTATING, &candidate.name, rotating.p99);
        results.record(RATIO, &candidate.name, rotating.p99 / steady.p99);
        results.record(ROTATIONS, &candidate.name, rotations as f64);
        results.record(FAILURES, &candidate.name, rotating.failures as f64);
    });
}

fn send_requests(testbed: &Testbed, candidate: &Candidate, protocol: Protocol) -> LoadResult {
    let url = testbed.registry.url(candidate.path_prefix(), registry::SMALL);
    load(
        &testbed.oha,
        candidate,
        &url,
        protocol,
        LoadSize::Duration(testbed.duration),
    )
}

/// Rotates the token during a load. Returns the number of rotations and the result of the load.
fn rotate_during(candidate: &Candidate, run: impl FnOnce() -> LoadResult) -> (usize, LoadResult) {
    let daemon = candidate.daemon().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let rotations = scope.spawn(|| {
            let begin = Instant::now();
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                control_client::rotate(daemon, REGISTRY, number);
                let due = begin + PERIOD * u32::try_from(number).unwrap();
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            number
        });
        let result = run();
        done.store(true, Ordering::Relaxed);
        (rotations.join().unwrap(), result)
    })
}

const PERIOD: Duration = Duration::from_millis(100);

const STEADY: Row = Row::new("p99 latency without rotation, h1", Unit::Seconds, &[]);
const ROTATING: Row = Row::new("p99 latency, rotation every 100 ms, h1", Unit::Seconds, &[]);
const RATIO: Row = Row::new("p99 with rotation ÷ without", Unit::Ratio, &[Goal::Value(1.2)]);
const ROTATIONS: Row = Row::new("rotations during the load", Unit::Count, &[]);
const FAILURES: Row = Row::new("failed requests during rotations", Unit::Count, &[Goal::Value(0.0)]);
