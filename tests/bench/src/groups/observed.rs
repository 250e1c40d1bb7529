//! Requests for 1 KiB with everything on that shows them, beside everything off: the audit record of all requests, one
//! `regauthctl watch`, one `regauthctl top`, and a scrape of the metrics each second.

use std::path::Path;
use std::process::Command;

use regauth_tests::process::Process;
use regauth_tests::programs;

use crate::candidate::Candidate;
use crate::load::{LoadSize, Protocol, load};
use crate::registry;
use crate::results::{Goal, Results, Row, Unit};
use crate::testbed::Testbed;

/// Measures each regauthd twice, in turns: with everything off and with everything on.
pub(crate) fn measure(testbed: &Testbed, results: &mut Results) {
    let mut candidates = Vec::new();
    let mut viewers = Vec::new();
    for binary in &testbed.binaries {
        let [off, on] = [(OFF, "audit = \"off\"\n"), (ON, ALL_ON)].map(|(name, config)| {
            let mut candidate = Candidate::with_config(binary, &testbed.registry, config);
            candidate.name = format!("{}, {name}", binary.label);
            candidate
        });
        viewers.extend([watch(&on), top(&on), scrape(&on)]);
        candidates.extend([off, on]);
    }
    for (protocol, rows) in [(Protocol::h1(), H1), (Protocol::h2(testbed.h2_connections), H2)] {
        testbed.measure_in_turns(&mut candidates, |candidate| {
            let url = testbed.registry.url(candidate.path_prefix(), registry::SMALL);
            let size = LoadSize::Duration(testbed.duration);
            let load = load(&testbed.oha, candidate, &url, protocol, size);
            results.record(rows.rate, &candidate.name, load.rate);
            results.record(rows.cpu, &candidate.name, load.cpu);
        });
        for binary in &testbed.binaries {
            let [off, on] = [OFF, ON].map(|name| results.median(rows.rate, &format!("{}, {name}", binary.label)));
            results.record(rows.cost, &binary.label, off.zip(on).map(|(off, on)| off / on));
        }
    }
}

/// Starts `regauthctl watch --json`, whose output nobody reads.
fn watch(candidate: &Candidate) -> Process {
    let mut watch = Command::new(programs::binary("regauthctl"));
    watch
        .arg("--home")
        .arg(candidate.home().unwrap())
        .args(["watch", "--json"]);
    Process::spawn("watch", &mut watch, Path::new("/dev/null"))
}

/// Starts `regauthctl top` in a terminal of its own (script(1)).
fn top(candidate: &Candidate) -> Process {
    let regauthctl = programs::binary("regauthctl");
    let top = format!(
        "stty rows 40 cols 160; exec {} --home {} top",
        regauthctl.display(),
        candidate.home().unwrap().display()
    );
    let mut script = Command::new("script");
    script
        .args(["--quiet", "--return", "--command", &top, "/dev/null"])
        .env("TERM", "xterm-256color");
    Process::spawn("top", &mut script, Path::new("/dev/null"))
}

/// Asks for the metrics each second, until the daemon ends.
fn scrape(candidate: &Candidate) -> Process {
    let mut shell = Command::new("sh");
    let each_second = "while curl --silent --fail --output /dev/null \"$0\"; do sleep 1; done";
    shell.args(["-c", each_second, &candidate.metrics_url().unwrap()]);
    Process::spawn("scrape", &mut shell, Path::new("/dev/null"))
}

#[derive(Clone, Copy)]
struct Rows {
    rate: Row,
    cpu: Row,
    cost: Row,
}

const OFF: &str = "all off";
const ON: &str = "all on";
const ALL_ON: &str = "audit = \"all\"\nmetrics-listen = \"127.0.0.1:0\"\n";
const H1: Rows = Rows {
    rate: Row::new("observed small GET, h1", Unit::Rate, &[]),
    cpu: Row::new("proxy CPU per observed request, h1", Unit::Seconds, &[]),
    cost: Row::new("rate, all off ÷ all on, h1", Unit::Ratio, COST),
};
const H2: Rows = Rows {
    rate: Row::new("observed small GET, h2", Unit::Rate, &[]),
    cpu: Row::new("proxy CPU per observed request, h2", Unit::Seconds, &[]),
    cost: Row::new("rate, all off ÷ all on, h2", Unit::Ratio, COST),
};
const COST: &[Goal] = &[Goal::Value(1.03)];
