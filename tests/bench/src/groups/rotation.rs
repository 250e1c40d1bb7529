//! A new token every tenth of a second under full load.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::contender::{Contender, REGISTRY};
use crate::control;
use crate::load::{Amount, Load, Protocol, load};
use crate::origin;
use crate::results::{Goal, Results, Row, Unit};
use crate::stage::Stage;

/// Measures the regauthds; nobody else can do it.
pub(crate) fn measure(stage: &Stage, results: &mut Results) {
    let mut contenders: Vec<Contender> = stage.regauths().collect();
    let protocol = Protocol::h1();
    stage.in_turns(&mut contenders, |contender| {
        let steady = one(stage, contender, protocol);
        let (rotations, rotated) = rotating(contender, || one(stage, contender, protocol));
        results.record(STEADY, &contender.name, steady.p99);
        results.record(ROTATED, &contender.name, rotated.p99);
        results.record(RATIO, &contender.name, rotated.p99 / steady.p99);
        results.record(ROTATIONS, &contender.name, rotations as f64);
        results.record(FAILURES, &contender.name, rotated.failures as f64);
    });
}

fn one(stage: &Stage, contender: &Contender, protocol: Protocol) -> Load {
    let url = stage.origin.url(contender.section(), origin::SMALL);
    load(&stage.oha, contender, &url, protocol, Amount::For(stage.duration))
}

/// Rotates as long as something runs; how often, and what came of it.
fn rotating(contender: &Contender, run: impl FnOnce() -> Load) -> (usize, Load) {
    let daemon = contender.daemon().unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let rotations = scope.spawn(|| {
            let begin = Instant::now();
            let mut number = 0;
            while !done.load(Ordering::Relaxed) {
                number += 1;
                control::rotate(daemon, REGISTRY, number);
                let due = begin + PERIOD * u32::try_from(number).unwrap();
                thread::sleep(due.saturating_duration_since(Instant::now()));
            }
            number
        });
        let loaded = run();
        done.store(true, Ordering::Relaxed);
        (rotations.join().unwrap(), loaded)
    })
}

const PERIOD: Duration = Duration::from_millis(100);

const STEADY: Row = Row::new("p99 under load, h1", Unit::Seconds, &[]);
const ROTATED: Row = Row::new("p99 with a rotation every 100 ms", Unit::Seconds, &[]);
const RATIO: Row = Row::new("the second by the first", Unit::Ratio, &[Goal::Value(1.2)]);
const ROTATIONS: Row = Row::new("rotations meanwhile", Unit::Count, &[]);
const FAILURES: Row = Row::new("failed requests meanwhile", Unit::Count, &[Goal::Value(0.0)]);
