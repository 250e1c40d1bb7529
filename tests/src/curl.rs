//! Real curl, one request at a time, with nothing of this machine's configuration.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::{NamedTempFile, TempDir};

use crate::daemon::Daemon;
use crate::exec::{self, Output, RunningCommand};

/// curl's arguments so far.
#[derive(Clone, Debug, Default)]
pub struct Curl {
    arguments: Vec<String>,
    user: Option<u32>,
}

impl Curl {
    /// curl that trusts nothing and uses no proxy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Runs as another user of this machine, which takes root.
    pub fn user(mut self, user: u32) -> Self {
        self.user = Some(user);
        self
    }

    /// Trusts the roots in this file instead of the system's.
    pub fn trusts(self, roots: &Path) -> Self {
        self.with(&["--cacert", roots.to_str().unwrap()])
    }

    /// Sends everything through a proxy.
    pub fn proxy(self, proxy: &str) -> Self {
        self.with(&["--proxy", proxy])
    }

    /// Sends everything through this daemon and trusts its bundle.
    pub fn behind(self, daemon: &Daemon) -> Self {
        self.proxy(&daemon.proxy()).trusts(&daemon.bundle())
    }

    /// One more request header: `Name: value`.
    pub fn header(self, line: &str) -> Self {
        self.with(&["--header", line])
    }

    /// Any arguments of curl's.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().copied().map(str::to_owned));
        self
    }

    /// GET, the answer kept.
    ///
    /// # Panics
    /// With curl's words when there is no answer.
    #[track_caller]
    pub fn get(&self, url: &str) -> Response {
        self.fetch(url).response()
    }

    /// PUT of this many zero bytes, which take no disk, the answer kept.
    ///
    /// # Panics
    /// With curl's words when there is no answer.
    #[track_caller]
    pub fn upload(&self, url: &str, length: u64) -> Response {
        let file = NamedTempFile::new().unwrap();
        file.as_file().set_len(length).unwrap();
        self.clone()
            .with(&["--upload-file", file.path().to_str().unwrap()])
            .get(url)
    }

    /// GET, whatever comes of it.
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
}

impl Curl {
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

/// A curl that was started and has not been waited for.
#[derive(Debug)]
pub struct RunningTransfer {
    running: RunningCommand,
    folder: TempDir,
}

impl RunningTransfer {
    /// How many bytes of the body have come so far.
    pub fn received(&self) -> u64 {
        fs::metadata(self.folder.path().join("body")).map_or(0, |body| body.len())
    }

    /// Whether it has not ended yet.
    pub fn is_running(&mut self) -> bool {
        self.running.is_running()
    }

    /// Waits for its end.
    pub fn finish(self) -> FinishedTransfer {
        let output = self.running.finish();
        FinishedTransfer {
            output,
            folder: self.folder,
        }
    }
}

/// A curl that has ended.
#[derive(Debug)]
pub struct FinishedTransfer {
    /// How curl ended and what it said.
    pub output: Output,
    folder: TempDir,
}

impl FinishedTransfer {
    /// The answer.
    ///
    /// # Panics
    /// With curl's words when there is none.
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

/// The last answer of a transfer. Interim answers and a proxy's own are in `headers` before it.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: u16,
    /// The protocol: `1.1` or `2`.
    pub version: String,
    /// All status lines and headers, as they came.
    pub headers: String,
    /// The body's length.
    pub length: u64,
    folder: TempDir,
}

impl Response {
    /// The body as text.
    pub fn body(&self) -> String {
        let bytes = fs::read(self.folder.path().join("body")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// A header of the last answer.
    pub fn header(&self, name: &str) -> Option<&str> {
        let last = self.headers.trim_end().rsplit("\r\n\r\n").next()?;
        let mut pairs = last.lines().filter_map(|line| line.split_once(':'));
        pairs
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }
}
