//! Real git with a `HOME` of its own, without this machine's configuration.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::exec::{self, Output, RunningCommand};

/// Git with its own configuration and at most one clone.
#[derive(Debug)]
pub struct Git {
    folder: TempDir,
}

impl Git {
    /// Git that has only an author's name and address configured.
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

    /// Sends all requests through a proxy.
    pub fn proxy(self, proxy: &str) -> Self {
        self.config("http.proxy", proxy)
    }

    /// Sends all requests through this daemon and trusts its bundle.
    pub fn behind(self, daemon: &Daemon) -> Self {
        self.proxy(&daemon.proxy()).trusts(&daemon.bundle())
    }

    /// Sends this `Authorization` to URLs below `url`, as users without regauth do.
    pub fn authorization(self, url: &str, value: &str) -> Self {
        self.config(&format!("http.{url}.extraHeader"), &format!("Authorization: {value}"))
    }

    /// Clones into [`Git::work`].
    pub fn clone_from(&self, url: &str) -> Output {
        self.run(["clone", url, "work"])
    }

    /// Commits a file of `length` incompressible bytes in [`Git::work`].
    pub fn commit_random_file(&self, name: &str, length: usize) -> Output {
        fs::write(self.work().join(name), random_bytes(name, length)).unwrap();
        self.in_work(["add", name]).succeeds();
        self.in_work(["commit", "--quiet", "--message", name])
    }

    /// Pushes large packs with a Content-Length instead of chunked.
    ///
    /// HTTP/2 needs it: git 2.47 with libcurl 7.88 sometimes hangs in a chunked push, with and without a proxy. libcurl
    /// asks git for more after the end (git/git#1608).
    pub fn with_content_length(self) -> Self {
        self.config("http.postBuffer", "16777216")
    }

    /// Runs `git push origin HEAD`.
    pub fn push(&self) -> Output {
        self.in_work(["push", "origin", "HEAD"])
    }

    /// Commit that [`Git::work`] is on.
    pub fn head(&self) -> String {
        self.in_work(["rev-parse", "HEAD"]).succeeds().stdout.trim().to_owned()
    }

    /// Runs any git command in `HOME`.
    pub fn run(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        RunningCommand::start(self.command(arguments).current_dir(self.home()), b"").finish()
    }

    /// Runs any git command in [`Git::work`].
    pub fn in_work(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Output {
        self.start(arguments).finish()
    }

    /// Starts any git command, in [`Git::work`].
    pub fn start(&self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> RunningCommand {
        RunningCommand::start(self.command(arguments).current_dir(self.work()), b"")
    }

    /// Folder of the clone.
    pub fn work(&self) -> PathBuf {
        self.home().join("work")
    }

    /// `HOME` of this git.
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

/// Incompressible bytes from an xorshift generator seeded with `name`.
pub fn random_bytes(name: &str, length: usize) -> Vec<u8> {
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
