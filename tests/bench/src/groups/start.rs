//! Start time with existing state, first handshakes, regauthctl commands, and size of the binary.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use regauth_tests::programs;
use tempfile::TempDir;

use crate::candidate::Candidate;
use crate::idle_connections;
use crate::results::{Goal, Results, Row, Unit};
use crate::testbed::Testbed;

/// Measures the regauthds.
pub(crate) fn measure(testbed: &Testbed, results: &mut Results) {
    let mut candidates: Vec<Candidate> = testbed.daemons().collect();
    for binary in &testbed.binaries {
        let size = fs::metadata(&binary.path).unwrap().len();
        results.record(SIZE, &binary.label, size as f64);
    }
    testbed.measure_in_turns(&mut candidates, |candidate| {
        let begin = candidate.restart();
        candidate.wait_until_ready();
        results.record(READY, &candidate.name, begin.elapsed().as_secs_f64());
        let first = idle_connections::time_handshake(candidate, &testbed.registry.authority());
        results.record(FIRST, &candidate.name, first.as_secs_f64());
        let second = idle_connections::time_handshake(candidate, &testbed.registry.authority());
        results.record(SECOND, &candidate.name, second.as_secs_f64());
        results.record(STATUS, &candidate.name, time_status(candidate).as_secs_f64());
    });
    for binary in &testbed.binaries {
        let programs = Programs::install(&binary.path);
        for _ in 0..testbed.rounds {
            results.record(RUN, &binary.label, programs.time_run().as_secs_f64());
        }
    }
}

/// Folder with regauthd and regauthctl, as they are installed.
struct Programs(TempDir);

impl Programs {
    fn install(daemon: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        fs::copy(daemon, folder.path().join("regauthd")).unwrap();
        fs::copy(programs::binary("regauthctl"), folder.path().join("regauthctl")).unwrap();
        Self(folder)
    }

    /// Time of `regauthctl run -- true`, which starts its own daemon. `--no-verify` avoids a request to the registry.
    fn time_run(&self) -> Duration {
        let mut run = Command::new(self.0.path().join("regauthctl"));
        run.args(["run", "--registry", "corp=sparse+https://localhost:1/index/"])
            .args(["--token-env", "TOKEN_OF_CORP", "--no-verify", "--", "true"])
            .env("TOKEN_OF_CORP", "worth-nothing-at-all");
        time(&mut run)
    }
}

fn time_status(candidate: &Candidate) -> Duration {
    let mut status = Command::new(programs::binary("regauthctl"));
    status
        .arg("--home")
        .arg(candidate.daemon().unwrap().home())
        .arg("status");
    time(&mut status)
}

/// Time of a command to its end.
pub(super) fn time(command: &mut Command) -> Duration {
    let begin = Instant::now();
    let output = command.output().unwrap();
    let elapsed = begin.elapsed();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    elapsed
}

const SIZE: Row = Row::new("size of the binary", Unit::FileBytes, &[Goal::Value(10e6)]);
const READY: Row = Row::new("start to first answer", Unit::Seconds, &[Goal::Value(0.020)]);
const FIRST: Row = Row::new("first handshake to a host", Unit::Seconds, &[Goal::Value(0.005)]);
const SECOND: Row = Row::new("second handshake to a host", Unit::Seconds, &[]);
const RUN: Row = Row::new("regauthctl run -- true", Unit::Seconds, &[Goal::Value(0.150)]);
const STATUS: Row = Row::new("regauthctl status", Unit::Seconds, &[Goal::Value(0.010)]);
