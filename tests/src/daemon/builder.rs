//! Options of a daemon under test, and its start.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use serde_json::Value;
use tempfile::TempDir;

use super::{Daemon, ScanTargets};
use crate::ctl::Ctl;
use crate::exec::{self, Output};
use crate::fake_service_manager::FakeServiceManager;
use crate::process::Process;
use crate::programs;

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
    pub(super) fn new() -> Self {
        Self {
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

    pub(super) fn launch(
        &self,
        home: &Path,
        log: &Path,
        listen: &str,
        manager: Option<&FakeServiceManager>,
    ) -> (Process, Value) {
        let mut process = self.spawn(home, log, listen, manager);
        let status = process.wait_until("regauthctl status", || {
            let answer = Ctl::run(home, &["status"], "");
            answer.succeeded().then_some(answer.json)
        });
        (process, status)
    }

    pub(super) fn spawn(&self, home: &Path, log: &Path, listen: &str, manager: Option<&FakeServiceManager>) -> Process {
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
