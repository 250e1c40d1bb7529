//! Real git with a `HOME` of its own and nothing of this machine's configuration.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::exec::{self, Output, RunningCommand};

/// A person with git.
#[derive(Debug)]
pub struct Git {
    folder: TempDir,
}

impl Git {
    /// A git with an empty configuration, apart from who commits.
    pub fn new() -> Self {
        let git = Self {
            folder: TempDir::new().unwrap(),
        };
        git.config("user.name", "Me").config("user.email", "me@corp.example")
    }

    /// Sets a key of the global configuration, such as `http.proxy`.
    pub fn config(self, key: &str, value: &str) -> Self {
        self.run(["config", "--global", key, value]).succeeds();
        self
    }

    /// Trusts the roots in this file instead of the system's.
    pub fn trusts(self, roots: &Path) -> Self {
        self.config("http.sslCAInfo", roots.to_str().unwrap())
    }

    /// Sends everything through a proxy.
    pub fn proxy(self, proxy: &str) -> Self {
        self.config("http.proxy", proxy)
    }

    /// Sends everything through this daemon and trusts its bundle.
    pub fn behind(self, daemon: &Daemon) -> Self {
        self.proxy(&daemon.proxy()).trusts(&daemon.bundle())
    }

    /// Sends this `Authorization` to the URLs below `url`, as people without regauth do.
    pub fn authorization(self, url: &str, value: &str) -> Self {
        self.config(&format!("http.{url}.extraHeader"), &format!("Authorization: {value}"))
    }

    /// Clones into [`Git::work`].
    pub fn clone_from(&self, url: &str) -> Output {
        self.run(["clone", url, "work"])
    }

    /// Commits a file of this many bytes that do not compress, in [`Git::work`].
    pub fn commit_random_file(&self, name: &str, length: usize) -> Output {
        fs::write(self.work().join(name), noise(name, length)).unwrap();
        self.in_work(["add", name]).succeeds();
        self.in_work(["commit", "--quiet", "--message", name])
    }

    /// Pushes large packs with their length instead of chunked. Needed on HTTP/2: git 2.47 with libcurl 7.88 now and
    /// then hangs in a chunked push there, with and without a proxy (git/git#1608: libcurl asks git for
    /// more after the end).
    pub fn with_content_length(self) -> Self {
        self.config("http.postBuffer", "16777216")
    }

    /// `git push origin HEAD`.
    pub fn push(&self) -> Output {
        self.in_work(["push", "origin", "HEAD"])
    }

    /// The commit that [`Git::work`] is on.
    pub fn head(&self) -> String {
        self.in_work(["rev-parse", "HEAD"]).succeeds().stdout.trim().to_owned()
    }

    /// Any git command, in its `HOME`.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        RunningCommand::start(self.command(arguments).current_dir(self.home()), b"").finish()
    }

    /// Any git command, in [`Git::work`].
    pub fn in_work(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.start(arguments).finish()
    }

    /// Starts any git command, in [`Git::work`].
    pub fn start(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> RunningCommand {
        RunningCommand::start(self.command(arguments).current_dir(self.work()), b"")
    }

    /// The clone.
    pub fn work(&self) -> PathBuf {
        self.home().join("work")
    }

    /// Its `HOME`.
    pub fn home(&self) -> &Path {
        self.folder.path()
    }

    fn command(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
        let mut git = exec::command("git", self.home());
        git.args(arguments);
        git
    }
}

impl Default for Git {
    fn default() -> Self {
        Self::new()
    }
}

/// Bytes of an xorshift generator: the same for the same name every time, and nothing that zlib could shorten.
pub fn noise(name: &str, length: usize) -> Vec<u8> {
    let seed = name.bytes().fold(0x9E37_79B9_7F4A_7C15_u64, |seed, byte| {
        seed.rotate_left(9) ^ u64::from(byte)
    });
    let mut state = seed.max(1);
    let words = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}
