//! Load generator: concurrent requests by oha, in a process of its own, so that the proxy's CPU time stays separate.

use std::path::Path;
use std::time::Duration;

use regauth_tests::exec;
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::candidate::Candidate;
use crate::cpu_time;

/// HTTP version, on both sides of the proxy, and number of concurrent requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// HTTP/1.1: one request at a time on each connection.
    H1 {
        /// Number of connections.
        connections: u16,
    },
    /// HTTP/2: several requests at a time on each connection.
    H2 {
        /// Number of connections.
        connections: u16,
        /// Concurrent requests on each connection.
        streams: u16,
    },
}

/// End of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LoadSize {
    /// Ends after a time.
    Duration(Duration),
    /// Ends after a number of requests.
    Requests(u64),
}

/// Measurements of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadResult {
    /// Requests per second that were answered with 200.
    pub rate: f64,
    /// Median latency in seconds.
    pub p50: f64,
    /// 99th percentile of the latency in seconds.
    pub p99: f64,
    /// Number of requests that were not answered with 200.
    pub failures: u64,
    /// CPU time of the proxy per request, in seconds.
    pub cpu: Option<f64>,
}

/// Sends requests for `url` through a candidate.
///
/// # Panics
/// If two attempts got no answer.
pub(crate) fn load(oha: &Path, candidate: &Candidate, url: &str, protocol: Protocol, size: LoadSize) -> LoadResult {
    try_load(oha, candidate, url, protocol, size).expect("the registry answers within two attempts")
}

/// Sends requests for `url` through a candidate. Returns `None` if two attempts got no answer.
///
/// One load in some hundreds gets no answer at all, also without a proxy. The second attempt covers that case.
pub(crate) fn try_load(
    oha: &Path,
    candidate: &Candidate,
    url: &str,
    protocol: Protocol,
    size: LoadSize,
) -> Option<LoadResult> {
    let mut attempts = (0..2).map(|_| attempt(oha, candidate, url, protocol, size));
    attempts.find_map(|result| {
        result
            .inspect_err(|report| eprintln!("no answers through {}: {report}", candidate.name))
            .ok()
    })
}

/// Runs oha once. The error is oha's output if nothing was answered.
fn attempt(
    oha: &Path,
    candidate: &Candidate,
    url: &str,
    protocol: Protocol,
    size: LoadSize,
) -> Result<LoadResult, String> {
    let home = tempfile::tempdir().unwrap();
    let mut command = exec::command(oha, home.path());
    command
        .args(["--no-tui", "--output-format", "json", "--redirect", "0"])
        .args(size.arguments())
        .args(protocol.arguments())
        .arg("--cacert")
        .arg(&candidate.roots)
        .args(candidate.proxy().iter().flat_map(|proxy| ["-x", proxy]))
        .arg(url);
    let before = candidate.pid().map(cpu_time::of_process_group);
    let outcome = exec::run(&mut command).succeeds();
    let cpu = before.and_then(|before| Some(cpu_time::of_process_group(candidate.pid()?) - before));
    let report: Report = serde_json::from_str(&outcome.stdout).unwrap();
    let answered = report.answered();
    let (Some(p50), Some(p99)) = (report.percentiles.p50, report.percentiles.p99) else {
        return Err(outcome.report());
    };
    Ok(LoadResult {
        rate: answered as f64 / report.summary.total,
        p50,
        p99,
        failures: report.failures(),
        cpu: cpu.map(|cpu| cpu.as_secs_f64() / answered as f64),
    })
}

impl LoadSize {
    fn arguments(self) -> Vec<String> {
        match self {
            Self::Duration(duration) => vec!["-z".to_owned(), format!("{}ms", duration.as_millis())],
            Self::Requests(requests) => vec!["-n".to_owned(), requests.to_string()],
        }
    }
}

impl Protocol {
    /// Sixteen concurrent requests over HTTP/1.1.
    pub(crate) fn h1() -> Self {
        Self::H1 {
            connections: CONCURRENT_REQUESTS,
        }
    }

    /// Sixteen concurrent requests over the given number of HTTP/2 connections.
    pub(crate) fn h2(connections: u16) -> Self {
        Self::H2 {
            connections,
            streams: CONCURRENT_REQUESTS / connections,
        }
    }

    /// Multiplies the number of connections.
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
        let owned = |arguments: &[&str]| arguments.iter().copied().map(str::to_owned).collect();
        match self {
            Self::H1 { connections } => owned(&["-c", &connections.to_string()]),
            Self::H2 { connections, streams } => {
                owned(&["--http2", "-c", &connections.to_string(), "-p", &streams.to_string()])
            }
        }
    }
}

/// Part of oha's report that the benchmark uses.
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
        let errors = self.errors.iter().filter(|(error, _)| *error != ABORTED_AT_END);
        others.chain(errors).filter_map(|(_, count)| count.as_u64()).sum()
    }
}

/// oha's error for requests in flight at the end of the load. oha can wait for them instead, but then sometimes hangs.
const ABORTED_AT_END: &str = "aborted due to deadline";
const CONCURRENT_REQUESTS: u16 = 16;
