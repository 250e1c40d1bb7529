//! The real `regauthd`, below a temporary home and on a free port, and `regauthctl` to talk to it.
//!
//! Every scenario is a hunt for leaks: when a daemon is over, what it was given in secret is in none of its answers, not
//! in its log, which is at trace, and not in its files.

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

/// How a daemon is started.
#[derive(Clone, Debug)]
pub struct Builder {
    program: Option<PathBuf>,
    under: Vec<String>,
    listen: String,
    store: Option<String>,
    config: Option<String>,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
    managed: Option<fn(&mut FakeServiceManager, &Path)>,
}

impl Builder {
    /// Another regauthd than that of these sources.
    pub fn program(mut self, program: &Path) -> Self {
        self.program = Some(program.to_owned());
        self
    }

    /// `--store`. Default: `memory`.
    pub fn store(mut self, store: &str) -> Self {
        self.store = Some(store.to_owned());
        self
    }

    /// Without `--store`: what config.toml records, or what the first start chooses.
    pub fn without_store_flag(mut self) -> Self {
        self.store = None;
        self
    }

    /// How much it logs. Default: `trace`, where secrets would show first; a gigabyte body then makes two of log.
    pub fn log_level(self, level: &str) -> Self {
        self.env("REGAUTH_LOG", level)
    }

    /// One more argument.
    pub fn arg(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Runs below a program that executes its arguments, such as `prlimit --nofile=64:64`.
    pub fn wrapped_in(mut self, words: &[impl AsRef<str>]) -> Self {
        self.under = words.iter().map(|word| word.as_ref().to_owned()).collect();
        self
    }

    /// `--listen`. Default: a free port of 127.0.0.1.
    pub fn listen(mut self, address: &str) -> Self {
        address.clone_into(&mut self.listen);
        self
    }

    /// Started by a service manager, which hears what the daemon says and holds these sockets of its home.
    pub fn service_manager(mut self, sockets: fn(&mut FakeServiceManager, &Path)) -> Self {
        self.managed = Some(sockets);
        self
    }

    /// The same with both sockets, as a unit has them.
    pub fn socket_activated(self) -> Self {
        self.service_manager(|manager, home| {
            manager.port("proxy", "127.0.0.1:0");
            manager.control("control", home, 0o600);
        })
    }

    /// One more environment variable, such as `DBUS_SESSION_BUS_ADDRESS`.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// A file that reaches the limit that `prlimit --fsize` sets is an error of the write, as a full disk is, and not a
    /// signal that ends the process.
    pub fn ignore_file_size_signal(self) -> Self {
        self.wrapped_in(&["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
    }

    /// Writes this `config.toml` before the first start. Without it, the daemon makes its home itself.
    pub fn config(mut self, text: &str) -> Self {
        self.config = Some(text.to_owned());
        self
    }

    /// Starts it and waits until `regauthctl status` answers.
    ///
    /// # Panics
    /// With its log, when it does not get that far.
    pub fn start(self) -> Daemon {
        let folder = TempDir::new().unwrap();
        let (home, log) = (folder.path().join("home"), folder.path().join("regauthd.log"));
        self.prepare(&home);
        let manager = self.manager(folder.path(), &home);
        let (process, status) = self.launch(&home, &log, &self.listen, manager.as_ref());
        Daemon {
            process,
            leaving: Vec::new(),
            status,
            manager,
            confidences: Mutex::new(self.confidences()),
            builder: self,
            home,
            _folder: folder,
        }
    }

    /// Starts it on the home of another one, which is ending.
    ///
    /// # Panics
    /// With its log, when it does not get that far.
    pub fn start_on_home_of(self, other: &Daemon) -> Daemon {
        let folder = TempDir::new().unwrap();
        let (home, log) = (other.home.clone(), folder.path().join("regauthd.log"));
        let (process, status) = self.launch(&home, &log, &self.listen, None);
        Daemon {
            process,
            leaving: Vec::new(),
            status,
            manager: None,
            confidences: Mutex::new(self.confidences()),
            builder: self,
            home,
            _folder: folder,
        }
    }

    /// Runs it below `home` until it ends by itself, for starts that should be refused.
    pub fn run(self, home: &Path) -> Output {
        self.prepare(home);
        let folder = TempDir::new().unwrap();
        let manager = self.manager(folder.path(), home);
        exec::run(&mut self.command(home, &self.listen, manager.as_ref()))
    }

    fn manager(&self, folder: &Path, home: &Path) -> Option<FakeServiceManager> {
        let sockets = self.managed?;
        DirBuilder::new().recursive(true).mode(0o700).create(home).unwrap();
        let mut manager = FakeServiceManager::new(folder);
        sockets(&mut manager, home);
        Some(manager)
    }

    /// The secrets in its environment.
    fn confidences(&self) -> Confidences {
        let mut confidences = Confidences::default();
        let is_secret = |name: &str| name.contains("TOKEN") || name.contains("PASSPHRASE");
        let secret = self.environment.iter().filter(|(name, _)| is_secret(name));
        secret.for_each(|(_, value)| confidences.remember(value));
        confidences
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
        let mut daemon = match self.under.split_first() {
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

/// A running daemon. Its log is kept at trace and shown when the test fails.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    leaving: Vec<Process>,
    status: Value,
    manager: Option<FakeServiceManager>,
    confidences: Mutex<Confidences>,
    builder: Builder,
    home: PathBuf,
    _folder: TempDir,
}

/// What it was told in secret, and what was heard from it since.
#[derive(Debug, Default)]
struct Confidences {
    secrets: BTreeSet<String>,
    answers: String,
}

impl Confidences {
    fn remember(&mut self, secret: &str) {
        if secret.len() >= leak_scan::SHORTEST {
            self.secrets.insert(secret.to_owned());
        }
    }

    /// What was asked, and what came of it. The answer to `grant` tells a secret, once.
    fn note(&mut self, input: &str, ctl: &Ctl) {
        input.lines().for_each(|secret| self.remember(secret));
        if let Some(token) = ctl.json["proxy"].as_str().and_then(|url| url.split(['@', ':']).nth(2)) {
            self.remember(token);
        } else {
            self.answers.extend([&*ctl.output.stdout, &*ctl.output.stderr]);
        }
    }
}

impl Daemon {
    /// How a daemon is started.
    pub fn builder() -> Builder {
        Builder {
            program: None,
            under: Vec::new(),
            listen: "127.0.0.1:0".to_owned(),
            store: Some("memory".to_owned()),
            config: None,
            arguments: Vec::new(),
            environment: Vec::new(),
            managed: None,
        }
    }

    /// A daemon with secrets in memory.
    pub fn start() -> Self {
        Self::builder().start()
    }

    /// The proxy's URL for clients.
    pub fn proxy(&self) -> String {
        self.said("proxy").to_owned()
    }

    /// The bundle that clients trust.
    pub fn bundle(&self) -> PathBuf {
        PathBuf::from(self.said("bundle"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its home. The log is not in it.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// Everything it has logged, restarts included.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// `regauthctl --json` with these arguments.
    pub fn ctl(&self, arguments: &[&str]) -> Ctl {
        self.ctl_with_input(arguments, "")
    }

    /// The same with `input`, such as a token, on its stdin.
    pub fn ctl_with_input(&self, arguments: &[&str], input: &str) -> Ctl {
        let ctl = Ctl::run(&self.home, arguments, input);
        self.confide(|confidences| confidences.note(input, &ctl));
        ctl
    }

    /// A secret that it comes by on a way of its own, such as a command.
    pub fn register_secret(&self, secret: &str) {
        self.confide(|confidences| confidences.remember(secret));
    }

    fn confide(&self, what: impl FnOnce(&mut Confidences)) {
        what(&mut self.confidences.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Adds a registry by its index, with its root, its scheme and the token it was started with.
    ///
    /// # Panics
    /// With regauthctl's words, when that fails.
    #[track_caller]
    pub fn add(&self, name: &str, registry: &Registry) -> Ctl {
        self.add_with(name, registry, &[])
    }

    /// The same with more arguments, such as `--scope`.
    ///
    /// # Panics
    /// With regauthctl's words, when that fails.
    #[track_caller]
    pub fn add_with(&self, name: &str, registry: &Registry, more: &[&str]) -> Ctl {
        let index = registry.index();
        let place = [&["--index", &index], more].concat();
        self.try_add(name, &place, registry.scheme(), &registry.ca(), registry.token())
            .succeeds()
    }

    /// Adds a git host by its scope, likewise.
    ///
    /// # Panics
    /// With regauthctl's words, when that fails.
    #[track_caller]
    pub fn add_git(&self, name: &str, host: &GitServer) -> Ctl {
        let place = ["--kind", "git", "--scope", &host.scope()];
        self.try_add(name, &place, host.scheme(), &host.ca(), host.token())
            .succeeds()
    }

    /// Adds what `place` says, such as `--index URL`, with any token.
    pub fn try_add(&self, name: &str, place: &[&str], scheme: &Scheme, ca: &Path, token: &str) -> Ctl {
        let scheme = scheme_arguments(scheme);
        let scheme: Vec<&str> = scheme.iter().map(String::as_str).collect();
        let first = ["add-registry", name, "--token-stdin", "--ca-file", ca.to_str().unwrap()];
        self.ctl_with_input(&[&first, place, &scheme].concat(), token)
    }

    /// Replaces a registry's token.
    pub fn rotate(&self, name: &str, token: &str) -> Ctl {
        self.ctl_with_input(&["rotate", name, "--token-stdin"], token)
    }

    /// SIGTERM, and its exit status.
    pub fn stop(&mut self) -> ExitStatus {
        self.process.stop()
    }

    /// Waits until it ends without being told here, and its exit status.
    ///
    /// # Panics
    /// With its log, when it goes on.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = poll::within(poll::TIMEOUT, || self.process.ended());
        ended.unwrap_or_else(|| panic!("regauthd has not ended; its log:\n{}", self.log()))
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts it again on the same home and port and waits for nothing. It must have been stopped.
    pub fn start_again(&mut self) {
        let log = self.process.log_file().to_owned();
        let listen = self.said("listen").to_owned();
        self.process = self.builder.spawn(&self.home, &log, &listen, self.manager.as_ref());
    }

    /// Starts it again on the same home and port. One that still runs is stopped first.
    pub fn restart(&mut self) {
        self.process.stop();
        let listen = self.said("listen").to_owned();
        let log = self.process.log_file().to_owned();
        (self.process, self.status) = self.builder.launch(&self.home, &log, &listen, self.manager.as_ref());
    }

    /// SIGTERM, and another one at once on the same sockets, while this one still drains. [`Daemon::left`] waits for it.
    ///
    /// # Panics
    /// With its log, when the other one does not get that far.
    pub fn replace(&mut self) {
        self.process.signal(Signal::TERM);
        let (home, log) = (self.home.clone(), self.process.log_file().to_owned());
        let (next, status) = self.builder.launch(&home, &log, "127.0.0.1:0", self.manager.as_ref());
        self.leaving.push(std::mem::replace(&mut self.process, next));
        self.status = status;
    }

    /// Waits for those that were replaced, and their exit statuses.
    ///
    /// # Panics
    /// With its log, when one goes on.
    pub fn wait_for_replaced(&mut self) -> Vec<ExitStatus> {
        let mut leaving = std::mem::take(&mut self.leaving);
        let ended = leaving.iter_mut().map(|process| {
            let ended = poll::within(poll::TIMEOUT, || process.ended());
            ended.unwrap_or_else(|| panic!("a replaced regauthd goes on; its log:\n{}", process.log()))
        });
        ended.collect()
    }

    /// What the service manager has heard.
    ///
    /// # Panics
    /// When there is none.
    pub fn notifications(&self) -> Vec<String> {
        self.manager.as_ref().unwrap().notifications()
    }

    /// A signal.
    pub fn signal(&self, signal: Signal) {
        self.process.signal(signal);
    }

    /// Its memory now.
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

    /// The processor time that it has taken so far.
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

    fn said(&self, field: &str) -> &str {
        self.status[field]
            .as_str()
            .unwrap_or_else(|| panic!("status has no {field}: {}", self.status))
    }
}

/// A test that has failed already has enough to say.
impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() || self.process.terminate(poll::TIMEOUT).is_none() {
            return;
        }
        let (home, log) = (self.home.clone(), self.log());
        self.confide(|Confidences { secrets, answers }| {
            for secret in &*secrets {
                LeakScan::new(secret)
                    .scan("an answer", &*answers)
                    .scan("the log", &log)
                    .scan_folder(&home, &[])
                    .assert_clean();
            }
        });
    }
}

/// A process's memory in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// The most that ever was.
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
