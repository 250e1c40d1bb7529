//! Real `regauthd` on a free port with a temporary home, and `regauthctl` for it.
//!
//! Every scenario scans for leaks: a dropped daemon fails the test when a secret that it was given is in an answer of
//! `regauthctl`, in its log (at level trace) or in its files.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::auth_gate::Scheme;
use crate::ctl::Ctl;
use crate::exec::{self, Output};
use crate::fake_service_manager::FakeServiceManager;
use crate::git_server::GitServer;
use crate::leak_scan::{self, LeakScan};
use crate::poll;
use crate::process::Process;
use crate::programs;
use crate::registry::Registry;

/// Builder of a [`Daemon`].
#[derive(Clone, Debug)]
pub struct Builder {
    program: Option<PathBuf>,
    wrapper: Vec<String>,
    listen: String,
    store: Option<String>,
    config: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    service_manager: Option<fn(&mut FakeServiceManager, &Path)>,
}

impl Builder {
    /// Runs this program instead of the regauthd of this workspace.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// Passes `--store`. Default: `memory`.
    pub fn store(mut self, store: &str) -> Self {
        self.store = Some(store.to_owned());
        self
    }

    /// Passes no `--store`: config.toml, or the first start, decides.
    pub fn without_store_flag(mut self) -> Self {
        self.store = None;
        self
    }

    /// Sets the log level. Default: `trace`, to find leaks. A body of one gigabyte writes two gigabytes of log at `trace`.
    pub fn log_level(self, level: &str) -> Self {
        self.env("REGAUTH_LOG", level)
    }

    /// Adds an argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Starts the daemon by a program that executes its arguments, such as `prlimit --nofile=64:64`.
    pub fn wrapped_in(mut self, words: &[impl AsRef<str>]) -> Self {
        self.wrapper = words.iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// Passes `--listen`. Default: a free port of 127.0.0.1.
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// Starts it by a fake service manager that passes these sockets and receives `sd_notify` messages.
    pub fn service_manager(mut self, sockets: fn(&mut FakeServiceManager, &Path)) -> Self {
        self.service_manager = Some(sockets);
        self
    }

    /// Passes both sockets, as the packaged units do.
    pub fn socket_activated(self) -> Self {
        self.service_manager(|manager, home| {
            manager.add_port("proxy", "127.0.0.1:0");
            manager.add_control_socket("control", home, 0o600);
        })
    }

    /// Adds an environment variable, such as `DBUS_SESSION_BUS_ADDRESS`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Ignores SIGXFSZ: a write beyond the limit of `prlimit --fsize` fails, as on a full disk, and does not kill the
    /// process.
    pub fn ignore_file_size_signal(self) -> Self {
        self.wrapped_in(&["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
    }

    /// Writes `config.toml` before the first start. Without this call, the daemon creates its home.
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// Starts the daemon and waits until `regauthctl status` succeeds.
    ///
    /// # Panics
    /// When it does not succeed; the message has the daemon's log.
    pub fn start(self) -> Daemon {
        let folder = TempDir::new().unwrap();
        let (home, log) = (folder.path().join("home"), folder.path().join("regauthd.log"));
        self.prepare(&home);
        let manager = self.manager(folder.path(), &home);
        let (process, status) = self.launch(&home, &log, &self.listen, manager.as_ref());
        Daemon {
            process,
            draining: Vec::new(),
            status,
            manager,
            scan_targets: Mutex::new(self.scan_targets()),
            builder: self,
            home,
            _folder: folder,
        }
    }

    /// Starts a daemon on the home of another one that drains.
    ///
    /// # Panics
    /// When it does not start; the message has its log.
    pub fn start_on_home_of(self, other: &Daemon) -> Daemon {
        let folder = TempDir::new().unwrap();
        let (home, log) = (other.home.clone(), folder.path().join("regauthd.log"));
        let (process, status) = self.launch(&home, &log, &self.listen, None);
        Daemon {
            process,
            draining: Vec::new(),
            status,
            manager: None,
            scan_targets: Mutex::new(self.scan_targets()),
            builder: self,
            home,
            _folder: folder,
        }
    }

    /// Runs the daemon on `home` until it exits, for starts that should fail.
    pub fn run(self, home: &Path) -> Output {
        self.prepare(home);
        let folder = TempDir::new().unwrap();
        let manager = self.manager(folder.path(), home);
        exec::run(&mut self.command(home, &self.listen, manager.as_ref()))
    }

    fn manager(&self, folder: &Path, home: &Path) -> Option<FakeServiceManager> {
        let sockets = self.service_manager?;
        DirBuilder::new().recursive(true).mode(0o700).create(home).unwrap();
        let mut manager = FakeServiceManager::new(folder);
        sockets(&mut manager, home);
        Some(manager)
    }

    /// Secrets in the environment of the daemon.
    fn scan_targets(&self) -> ScanTargets {
        let mut targets = ScanTargets::default();
        let is_secret = |name: &str| name.contains("TOKEN") || name.contains("PASSPHRASE");
        let secret = self.environment.iter().filter(|(name, _)| is_secret(name));
        secret.for_each(|(_, value)| targets.add_secret(value));
        targets
    }

    fn prepare(&self, home: &Path) {
        let Some(text) = &self.config else { return };
        DirBuilder::new().recursive(true).mode(0o700).create(home).unwrap();
        let mut file = File::options()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(home.join("config.toml"));
        file.as_mut().unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn launch(&self, home: &Path, log: &Path, listen: &str, manager: Option<&FakeServiceManager>) -> (Process, Value) {
        let mut process = self.spawn(home, log, listen, manager);
        let status = process.wait_until("regauthctl status", || {
            let answer = Ctl::run(home, &["status"], "");
            answer.succeeded().then_some(answer.json)
        });
        (process, status)
    }

    fn spawn(&self, home: &Path, log: &Path, listen: &str, manager: Option<&FakeServiceManager>) -> Process {
        Process::spawn("regauthd", &mut self.command(home, listen, manager), log)
    }

    fn command(&self, home: &Path, listen: &str, manager: Option<&FakeServiceManager>) -> Command {
        let ours = || programs::binary("regauthd");
        let program = self.program.clone().unwrap_or_else(ours);
        let mut daemon = match self.wrapper.split_first() {
            None => exec::command(program, home),
            Some((outer, arguments)) => {
                let mut outer = exec::command(outer, home);
                outer.args(arguments).arg(program);
                outer
            }
        };
        daemon
            .env("REGAUTH_LOG", "trace")
            .env("RUST_BACKTRACE", "1")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .arg("--home")
            .arg(home)
            .args(["--listen", listen])
            .args(self.store.iter().flat_map(|store| ["--store", store]))
            .args(&self.arguments);
        match manager {
            Some(manager) => manager.pass_to(&daemon),
            None => daemon,
        }
    }
}

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
        Builder {
            program: None,
            wrapper: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            store: Some("memory".to_owned()),
            config: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            service_manager: None,
        }
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
