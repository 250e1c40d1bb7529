//! One long body by curl: how fast, at what cost for the process between.

use std::path::Path;
use std::time::Duration;

use regauth_tests::exec as client;

use crate::contender::Contender;
use crate::processor;

/// What curl is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer<'a> {
    /// From or to where.
    pub url: &'a str,
    /// What curl trusts there.
    pub roots: &'a Path,
    /// `--http1.1` or `--http2`.
    pub protocol: &'a str,
    /// The file to send; without it, what comes is thrown away.
    pub upload: Option<&'a Path>,
    /// After this time it is cut off, and what has passed counts.
    pub limit: Option<Duration>,
}

/// What it came to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transferred {
    /// Bytes a second, from curl's start to its end.
    pub rate: f64,
    /// What the process between spent on a GiB, in seconds.
    pub processor: Option<f64>,
}

impl Transfer<'_> {
    /// Transfers by way of a contender.
    ///
    /// # Panics
    /// With curl's words when it fails and no peer is to blame; a peer has nothing to show then.
    pub(crate) fn by(self, contender: &Contender) -> Option<Transferred> {
        let home = tempfile::tempdir().unwrap();
        let mut curl = client::command("curl", home.path());
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
        .args(contender.proxy().iter().flat_map(|proxy| ["--proxy", proxy]));
        if let Some(file) = self.upload {
            curl.arg("--upload-file").arg(file);
        }
        if let Some(limit) = self.limit {
            curl.args(["--max-time", &limit.as_secs().to_string()]);
        }
        let before = contender.pid().map(processor::spent);
        let outcome = client::run(curl.arg(self.url));
        let was_cut = self.limit.is_some() && outcome.status.code() == Some(TIMED_OUT);
        if !was_cut && !outcome.status.success() {
            eprintln!("{} failed: {}", contender.name, outcome.report());
            assert!(contender.is_peer(), "a transfer by {} failed", contender.name);
            return None;
        }
        let spent = before.and_then(|before| Some(processor::spent(contender.pid()?) - before));
        let said: Vec<f64> = outcome.stdout.split(' ').map(|word| word.parse().unwrap()).collect();
        let bytes = said[1].max(said[2]);
        Some(Transferred {
            rate: bytes / said[0],
            processor: spent.map(|spent| spent.as_secs_f64() / (bytes / GIB)),
        })
    }
}

/// curl's exit code for a time that is over.
const TIMED_OUT: i32 = 28;
const GIB: f64 = 1073741824.0;
