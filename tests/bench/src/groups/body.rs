//! One long body at a time: down, up, through a blind tunnel, and over a long wire.

use std::time::Duration;

use crate::contender::Contender;
use crate::memory;
use crate::origin::{LARGE, OPEN, STRANGER};
use crate::results::{Goal, Results, Row, Unit};
use crate::stage::Stage;
use crate::transfer::Transfer;
use crate::wire::Wire;

/// Measures everybody.
pub(crate) fn measure(stage: &Stage, results: &mut Results) {
    let mut contenders = stage.contenders();
    let near = stage.origin.authority();
    for way in NEAR {
        stage.in_turns(&mut contenders, |contender| {
            if let Some(pid) = contender.pid() {
                memory::forget_peak(pid);
            }
            one(stage, contender, &near, way, results);
            results.record(PEAK, &contender.name, contender.pid().map(memory::peak));
        });
    }
    stage.in_turns(&mut contenders, |contender| tunnel(stage, contender, results));
    let wire = Wire::to(&stage.origin);
    for contender in &contenders {
        contender.add("far", &wire.authority(), &stage.origin.roots());
    }
    for way in FAR {
        stage.in_turns(&mut contenders, |contender| {
            one(stage, contender, &wire.authority(), way, results);
        });
    }
}

/// A direction and a protocol, with their rows.
struct Way {
    protocol: &'static str,
    up: bool,
    /// Who is bounded by a window and not by the wire would take minutes.
    limit: Option<Duration>,
    rate: Row,
    processor: Option<Row>,
}

fn one(stage: &Stage, contender: &Contender, authority: &str, way: &Way, results: &mut Results) {
    if way.protocol == H2 && !contender.speaks_h2 {
        return;
    }
    let file = stage.origin.files().join(LARGE);
    let name = if way.up { "received" } else { LARGE };
    let transfer = Transfer {
        url: &format!("https://{authority}/{}/{name}", contender.section()),
        roots: &contender.roots,
        protocol: way.protocol,
        upload: way.up.then_some(&file),
        limit: way.limit,
    };
    let Some(transferred) = transfer.by(contender) else {
        return;
    };
    results.record(way.rate, &contender.name, transferred.rate);
    if let Some(row) = way.processor {
        results.record(row, &contender.name, transferred.processor);
    }
}

/// The same file by a name that no proxy knows: bytes both ways, never read.
fn tunnel(stage: &Stage, contender: &Contender, results: &mut Results) {
    let near = stage.origin.authority();
    let (_, port) = near.rsplit_once(':').unwrap();
    let transfer = Transfer {
        url: &format!("https://{STRANGER}:{port}/{OPEN}/{LARGE}"),
        roots: &stage.origin.roots(),
        protocol: H1,
        upload: None,
        limit: None,
    };
    let Some(transferred) = transfer.by(contender) else {
        return;
    };
    results.record(TUNNEL, &contender.name, transferred.rate);
    results.record(TUNNEL_PROCESSOR, &contender.name, transferred.processor);
}

const H1: &str = "--http1.1";
const H2: &str = "--http2";

const fn near(protocol: &'static str, up: bool, rate: &'static str, processor: &'static str) -> Way {
    Way {
        protocol,
        up,
        limit: None,
        rate: Row::new(rate, Unit::Throughput, &[Goal::Direct(0.75)]),
        processor: Some(Row::new(processor, Unit::Seconds, &[Goal::Value(1.1)])),
    }
}

const fn far(protocol: &'static str, up: bool, rate: &'static str) -> Way {
    Way {
        protocol,
        up,
        limit: Some(LIMIT),
        rate: Row::new(rate, Unit::Throughput, &[Goal::Direct(0.75)]),
        processor: None,
    }
}

const NEAR: &[Way] = &[
    near(H1, false, "1 GiB down, h1", "its CPU per GiB down, h1"),
    near(H2, false, "1 GiB down, h2", "its CPU per GiB down, h2"),
    near(H1, true, "1 GiB up, h1", "its CPU per GiB up, h1"),
    near(H2, true, "1 GiB up, h2", "its CPU per GiB up, h2"),
];

const FAR: &[Way] = &[
    far(H1, false, "1 GiB down over 60 ms, h1"),
    far(H2, false, "1 GiB down over 60 ms, h2"),
    far(H1, true, "1 GiB up over 60 ms, h1"),
    far(H2, true, "1 GiB up over 60 ms, h2"),
];

const LIMIT: Duration = Duration::from_secs(5);
const TUNNEL: Row = Row::new("1 GiB blind tunnel", Unit::Throughput, &[Goal::Direct(0.97)]);
const TUNNEL_PROCESSOR: Row = Row::new("its CPU per GiB, tunnel", Unit::Seconds, &[]);
const PEAK: Row = Row::new(
    "most resident while 1 GiB passes",
    Unit::Bytes,
    &[Goal::Value(20.0 * 1048576.0)],
);
