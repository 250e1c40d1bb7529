//! Real curl, one request at a time, without this machine's configuration.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tempfile::{NamedTempFile, TempDir};

use crate::daemon::Daemon;
use crate::exec::{self, Output, RunningCommand};

/// Builder of curl's arguments.
#[derive(Clone, Debug, Default)]
pub struct Curl {
    arguments: Vec<String>,
    user: Option<u32>,
}

impl Curl {
    /// curl without a proxy and without trusted roots.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs curl as another user of this machine; needs root.
    pub fn as_user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Trusts the roots in this file instead of the system's.
    pub fn trusts(self, roots: &Path) -> Self {
        self.with(&["--cacert", roots.to_str().unwrap()])
    }

    /// Sends requests through a proxy.
    pub fn proxy(self, proxy: &str) -> Self {
        self.with(&["--proxy", proxy])
    }

    /// Sends requests through this daemon and trusts its bundle.
    pub fn behind(self, daemon: &Daemon) -> Self {
        self.proxy(&daemon.proxy()).trusts(&daemon.bundle())
    }

    /// Adds a request header: `Name: value`.
    pub fn header(self, line: &str) -> Self {
        self.with(&["--header", line])
    }

    /// Adds arguments.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().copied().map(str::to_owned));
        self
    }

    /// Sends a GET and returns the response.
    ///
    /// # Panics
    /// When there is no response; the message has curl's output.
    #[track_caller]
    pub fn get(&self, url: &str) -> Response {
        self.fetch(url).response()
    }

    /// Sends a PUT of `length` zero bytes from a sparse file and returns the response.
    ///
    /// # Panics
    /// When there is no response; the message has curl's output.
    #[track_caller]
    pub fn upload(&self, url: &str, length: u64) -> Response {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(length).unwrap();
        self.clone()
            .with(&["--upload-file", file.path().to_str().unwrap()])
            .get(url)
    }

    /// Sends a GET that may fail.
    pub fn fetch(&self, url: &str) -> FinishedTransfer {
        self.start(url).finish()
    }

    /// Starts a GET.
    pub fn start(&self, url: &str) -> RunningTransfer {
        let folder = TempDir::new().unwrap();
        let mut curl = self.command(folder.path());
        curl.args([
            "-q",
            "--silent",
            "--show-error",
            "--max-time",
            "110",
            "--output",
            "body",
            "--dump-header",
            "headers",
        ])
        .args(["--write-out", "%{http_code} %{http_version}"])
        .args(self.arguments.iter().map(OsStr::new))
        .arg(url)
        .current_dir(folder.path());
        RunningTransfer {
            running: RunningCommand::start(&mut curl, b""),
            folder,
        }
    }

    fn command(&self, folder: &Path) -> Command {
        match self.user {
            None => exec::command("curl", folder),
            Some(user) => {
                std::os::unix::fs::chown(folder, Some(user), Some(user)).unwrap();
                let mut command = exec::as_user(user, folder);
                command.arg("curl");
                command
            }
        }
    }
}

/// Running curl.
#[derive(Debug)]
pub struct RunningTransfer {
    running: RunningCommand,
    folder: TempDir,
}

impl RunningTransfer {
    /// Number of bytes of the body received so far.
    pub fn received(&self) -> u64 {
        fs::metadata(self.folder.path().join("body")).map_or(0, |body| body.len())
    }

    /// True while curl runs.
    pub fn is_running(&mut self) -> bool {
        self.running.is_running()
    }

    /// Waits until curl exits.
    pub fn finish(self) -> FinishedTransfer {
        let output = self.running.finish();
        FinishedTransfer {
            output,
            folder: self.folder,
        }
    }
}

/// curl that has exited.
#[derive(Debug)]
pub struct FinishedTransfer {
    /// Exit status and output of curl.
    pub output: Output,
    folder: TempDir,
}

impl FinishedTransfer {
    /// Response of a successful transfer.
    ///
    /// # Panics
    /// When curl failed; the message has its output.
    #[track_caller]
    pub fn response(self) -> Response {
        let Self { output, folder } = self;
        let output = output.succeeds();
        let (status, version) = output.stdout.split_once(' ').unwrap();
        let headers = fs::read_to_string(folder.path().join("headers")).unwrap();
        Response {
            status: status.parse().unwrap(),
            version: version.to_owned(),
            headers,
            length: fs::metadata(folder.path().join("body")).map_or(0, |body| body.len()),
            folder,
        }
    }
}

/// Last response of a transfer.
#[derive(Debug)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// HTTP version: `1.1` or `2`.
    pub version: String,
    /// Status lines and headers of all responses: the proxy's to CONNECT, interim ones, the last one.
    pub headers: String,
    /// Length of the body in bytes.
    pub length: u64,
    folder: TempDir,
}

impl Response {
    /// The body as text.
    pub fn body(&self) -> String {
        let bytes = fs::read(self.folder.path().join("body")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Header of the last response.
    pub fn header(&self, name: &str) -> Option<&str> {
        let last = self.headers.trim_end().rsplit("\r\n\r\n").next()?;
        let mut pairs = last.lines().filter_map(|line| line.split_once(':'));
        pairs
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}

/// Sends GETs from two threads while `during` runs, which gets the number of responses so far. Returns the number in the end.
///
/// # Panics
/// When a response has another status than 200.
pub fn under_load(daemon: &Daemon, url: &str, during: impl FnOnce(&AtomicUsize)) -> usize {
    let (over, served) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let answer = Curl::new().behind(daemon).get(url);
                    assert_eq!(answer.status, 200, "{}{}", answer.headers, answer.body());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        during(&served);
        over.store(true, Ordering::Relaxed);
    });
    served.into_inner()
}
