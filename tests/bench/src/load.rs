//! Concurrent requests for as long as it takes, by oha: a process of its own, whose processor time is its own.

use std::path::Path;
use std::time::Duration;

use regauth_tests::exec as client;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::contender::Contender;
use crate::processor;

/// HTTP/1.1 or HTTP/2, on the client's side and the registry's alike, and how many requests at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// One request a connection.
    H1 {
        /// The connections.
        connections: u16,
    },
    /// Several requests a connection.
    H2 {
        /// The connections.
        connections: u16,
        /// The requests on each.
        streams: u16,
    },
}

/// How much of it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Amount {
    /// So long.
    For(Duration),
    /// So many requests.
    Of(u64),
}

/// What a load came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Requests answered with 200, a second.
    pub rate: f64,
    /// The middle latency, in seconds.
    pub p50: f64,
    /// The latency that one of a hundred exceeds, in seconds.
    pub p99: f64,
    /// Requests that were not answered with 200.
    pub failures: u64,
    /// What the process between spent on each request, in seconds.
    pub processor: Option<f64>,
}

/// Loads `url` by way of a contender.
///
/// # Panics
/// When nothing is answered twice.
pub(crate) fn load(oha: &Path, contender: &Contender, url: &str, protocol: Protocol, amount: Amount) -> Load {
    load_if_answered(oha, contender, url, protocol, amount).expect("somebody to answer")
}

/// Loads `url` by way of a contender that may not answer. One load in some hundreds is not answered at all, also without a
/// proxy: that is told and repeated once.
pub(crate) fn load_if_answered(
    oha: &Path,
    contender: &Contender,
    url: &str,
    protocol: Protocol,
    amount: Amount,
) -> Option<Load> {
    let mut attempts = (0..2).map(|_| attempt(oha, contender, url, protocol, amount));
    attempts.find_map(|load| {
        load.inspect_err(|report| eprintln!("{} answered nothing: {report}", contender.name))
            .ok()
    })
}

/// One load, or what was said when nothing was answered.
fn attempt(oha: &Path, contender: &Contender, url: &str, protocol: Protocol, amount: Amount) -> Result<Load, String> {
    let home = tempfile::tempdir().unwrap();
    let mut command = client::command(oha, home.path());
    command
        .args(["--no-tui", "--output-format", "json", "--redirect", "0"])
        .args(amount.arguments())
        .args(protocol.arguments())
        .arg("--cacert")
        .arg(&contender.roots)
        .args(contender.proxy().iter().flat_map(|proxy| ["-x", proxy]))
        .arg(url);
    let before = contender.pid().map(processor::spent);
    let outcome = client::run(&mut command).succeeds();
    let spent = before.and_then(|before| Some(processor::spent(contender.pid()?) - before));
    let report: Report = serde_json::from_str(&outcome.stdout).unwrap();
    let answered = report.answered();
    let (Some(p50), Some(p99)) = (report.percentiles.p50, report.percentiles.p99) else {
        return Err(outcome.report());
    };
    Ok(Load {
        rate: answered as f64 / report.summary.total,
        p50,
        p99,
        failures: report.failures(),
        processor: spent.map(|spent| spent.as_secs_f64() / answered as f64),
    })
}

impl Amount {
    fn arguments(self) -> Vec<String> {
        match self {
            Self::For(time) => vec!["-z".to_owned(), format!("{}ms", time.as_millis())],
            Self::Of(requests) => vec!["-n".to_owned(), requests.to_string()],
        }
    }
}

impl Protocol {
    /// Sixteen requests over HTTP/1.1.
    pub(crate) fn h1() -> Self {
        Self::H1 {
            connections: CONCURRENT,
        }
    }

    /// Sixteen requests over HTTP/2 on so many connections.
    pub(crate) fn h2(connections: u16) -> Self {
        Self::H2 {
            connections,
            streams: CONCURRENT / connections,
        }
    }

    /// The same with so many times as many connections.
    pub(crate) fn times(self, factor: u16) -> Self {
        match self {
            Self::H1 { connections } => Self::H1 {
                connections: factor * connections,
            },
            Self::H2 { connections, streams } => Self::H2 {
                connections: factor * connections,
                streams,
            },
        }
    }

    fn arguments(self) -> Vec<String> {
        let words = |words: &[&str]| words.iter().copied().map(str::to_owned).collect();
        match self {
            Self::H1 { connections } => words(&["-c", &connections.to_string()]),
            Self::H2 { connections, streams } => {
                words(&["--http2", "-c", &connections.to_string(), "-p", &streams.to_string()])
            }
        }
    }
}

/// The part of oha's report that we use.
#[derive(Debug, Deserialize)]
struct Report {
    summary: Summary,
    #[serde(rename = "latencyPercentiles")]
    percentiles: Percentiles,
    #[serde(rename = "statusCodeDistribution")]
    statuses: Map<String, Value>,
    #[serde(rename = "errorDistribution")]
    errors: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Summary {
    total: f64,
}

#[derive(Debug, Deserialize)]
struct Percentiles {
    p50: Option<f64>,
    p99: Option<f64>,
}

impl Report {
    fn answered(&self) -> u64 {
        self.statuses.get("200").and_then(Value::as_u64).unwrap_or_default()
    }

    fn failures(&self) -> u64 {
        let others = self.statuses.iter().filter(|(status, _)| *status != "200");
        let errors = self.errors.iter().filter(|(error, _)| *error != CUT_OFF);
        others.chain(errors).filter_map(|(_, count)| count.as_u64()).sum()
    }
}

/// What oha says of requests that were under way when the time was over. To wait for them, it can, but hangs now and then.
const CUT_OFF: &str = "aborted due to deadline";
const CONCURRENT: u16 = 16;
