//! How soon it is there: from its start with an existing state to the first answer, and what asks it.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use regauth_tests::programs;

use crate::contender::Contender;
use crate::idle;
use crate::results::{Goal, Results, Row, Unit};
use crate::stage::Stage;

/// Measures the regauthds.
pub(crate) fn measure(stage: &Stage, results: &mut Results) {
    let mut contenders: Vec<Contender> = stage.regauths().collect();
    for binary in &stage.binaries {
        let size = fs::metadata(&binary.path).unwrap().len();
        results.record(SIZE, &binary.label, size as f64);
    }
    stage.in_turns(&mut contenders, |contender| {
        let begin = contender.restart();
        contender.until_ready();
        results.record(READY, &contender.name, begin.elapsed().as_secs_f64());
        let first = idle::first_handshake(contender, &stage.origin.authority());
        results.record(FIRST, &contender.name, first.as_secs_f64());
        let next = idle::first_handshake(contender, &stage.origin.authority());
        results.record(NEXT, &contender.name, next.as_secs_f64());
        results.record(STATUS, &contender.name, status(contender).as_secs_f64());
    });
}

fn status(contender: &Contender) -> Duration {
    let mut status = Command::new(programs::binary("regauthctl"));
    status
        .arg("--home")
        .arg(contender.daemon().unwrap().home())
        .arg("status");
    let begin = Instant::now();
    let output = status.output().unwrap();
    let elapsed = begin.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    elapsed
}

const SIZE: Row = Row::new("the binary", Unit::FileBytes, &[Goal::Value(10e6)]);
const READY: Row = Row::new("start to the first answer", Unit::Seconds, &[Goal::Value(0.020)]);
const FIRST: Row = Row::new("first handshake to a host", Unit::Seconds, &[Goal::Value(0.005)]);
const NEXT: Row = Row::new("the next handshake", Unit::Seconds, &[]);
const STATUS: Row = Row::new("regauthctl status", Unit::Seconds, &[Goal::Value(0.010)]);
