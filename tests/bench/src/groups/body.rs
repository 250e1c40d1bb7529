//! One large body at a time: download, upload, blind tunnel, local and over the link emulator.

use std::time::Duration;

use crate::candidate::Candidate;
use crate::link_emulator::LinkEmulator;
use crate::memory;
use crate::registry::{LARGE, PUBLIC, UNCONFIGURED_HOST};
use crate::results::{Goal, Results, Row, Unit};
use crate::testbed::Testbed;
use crate::transfer::Transfer;

/// Measures all candidates.
pub(crate) fn measure(testbed: &Testbed, results: &mut Results) {
    let mut candidates = testbed.candidates();
    for case in LOCAL_CASES {
        testbed.measure_in_turns(&mut candidates, |candidate| {
            if let Some(pid) = candidate.pid() {
                memory::reset_peak(pid);
            }
            let local = candidate.authority(&testbed.registry);
            transfer(testbed, candidate, &local, case, results);
            results.record(PEAK, &candidate.name, candidate.pid().map(memory::peak));
        });
    }
    candidates.retain(Candidate::serves_any_host);
    testbed.measure_in_turns(&mut candidates, |candidate| tunnel(testbed, candidate, results));
    let link = LinkEmulator::start(&testbed.registry);
    for candidate in &candidates {
        candidate.add_registry("remote", &link.authority(), &testbed.registry.roots());
    }
    for case in REMOTE_CASES {
        testbed.measure_in_turns(&mut candidates, |candidate| {
            transfer(testbed, candidate, &link.authority(), case, results);
        });
    }
}

/// Direction and protocol, with their rows.
struct Case {
    protocol: &'static str,
    upload: bool,
    /// Time limit: a candidate with a small window would take minutes.
    limit: Option<Duration>,
    rate: Row,
    cpu: Option<Row>,
}

fn transfer(testbed: &Testbed, candidate: &Candidate, authority: &str, case: &Case, results: &mut Results) {
    if case.protocol == H2 && !candidate.supports_h2 {
        return;
    }
    let file = testbed.registry.files().join(LARGE);
    let name = if case.upload { "received" } else { LARGE };
    let transfer = Transfer {
        url: &format!("https://{authority}/{}/{name}", candidate.path_prefix()),
        roots: &candidate.roots,
        protocol: case.protocol,
        upload: case.upload.then_some(&file),
        limit: case.limit,
    };
    let Some(result) = transfer.run(candidate) else {
        return;
    };
    results.record(case.rate, &candidate.name, result.rate);
    if let Some(row) = case.cpu {
        results.record(row, &candidate.name, result.cpu);
    }
}

/// Downloads the same file from a host that no proxy intercepts.
fn tunnel(testbed: &Testbed, candidate: &Candidate, results: &mut Results) {
    let local = testbed.registry.authority();
    let (_, port) = local.rsplit_once(':').unwrap();
    let transfer = Transfer {
        url: &format!("https://{UNCONFIGURED_HOST}:{port}/{PUBLIC}/{LARGE}"),
        roots: &testbed.registry.roots(),
        protocol: H1,
        upload: None,
        limit: None,
    };
    let Some(result) = transfer.run(candidate) else {
        return;
    };
    results.record(TUNNEL, &candidate.name, result.rate);
    results.record(TUNNEL_CPU, &candidate.name, result.cpu);
}

const H1: &str = "--http1.1";
const H2: &str = "--http2";

const fn local(protocol: &'static str, upload: bool, rate: &'static str, cpu: &'static str) -> Case {
    Case {
        protocol,
        upload,
        limit: None,
        rate: Row::new(rate, Unit::Throughput, &[Goal::Direct(0.75)]),
        cpu: Some(Row::new(cpu, Unit::Seconds, &[Goal::Value(1.1)])),
    }
}

const fn remote(protocol: &'static str, upload: bool, rate: &'static str) -> Case {
    Case {
        protocol,
        upload,
        limit: Some(REMOTE_LIMIT),
        rate: Row::new(rate, Unit::Throughput, &[Goal::Direct(0.75)]),
        cpu: None,
    }
}

const LOCAL_CASES: &[Case] = &[
    local(H1, false, "1 GiB down, h1", "proxy CPU per GiB down, h1"),
    local(H2, false, "1 GiB down, h2", "proxy CPU per GiB down, h2"),
    local(H1, true, "1 GiB up, h1", "proxy CPU per GiB up, h1"),
    local(H2, true, "1 GiB up, h2", "proxy CPU per GiB up, h2"),
];

const REMOTE_CASES: &[Case] = &[
    remote(H1, false, "1 GiB down over 60 ms, h1"),
    remote(H2, false, "1 GiB down over 60 ms, h2"),
    remote(H1, true, "1 GiB up over 60 ms, h1"),
    remote(H2, true, "1 GiB up over 60 ms, h2"),
];

const REMOTE_LIMIT: Duration = Duration::from_secs(5);
const TUNNEL: Row = Row::new("1 GiB blind tunnel", Unit::Throughput, &[Goal::Direct(0.97)]);
const TUNNEL_CPU: Row = Row::new("proxy CPU per GiB, tunnel", Unit::Seconds, &[]);
const PEAK: Row = Row::new(
    "peak memory during 1 GiB",
    Unit::Bytes,
    &[Goal::Value(20.0 * 1048576.0)],
);
