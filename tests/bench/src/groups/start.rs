//! How soon it is there: from its start with an existing state to the first answer, and what asks it.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use regauth_tests::programs;
use tempfile::TempDir;

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
    for binary in &stage.binaries {
        let pair = Pair::of(&binary.path);
        for _ in 0..stage.rounds {
            results.record(RUN, &binary.label, pair.run().as_secs_f64());
        }
    }
}

/// A regauthd with regauthctl beside it, as they are installed.
struct Pair(TempDir);

impl Pair {
    fn of(daemon: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        fs::copy(daemon, folder.path().join("regauthd")).unwrap();
        fs::copy(programs::binary("regauthctl"), folder.path().join("regauthctl")).unwrap();
        Self(folder)
    }

    /// How long a command takes that does nothing, behind a daemon of its own; nobody is asked whether the token works.
    fn run(&self) -> Duration {
        let mut run = Command::new(self.0.path().join("regauthctl"));
        run.args(["run", "--registry", "corp=sparse+https://localhost:1/index/"])
            .args(["--token-env", "TOKEN_OF_CORP", "--no-verify", "--", "true"])
            .env("TOKEN_OF_CORP", "worth-nothing-at-all");
        elapsed(&mut run)
    }
}

fn status(contender: &Contender) -> Duration {
    let mut status = Command::new(programs::binary("regauthctl"));
    status
        .arg("--home")
        .arg(contender.daemon().unwrap().home())
        .arg("status");
    elapsed(&mut status)
}

fn elapsed(command: &mut Command) -> Duration {
    let begin = Instant::now();
    let output = command.output().unwrap();
    let elapsed = begin.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    elapsed
}

const SIZE: Row = Row::new("the binary", Unit::FileBytes, &[Goal::Value(10e6)]);
const READY: Row = Row::new("start to the first answer", Unit::Seconds, &[Goal::Value(0.020)]);
const FIRST: Row = Row::new("first handshake to a host", Unit::Seconds, &[Goal::Value(0.005)]);
const NEXT: Row = Row::new("the next handshake", Unit::Seconds, &[]);
const RUN: Row = Row::new("regauthctl run of a command", Unit::Seconds, &[Goal::Value(0.150)]);
const STATUS: Row = Row::new("regauthctl status", Unit::Seconds, &[Goal::Value(0.010)]);
