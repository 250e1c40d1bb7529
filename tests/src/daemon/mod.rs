//! Real `regauthd` on a free port with a temporary home, and `regauthctl` for it.
//!
//! Every scenario scans for leaks: a dropped daemon fails the test when a secret that it was given is in an answer of
//! `regauthctl`, in its log (at level trace) or in its files.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::auth_gate::Scheme;
use crate::ctl::Ctl;
use crate::fake_service_manager::FakeServiceManager;
use crate::git_server::GitServer;
use crate::leak_scan::{self, LeakScan};
use crate::poll;
use crate::process::Process;
use crate::registry::Registry;

mod builder;

pub use builder::Builder;

/// Running daemon. Its log is at level trace, and printed when the test fails.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    draining: Vec<Process>,
    status: Value,
    manager: Option<FakeServiceManager>,
    scan_targets: Mutex<ScanTargets>,
    builder: Builder,
    home: PathBuf,
    _folder: TempDir,
}

/// Secrets that the daemon was given, and the output of `regauthctl` since.
#[derive(Debug, Default)]
struct ScanTargets {
    secrets: BTreeSet<String>,
    outputs: String,
}

impl ScanTargets {
    fn add_secret(&mut self, secret: &str) {
        if secret.len() >= leak_scan::MIN_SECRET_LENGTH {
            self.secrets.insert(secret.to_owned());
        }
    }

    /// Records the input and output of `regauthctl`. The output of `grant` has the one secret that may be printed.
    fn record(&mut self, input: &str, ctl: &Ctl) {
        input.lines().for_each(|secret| self.add_secret(secret));
        if let Some(token) = ctl.json["proxy"].as_str().and_then(|url| url.split(['@', ':']).nth(2)) {
            self.add_secret(token);
        } else {
            self.outputs.extend([&*ctl.output.stdout, &*ctl.output.stderr]);
        }
    }
}

impl Daemon {
    /// Builder with the defaults of most tests.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Starts a daemon that keeps secrets in memory.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// URL of the proxy: `http://127.0.0.1:PORT`.
    pub fn proxy(&self) -> String {
        self.status_field("proxy").to_owned()
    }

    /// CA bundle for clients.
    pub fn bundle(&self) -> PathBuf {
        PathBuf::from(self.status_field("bundle"))
    }

    /// Process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `REGAUTH_HOME`. The log is not in it.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Log so far, restarts included.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// Runs `regauthctl --json`.
    pub fn ctl(&self, arguments: &[&str]) -> Ctl {
        self.ctl_with_input(arguments, "")
    }

    /// Runs `regauthctl --json` with `input`, such as a token, on stdin.
    pub fn ctl_with_input(&self, arguments: &[&str], input: &str) -> Ctl {
        let ctl = Ctl::run(&self.home, arguments, input);
        self.with_scan_targets(|targets| targets.record(input, &ctl));
        ctl
    }

    /// Sends one request over the control socket, such as `{"method":"logout","name":"corp"}`, and returns the answer. For
    /// requests that no `regauthctl` command makes.
    ///
    /// # Panics
    /// When the daemon does not answer.
    pub fn request(&self, request: Value) -> Value {
        self.start_request(request)()
    }

    /// Sends a request as [`Daemon::request`] does, and returns a function that waits for the answer.
    ///
    /// # Panics
    /// When the daemon does not accept it.
    pub fn start_request(&self, mut request: Value) -> impl FnOnce() -> Value {
        request["v"] = 1.into();
        let mut stream = UnixStream::connect(self.home.join("run/control.sock")).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        lines.next().unwrap().unwrap();
        stream.write_all(format!("{request}\n").as_bytes()).unwrap();
        move || {
            let answer = lines.next().unwrap().unwrap();
            self.with_scan_targets(|targets| targets.outputs += &answer);
            serde_json::from_str(&answer).unwrap()
        }
    }

    /// Adds a secret to the leak scan that the daemon gets from a source, such as a command.
    pub fn register_secret(&self, secret: &str) {
        self.with_scan_targets(|targets| targets.add_secret(secret));
    }

    fn with_scan_targets(&self, action: impl FnOnce(&mut ScanTargets)) {
        action(&mut self.scan_targets.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Adds a registry by its index, with its root, scheme and first token.
    ///
    /// # Panics
    /// When `regauthctl` fails; the message has its output.
    #[track_caller]
    pub fn add(&self, name: &str, registry: &Registry) -> Ctl {
        self.add_with(name, registry, &[])
    }

    /// Adds a registry as [`Daemon::add`] does, with more arguments, such as `--scope`.
    ///
    /// # Panics
    /// When `regauthctl` fails; the message has its output.
    #[track_caller]
    pub fn add_with(&self, name: &str, registry: &Registry, more: &[&str]) -> Ctl {
        let index = registry.index();
        let location = [&["--index", &index], more].concat();
        self.try_add(name, &location, registry.scheme(), &registry.ca(), registry.token())
            .succeeds()
    }

    /// Adds a git host by its scope.
    ///
    /// # Panics
    /// When `regauthctl` fails; the message has its output.
    #[track_caller]
    pub fn add_git(&self, name: &str, host: &GitServer) -> Ctl {
        let location = ["--kind", "git", "--scope", &host.scope()];
        self.try_add(name, &location, host.scheme(), &host.ca(), host.token())
            .succeeds()
    }

    /// Runs `add-registry` with the location arguments, such as `--index URL`, and any token.
    pub fn try_add(&self, name: &str, location: &[&str], scheme: &Scheme, ca: &Path, token: &str) -> Ctl {
        let scheme = scheme_arguments(scheme);
        let scheme: Vec<&str> = scheme.iter().map(String::as_str).collect();
        let first = ["add-registry", name, "--token-stdin", "--ca-file", ca.to_str().unwrap()];
        self.ctl_with_input(&[&first, location, &scheme].concat(), token)
    }

    /// Adds a scope with the registry's present token.
    ///
    /// # Panics
    /// When `regauthctl` fails; the message has its output.
    #[track_caller]
    pub fn add_scope(&self, name: &str, scope: &str, token: &str) -> Ctl {
        self.ctl_with_input(&["add-scope", name, scope, "--token-stdin"], token)
            .succeeds()
    }

    /// Rotates a registry's token.
    pub fn rotate(&self, name: &str, token: &str) -> Ctl {
        self.ctl_with_input(&["rotate", name, "--token-stdin"], token)
    }

    /// Sends SIGTERM and returns the exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop()
    }

    /// Waits for the daemon to exit by itself and returns the exit status.
    ///
    /// # Panics
    /// When it does not exit; the message has its log.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = poll::within(poll::TIMEOUT, || self.process.exited());
        ended.unwrap_or_else(|| panic!("regauthd did not exit; its log:\n{}", self.log()))
    }

    /// Sends SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts a stopped daemon on the same home and port, without waiting until it is ready.
    pub fn start_again(&mut self) {
        let log = self.process.log_file().to_owned();
        let listen = self.status_field("listen").to_owned();
        self.process = self.builder.spawn(&self.home, &log, &listen, self.manager.as_ref());
    }

    /// Stops the daemon when it runs, and starts it on the same home and port.
    pub fn restart(&mut self) {
        self.process.stop();
        let listen = self.status_field("listen").to_owned();
        let log = self.process.log_file().to_owned();
        (self.process, self.status) = self.builder.launch(&self.home, &log, &listen, self.manager.as_ref());
    }

    /// Sends SIGTERM and starts a new daemon on the same sockets while the old one drains.
    /// [`Daemon::wait_for_replaced`] waits for the old one.
    ///
    /// # Panics
    /// When the new daemon does not start; the message has its log.
    pub fn replace(&mut self) {
        self.process.signal(Signal::TERM);
        let (home, log) = (self.home.clone(), self.process.log_file().to_owned());
        let (next, status) = self.builder.launch(&home, &log, "127.0.0.1:0", self.manager.as_ref());
        self.draining.push(std::mem::replace(&mut self.process, next));
        self.status = status;
    }

    /// Waits for the replaced daemons to exit and returns their exit statuses.
    ///
    /// # Panics
    /// When one does not exit; the message has its log.
    pub fn wait_for_replaced(&mut self) -> Vec<ExitStatus> {
        let mut draining = std::mem::take(&mut self.draining);
        let ended = draining.iter_mut().map(|process| {
            let ended = poll::within(poll::TIMEOUT, || process.exited());
            ended.unwrap_or_else(|| panic!("a replaced regauthd did not exit; its log:\n{}", process.log()))
        });
        ended.collect()
    }

    /// `sd_notify` messages that the fake service manager received.
    ///
    /// # Panics
    /// When the daemon was started without one.
    pub fn notifications(&self) -> Vec<String> {
        self.manager.as_ref().unwrap().notifications()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Current memory use (`/proc/PID/status`).
    pub fn memory(&self) -> Memory {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let read = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap();
            let kibibytes: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap();
            kibibytes * 1024
        };
        Memory {
            resident: read("VmRSS"),
            peak: read("VmHWM"),
        }
    }

    /// Processor time used so far, user and system.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        // proc_pid_stat(5): utime and stime are the 14th and 15th, in hundredths of a second; the 2nd ends with `)`.
        let after = stat.rsplit(") ").next().unwrap();
        let ticks = after
            .split(' ')
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().unwrap());
        Duration::from_millis(ticks.sum::<u64>() * 10)
    }

    fn status_field(&self, field: &str) -> &str {
        self.status[field]
            .as_str()
            .unwrap_or_else(|| panic!("status has no {field}: {}", self.status))
    }
}

/// Stops the daemon and scans for leaks, unless the test has failed already.
impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() || self.process.terminate(poll::TIMEOUT).is_none() {
            return;
        }
        let (home, log) = (self.home.clone(), self.log());
        self.with_scan_targets(|ScanTargets { secrets, outputs }| {
            for secret in &*secrets {
                LeakScan::new(secret)
                    .scan("regauthctl's output", &*outputs)
                    .scan("the log", &log)
                    .scan_folder(&home, &[])
                    .assert_clean();
            }
        });
    }
}

/// Memory of a process in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident set size.
    pub resident: u64,
    /// Highest resident set size so far.
    pub peak: u64,
}

fn scheme_arguments(scheme: &Scheme) -> Vec<String> {
    let words: Vec<&str> = match scheme {
        Scheme::Open => vec![],
        Scheme::Basic { username } => vec!["--scheme", "basic", "--username", username],
        Scheme::Header { name, prefix } if name == "Authorization" && prefix == "Bearer " => vec!["--scheme", "bearer"],
        Scheme::Header { name, prefix } if name == "Authorization" && prefix.is_empty() => vec!["--scheme", "raw"],
        Scheme::Header { name, prefix } => return vec!["--scheme".to_owned(), format!("{name}: {prefix}{{token}}")],
    };
    words.into_iter().map(str::to_owned).collect()
}
