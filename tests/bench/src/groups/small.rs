//! Requests for 1 KiB, sixteen at a time: how many, how late, and what each costs the process between.

use crate::contender::Contender;
use crate::load::{Amount, Protocol, load_if_answered};
use crate::memory;
use crate::origin;
use crate::results::{Goal, Results, Row, Unit};
use crate::stage::Stage;

/// Measures everybody.
pub(crate) fn measure(stage: &Stage, results: &mut Results) {
    let mut contenders = stage.contenders();
    for protocol in [Protocol::h1(), Protocol::h2(stage.h2_connections)] {
        stage.in_turns(&mut contenders, |contender| {
            if contender.speaks_h2 || protocol == Protocol::h1() {
                one(stage, contender, protocol, results);
            }
        });
    }
    for contender in &contenders {
        results.record(RESIDENT, &contender.name, contender.pid().map(memory::resident));
    }
}

fn one(stage: &Stage, contender: &Contender, protocol: Protocol, results: &mut Results) {
    let url = stage.origin.url(contender.section(), origin::SMALL);
    let load = load_if_answered(&stage.oha, contender, &url, protocol, Amount::For(stage.duration));
    let Some(load) = load else {
        assert!(contender.is_peer(), "{} answered nothing", contender.name);
        return;
    };
    let rows = rows(protocol);
    results.record(rows.rate, &contender.name, load.rate);
    results.record(rows.processor, &contender.name, load.processor);
    results.record(rows.p50, &contender.name, load.p50);
    results.record(rows.p99, &contender.name, load.p99);
    results.record(FAILURES, &contender.name, load.failures as f64);
}

struct Rows {
    rate: Row,
    processor: Row,
    p50: Row,
    p99: Row,
}

fn rows(protocol: Protocol) -> Rows {
    match protocol {
        Protocol::H1 { .. } => Rows {
            rate: Row::new("small GET, h1", Unit::Rate, RATE),
            processor: Row::new("its CPU per request, h1", Unit::Seconds, PROCESSOR_H1),
            p50: Row::new("its p50, h1", Unit::Seconds, &[]),
            p99: Row::new("its p99, h1", Unit::Seconds, LATENCY),
        },
        Protocol::H2 { .. } => Rows {
            rate: Row::new("small GET, h2", Unit::Rate, RATE),
            processor: Row::new("its CPU per request, h2", Unit::Seconds, PROCESSOR_H2),
            p50: Row::new("its p50, h2", Unit::Seconds, &[]),
            p99: Row::new("its p99, h2", Unit::Seconds, LATENCY),
        },
    }
}

const RATE: &[Goal] = &[Goal::BestPeer(1.8)];
const PROCESSOR_H1: &[Goal] = &[Goal::Value(18e-6), Goal::BestPeer(0.45)];
const PROCESSOR_H2: &[Goal] = &[Goal::Value(20e-6), Goal::BestPeer(0.45)];
const LATENCY: &[Goal] = &[Goal::BestPeer(1.0)];
const FAILURES: Row = Row::new("failed requests", Unit::Count, &[Goal::Value(0.0)]);
const RESIDENT: Row = Row::new("resident after the runs", Unit::Bytes, &[]);
