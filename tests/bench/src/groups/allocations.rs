//! Allocations per request: regauthd's library with an allocator that counts.

use regauth_tests::poll;
use rustix::process::{Pid, Signal, kill_process};

use crate::arguments::Binary;
use crate::candidate::Candidate;
use crate::load::{LoadSize, Protocol, load};
use crate::registry;
use crate::results::{Results, Row, Unit};
use crate::testbed::Testbed;
use crate::tools;

/// Measures the regauthd of these sources once, since the count hardly varies.
pub(crate) fn measure(testbed: &Testbed, results: &mut Results) {
    let binary = Binary {
        label: "regauthd".to_owned(),
        path: tools::allocation_counting_daemon().unwrap(),
    };
    let candidate = Candidate::regauthd(&binary, &testbed.registry);
    for (protocol, count_row, bytes_row) in [
        (Protocol::h1(), COUNT_H1, BYTES_H1),
        (Protocol::h2(4), COUNT_H2, BYTES_H2),
    ] {
        let url = testbed.registry.url(candidate.path_prefix(), registry::SMALL);
        let send = || load(&testbed.oha, &candidate, &url, protocol, LoadSize::Requests(REQUESTS));
        send();
        let before = allocated(&candidate);
        send();
        let after = allocated(&candidate);
        results.record(count_row, &candidate.name, (after[0] - before[0]) / REQUESTS as f64);
        results.record(bytes_row, &candidate.name, (after[1] - before[1]) / REQUESTS as f64);
    }
}

/// Number and bytes of all allocations so far. The daemon logs them after SIGUSR1.
fn allocated(candidate: &Candidate) -> [f64; 2] {
    let daemon = candidate.daemon().unwrap();
    let reports = || -> Vec<String> {
        let log = daemon.log();
        let lines = log.lines().filter_map(|line| line.strip_prefix("allocated "));
        lines.map(str::to_owned).collect()
    };
    let before = reports().len();
    let pid = Pid::from_raw(i32::try_from(daemon.pid()).unwrap()).unwrap();
    kill_process(pid, Signal::USR1).unwrap();
    let line = poll::wait_for("the allocation count", || reports().into_iter().nth(before));
    let (count, bytes) = line.split_once(' ').unwrap();
    [count.parse().unwrap(), bytes.parse().unwrap()]
}

/// Enough requests to make the allocations of the connections negligible.
const REQUESTS: u64 = 20_000;

const COUNT_H1: Row = Row::new("allocations per request, h1", Unit::Count, &[]);
const BYTES_H1: Row = Row::new("bytes allocated per request, h1", Unit::Bytes, &[]);
const COUNT_H2: Row = Row::new("allocations per request, h2", Unit::Count, &[]);
const BYTES_H2: Row = Row::new("bytes allocated per request, h2", Unit::Bytes, &[]);
