//! Resident memory: idle, with a thousand idle clients, and after many requests.

use std::thread;
use std::time::Duration;

use crate::candidate::Candidate;
use crate::idle_connections;
use crate::load::{LoadSize, Protocol, load};
use crate::memory::resident;
use crate::registry::{self, PROTECTED, SMALL};
use crate::results::{Goal, Results, Row, Unit};
use crate::testbed::Testbed;

/// Measures every proxy.
///
/// Each row has one measurement, since memory hardly varies, of a fresh process, since allocators keep some memory. Only
/// regauthd gets many requests, since slow proxies would take an hour.
pub(crate) fn measure(testbed: &Testbed, results: &mut Results) {
    for measure_row in [idle, tunnels, intercepted] {
        for candidate in testbed.proxies().take_while(|_| !testbed.is_interrupted()) {
            testbed.begin_step(&format!("memory: {}", candidate.name));
            measure_row(testbed, &candidate, results);
        }
    }
    for candidate in testbed.daemons().take_while(|_| !testbed.is_interrupted()) {
        testbed.begin_step(&format!("memory after requests: {}", candidate.name));
        after_requests(testbed, &candidate, results);
    }
}

fn idle(_: &Testbed, candidate: &Candidate, results: &mut Results) {
    results.record(IDLE, &candidate.name, candidate.pid().map(resident));
}

fn tunnels(_: &Testbed, candidate: &Candidate, results: &mut Results) {
    if !candidate.serves_any_host() {
        return;
    }
    let _open = idle_connections::open_tunnels(candidate, CLIENTS);
    thread::sleep(PAUSE);
    results.record(TUNNELS, &candidate.name, candidate.pid().map(resident));
}

fn intercepted(testbed: &Testbed, candidate: &Candidate, results: &mut Results) {
    if !candidate.serves_any_host() {
        return;
    }
    let path = format!("/{PROTECTED}/{SMALL}");
    let _open = idle_connections::open_intercepted(candidate, &testbed.registry.authority(), &path, CLIENTS);
    thread::sleep(PAUSE);
    results.record(INTERCEPTED, &candidate.name, candidate.pid().map(resident));
}

fn after_requests(testbed: &Testbed, candidate: &Candidate, results: &mut Results) {
    let url = testbed.registry.url(candidate.path_prefix(), registry::SMALL);
    let mut sent = 0;
    for (requests, row) in AFTER_REQUESTS {
        load(
            &testbed.oha,
            candidate,
            &url,
            Protocol::h1(),
            LoadSize::Requests(requests / testbed.divisor - sent),
        );
        sent = requests / testbed.divisor;
        results.record(row, &candidate.name, candidate.pid().map(resident));
    }
}

const CLIENTS: usize = 1000;
/// Time without a request before idle connections are measured. regauthd frees their buffers after 1 s and returns memory to
/// the kernel after 3 s more.
const PAUSE: Duration = Duration::from_secs(6);

const IDLE: Row = Row::new("memory, idle", Unit::Bytes, &[mebibytes(8.0)]);
const TUNNELS: Row = Row::new("memory, 1,000 idle tunnels", Unit::Bytes, &[mebibytes(25.0)]);
const INTERCEPTED: Row = Row::new("memory, 1,000 idle intercepted", Unit::Bytes, &[mebibytes(40.0)]);
const AFTER_REQUESTS: [(u64, Row); 2] = [
    (100_000, Row::new("memory after 100,000 requests", Unit::Bytes, &[])),
    (1_000_000, Row::new("memory after 1,000,000 requests", Unit::Bytes, &[])),
];

const fn mebibytes(maximum: f64) -> Goal {
    Goal::Value(maximum * 1048576.0)
}
