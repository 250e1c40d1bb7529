//! Requests for 1 KiB with everything on that shows them, beside everything off: the audit record of all requests, one
//! `regauthctl watch`, one `regauthctl top`, and a scrape of the metrics each second.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

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
    let (mut viewers, mut scrapers) = (Vec::new(), Vec::new());
    for binary in &testbed.binaries {
        let [off, on] = [(OFF, "audit = \"off\"\n"), (ON, ALL_ON)].map(|(name, config)| {
            let mut candidate = Candidate::with_config(binary, &testbed.registry, config);
            candidate.name = format!("{}, {name}", binary.label);
            candidate
        });
        viewers.extend([watch(&on), top(&on)]);
        scrapers.push(Scraper::start(&on));
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

/// Asks for the metrics each second, until it is dropped. A thread, as curl's start would cost more than the answer.
struct Scraper {
    _end: Sender<()>,
}

impl Scraper {
    fn start(candidate: &Candidate) -> Self {
        let url: http::Uri = candidate.metrics_url().unwrap().parse().unwrap();
        let address = url.authority().unwrap().to_string();
        let (end, ended) = channel::<()>();
        std::thread::spawn(move || {
            while ended.recv_timeout(SCRAPE_INTERVAL) == Err(RecvTimeoutError::Timeout) {
                let mut stream = TcpStream::connect(&address).unwrap();
                let path = url.path();
                let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
                stream.write_all(request.as_bytes()).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            }
        });
        Self { _end: end }
    }
}

#[derive(Clone, Copy)]
struct Rows {
    rate: Row,
    cpu: Row,
    cost: Row,
}

const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);
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
