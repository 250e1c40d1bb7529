//! Requests for 1 KiB, sixteen at a time: rate, latency, CPU time of the proxy.

use crate::candidate::Candidate;
use crate::load::{LoadSize, Protocol, try_load};
use crate::memory;
use crate::registry;
use crate::results::{Goal, Results, Row, Unit};
use crate::testbed::Testbed;

/// Measures all candidates.
pub(crate) fn measure(testbed: &Testbed, results: &mut Results) {
    let mut candidates = testbed.candidates();
    for protocol in [Protocol::h1(), Protocol::h2(testbed.h2_connections)] {
        testbed.measure_in_turns(&mut candidates, |candidate| {
            if candidate.supports_h2 || protocol == Protocol::h1() {
                send_requests(testbed, candidate, protocol, results);
            }
        });
    }
    for candidate in &candidates {
        results.record(RESIDENT, &candidate.name, candidate.pid().map(memory::resident));
    }
}

fn send_requests(testbed: &Testbed, candidate: &Candidate, protocol: Protocol, results: &mut Results) {
    let authority = candidate.authority(&testbed.registry);
    let url = format!("https://{authority}/{}/{}", candidate.path_prefix(), registry::SMALL);
    let size = LoadSize::Duration(testbed.duration);
    let Some(load) = try_load(&testbed.oha, candidate, &url, protocol, size) else {
        assert!(candidate.is_other_proxy(), "no answers through {}", candidate.name);
        return;
    };
    let rows = rows(protocol);
    results.record(rows.rate, &candidate.name, load.rate);
    results.record(rows.cpu, &candidate.name, load.cpu);
    results.record(rows.p50, &candidate.name, load.p50);
    results.record(rows.p99, &candidate.name, load.p99);
    results.record(FAILURES, &candidate.name, load.failures as f64);
}

struct Rows {
    rate: Row,
    cpu: Row,
    p50: Row,
    p99: Row,
}

fn rows(protocol: Protocol) -> Rows {
    match protocol {
        Protocol::H1 { .. } => Rows {
            rate: Row::new("small GET, h1", Unit::Rate, RATE),
            cpu: Row::new("proxy CPU per request, h1", Unit::Seconds, CPU_H1),
            p50: Row::new("p50 latency, h1", Unit::Seconds, &[]),
            p99: Row::new("p99 latency, h1", Unit::Seconds, LATENCY),
        },
        Protocol::H2 { .. } => Rows {
            rate: Row::new("small GET, h2", Unit::Rate, RATE),
            cpu: Row::new("proxy CPU per request, h2", Unit::Seconds, CPU_H2),
            p50: Row::new("p50 latency, h2", Unit::Seconds, &[]),
            p99: Row::new("p99 latency, h2", Unit::Seconds, LATENCY),
        },
    }
}

const RATE: &[Goal] = &[Goal::BestOther(1.8)];
const CPU_H1: &[Goal] = &[Goal::Value(18e-6), Goal::BestOther(0.45)];
const CPU_H2: &[Goal] = &[Goal::Value(20e-6), Goal::BestOther(0.45)];
const LATENCY: &[Goal] = &[Goal::BestOther(1.0)];
const FAILURES: Row = Row::new("failed requests", Unit::Count, &[Goal::Value(0.0)]);
const RESIDENT: Row = Row::new("memory after small GETs", Unit::Bytes, &[]);
