//! regauthd with 1, 100 and 1,000 registries on as many hosts, each with its token in a file.

use std::fmt::Write;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use regauth_tests::daemon::Daemon;
use regauth_tests::programs;
use tempfile::TempDir;

use crate::arguments::Binary;
use crate::candidate::Candidate;
use crate::groups::start::time;
use crate::memory::resident;
use crate::results::{Goal, Results, Row, Unit};
use crate::testbed::Testbed;
use crate::{cpu_time, registry};

/// Measures the regauthds. The state exists at the measured start, as on any day but the first.
pub(crate) fn measure(testbed: &Testbed, results: &mut Results) {
    for rows in ROWS {
        let tokens = TempDir::new().unwrap();
        let configuration = configuration(
            tokens.path(),
            rows.registries / if testbed.divisor > 1 { 10 } else { 1 },
        );
        let mut candidates: Vec<Candidate> = Vec::new();
        for binary in &testbed.binaries {
            testbed.begin_step(&format!(
                "the first start with {} registries: {}",
                rows.registries, binary.label
            ));
            candidates.push(start(binary, &configuration));
        }
        testbed.measure_in_turns(&mut candidates, |candidate| {
            let begin = candidate.restart();
            candidate.wait_until_ready();
            results.record(rows.ready, &candidate.name, begin.elapsed().as_secs_f64());
            results.record(rows.list, &candidate.name, list(candidate).as_secs_f64());
            let before = candidate.pid().map(cpu_time::of_process_group).unwrap_or_default();
            thread::sleep(IDLE);
            let used = candidate.pid().map(cpu_time::of_process_group).unwrap_or_default() - before;
            results.record(
                rows.idle,
                &candidate.name,
                used.as_secs_f64() / IDLE.as_secs_f64() * 100.0,
            );
            results.record(rows.memory, &candidate.name, candidate.pid().map(resident));
        });
    }
}

fn configuration(tokens: &Path, registries: usize) -> String {
    let mut text = String::new();
    for number in 0..registries.max(1) {
        let token = tokens.join(number.to_string());
        fs::write(&token, format!("{}{number}", registry::TOKEN_PREFIX)).unwrap();
        writeln!(
            text,
            "[registries.r{number}]\nscopes = [\"https://r{number}.example/\"]\nsource = \"file:{}\"",
            token.display()
        )
        .unwrap();
    }
    text
}

fn start(binary: &Binary, configuration: &str) -> Candidate {
    let builder = Daemon::builder().program(&binary.path).store("vault");
    let daemon = builder.log_level("warn").config(configuration).start();
    Candidate::running(&binary.label, daemon)
}

fn list(candidate: &Candidate) -> Duration {
    let mut list = Command::new(programs::binary("regauthctl"));
    list.arg("--home").arg(candidate.daemon().unwrap().home()).arg("list");
    time(&mut list)
}

struct Rows {
    registries: usize,
    ready: Row,
    memory: Row,
    list: Row,
    idle: Row,
}

const ROWS: [Rows; 3] = [
    Rows {
        registries: 1,
        ready: Row::new("start to first answer, 1 registry", Unit::Seconds, &[]),
        memory: Row::new("memory, 1 registry", Unit::Bytes, &[]),
        list: Row::new("regauthctl list, 1 registry", Unit::Seconds, &[]),
        idle: Row::new("idle CPU in percent, 1 registry", Unit::Ratio, &[]),
    },
    Rows {
        registries: 100,
        ready: Row::new("start to first answer, 100 registries", Unit::Seconds, &[]),
        memory: Row::new("memory, 100 registries", Unit::Bytes, &[]),
        list: Row::new("regauthctl list, 100 registries", Unit::Seconds, &[]),
        idle: Row::new("idle CPU in percent, 100 registries", Unit::Ratio, &[]),
    },
    Rows {
        registries: 1000,
        ready: Row::new(
            "start to first answer, 1,000 registries",
            Unit::Seconds,
            &[Goal::Value(1.0)],
        ),
        memory: Row::new(
            "memory, 1,000 registries",
            Unit::Bytes,
            &[Goal::Value(60.0 * 1048576.0)],
        ),
        list: Row::new(
            "regauthctl list, 1,000 registries",
            Unit::Seconds,
            &[Goal::Value(0.020)],
        ),
        idle: Row::new(
            "idle CPU in percent, 1,000 registries",
            Unit::Ratio,
            &[Goal::Value(0.1)],
        ),
    },
];

const IDLE: Duration = Duration::from_secs(5);
