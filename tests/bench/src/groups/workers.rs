//! CPU time per request with one to eight workers, each with sixteen concurrent requests.
//!
//! On a machine with many cores, one thread must not be the limit. Contention between threads would show as CPU time.

use crate::candidate::Candidate;
use crate::load::{LoadSize, Protocol, load};
use crate::registry;
use crate::results::{Goal, Results, Row, Unit};
use crate::testbed::Testbed;

/// Measures the regauthds with one, two, four and eight workers.
pub(crate) fn measure(testbed: &Testbed, results: &mut Results) {
    let with_workers = |workers| {
        let binaries = testbed.binaries.iter();
        binaries.map(move |binary| Candidate::with_workers(binary, &testbed.registry, workers))
    };
    let mut candidates: Vec<Candidate> = WORKERS.into_iter().flat_map(with_workers).collect();
    for (protocol, rows, ratio_row) in [
        (Protocol::h1(), H1, RATIO_H1),
        (Protocol::h2(testbed.h2_connections), H2, RATIO_H2),
    ] {
        testbed.measure_in_turns(&mut candidates, |candidate| {
            let url = testbed.registry.url(candidate.path_prefix(), registry::SMALL);
            let workers = candidate.workers.unwrap();
            let protocol = protocol.times(workers);
            let size = LoadSize::Duration(testbed.duration);
            let load = load(&testbed.oha, candidate, &url, protocol, size);
            let index = WORKERS.iter().position(|number| *number == workers);
            results.record(rows[index.unwrap()], &candidate.name, load.cpu);
        });
        for binary in &testbed.binaries {
            let [one, .., eight] = rows.map(|row| results.median(row, &binary.label));
            results.record(ratio_row, &binary.label, eight.zip(one).map(|(eight, one)| eight / one));
        }
    }
}

const WORKERS: [u16; 4] = [1, 2, 4, 8];
const H1: [Row; 4] = [
    Row::new("CPU per request, h1, 1 worker", Unit::Seconds, &[]),
    Row::new("CPU per request, h1, 2 workers", Unit::Seconds, &[]),
    Row::new("CPU per request, h1, 4 workers", Unit::Seconds, &[]),
    Row::new("CPU per request, h1, 8 workers", Unit::Seconds, &[]),
];
const H2: [Row; 4] = [
    Row::new("CPU per request, h2, 1 worker", Unit::Seconds, &[]),
    Row::new("CPU per request, h2, 2 workers", Unit::Seconds, &[]),
    Row::new("CPU per request, h2, 4 workers", Unit::Seconds, &[]),
    Row::new("CPU per request, h2, 8 workers", Unit::Seconds, &[]),
];
const RATIO_H1: Row = Row::new("CPU, 8 workers ÷ 1 worker, h1", Unit::Ratio, RATIO_GOAL);
const RATIO_H2: Row = Row::new("CPU, 8 workers ÷ 1 worker, h2", Unit::Ratio, RATIO_GOAL);
const RATIO_GOAL: &[Goal] = &[Goal::Value(1.1)];
