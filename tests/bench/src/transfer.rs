//! Transfer of one large body by curl: throughput, and CPU time of the proxy.

use std::path::Path;
use std::time::Duration;

use regauth_tests::exec;

use crate::candidate::Candidate;
use crate::cpu_time;

/// One download or upload.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer<'a> {
    /// URL of the file.
    pub url: &'a str,
    /// PEM file with the roots that curl trusts.
    pub roots: &'a Path,
    /// curl's protocol option: `--http1.1` or `--http2`.
    pub protocol: &'a str,
    /// File to upload. Without it, curl downloads and discards the body.
    pub upload: Option<&'a Path>,
    /// Time limit. At the limit, curl stops and the bytes so far count.
    pub limit: Option<Duration>,
}

/// Measurements of a transfer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TransferResult {
    /// Bytes per second, from curl's start to its end.
    pub rate: f64,
    /// CPU time of the proxy per GiB, in seconds.
    pub cpu: Option<f64>,
}

impl Transfer<'_> {
    /// Transfers through a candidate. Returns `None` if another proxy failed.
    ///
    /// # Panics
    /// If curl fails without a proxy or through regauthd.
    pub(crate) fn run(self, candidate: &Candidate) -> Option<TransferResult> {
        let home = tempfile::tempdir().unwrap();
        let mut curl = exec::command("curl", home.path());
        curl.args([
            "-q",
            "--silent",
            "--show-error",
            "--fail",
            self.protocol,
            "--output",
            "/dev/null",
        ])
        .args([
            "--write-out",
            "%{time_total} %{size_download} %{size_upload}",
            "--cacert",
        ])
        .arg(self.roots)
        .args(candidate.proxy().iter().flat_map(|proxy| ["--proxy", proxy]));
        if let Some(file) = self.upload {
            curl.arg("--upload-file").arg(file);
        }
        if let Some(limit) = self.limit {
            curl.args(["--max-time", &limit.as_secs().to_string()]);
        }
        let before = candidate.pid().map(cpu_time::of_process_group);
        let outcome = exec::run(curl.arg(self.url));
        let reached_limit = self.limit.is_some() && outcome.status.code() == Some(CURL_TIMED_OUT);
        if !reached_limit && !outcome.status.success() {
            eprintln!("transfer through {} failed: {}", candidate.name, outcome.report());
            assert!(
                candidate.is_other_proxy(),
                "a transfer through {} failed",
                candidate.name
            );
            return None;
        }
        let cpu = before.and_then(|before| Some(cpu_time::of_process_group(candidate.pid()?) - before));
        let figures: Vec<f64> = outcome
            .stdout
            .split(' ')
            .map(|figure| figure.parse().unwrap())
            .collect();
        let bytes = figures[1].max(figures[2]);
        Some(TransferResult {
            rate: bytes / figures[0],
            cpu: cpu.map(|cpu| cpu.as_secs_f64() / (bytes / GIB)),
        })
    }
}

/// curl's exit code at its time limit.
const CURL_TIMED_OUT: i32 = 28;
const GIB: f64 = 1073741824.0;
