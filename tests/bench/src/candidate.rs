//! One way to the registry: directly, through regauthd, or through another proxy.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::process::Process;

use crate::arguments::Binary;
use crate::registry::{self, TestRegistry};

/// One way to the registry, started and ready for requests.
#[derive(Debug)]
pub(crate) struct Candidate {
    /// Column header in the table.
    pub name: String,
    /// PEM file with the roots that clients trust.
    pub roots: PathBuf,
    /// Value of regauthd's `--workers`, if it was set.
    pub workers: Option<u16>,
    /// False if clients must use HTTP/1.1.
    pub supports_h2: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Direct,
    Regauthd(Box<Daemon>),
    OtherProxy { proxy: String, process: Process },
    InPlaceOfTheRegistry { authority: String, process: Process },
}

impl Candidate {
    /// Creates the candidate without a proxy.
    pub(crate) fn direct(registry: &TestRegistry) -> Self {
        Self {
            name: DIRECT.to_owned(),
            roots: registry.roots(),
            workers: None,
            supports_h2: true,
            kind: Kind::Direct,
        }
    }

    /// Starts regauthd as in production: the registry added by its index, writes allowed, log level `info`.
    pub(crate) fn regauthd(binary: &Binary, registry: &TestRegistry) -> Self {
        Self::start(Daemon::builder(), binary, registry)
    }

    /// Starts regauthd with a fixed number of workers.
    pub(crate) fn with_workers(binary: &Binary, registry: &TestRegistry, workers: u16) -> Self {
        let builder = Daemon::builder().arg(&format!("--workers={workers}"));
        Self {
            workers: Some(workers),
            ..Self::start(builder, binary, registry)
        }
    }

    /// Starts regauthd with lines of `config.toml`.
    pub(crate) fn with_config(binary: &Binary, registry: &TestRegistry, config: &str) -> Self {
        Self::start(Daemon::builder().config(config), binary, registry)
    }

    /// `REGAUTH_HOME` of a regauthd.
    pub(crate) fn home(&self) -> Option<&Path> {
        match &self.kind {
            Kind::Regauthd(daemon) => Some(daemon.home()),
            _ => None,
        }
    }

    /// URL of a regauthd's metrics, if it serves them.
    pub(crate) fn metrics_url(&self) -> Option<String> {
        match &self.kind {
            Kind::Regauthd(daemon) => daemon.ctl(&["status"]).json["metrics"].as_str().map(str::to_owned),
            _ => None,
        }
    }

    fn start(builder: Builder, binary: &Binary, registry: &TestRegistry) -> Self {
        let daemon = builder.program(&binary.path).store("vault").log_level("info").start();
        let candidate = Self::running(&binary.label, daemon);
        candidate.add_registry(REGISTRY, &registry.authority(), &registry.roots());
        candidate
    }

    /// Wraps a regauthd that already runs.
    pub(crate) fn running(label: &str, daemon: Daemon) -> Self {
        Self {
            name: label.to_owned(),
            roots: daemon.bundle(),
            workers: None,
            supports_h2: true,
            kind: Kind::Regauthd(Box::new(daemon)),
        }
    }

    /// Wraps another proxy that already listens.
    pub(crate) fn other_proxy(name: &str, proxy: String, roots: PathBuf, process: Process) -> Self {
        Self {
            name: name.to_owned(),
            roots,
            workers: None,
            supports_h2: true,
            kind: Kind::OtherProxy { proxy, process },
        }
    }

    /// Wraps a server that clients connect to in place of the registry.
    pub(crate) fn in_place_of_the_registry(
        name: &str,
        authority: String,
        registry: &TestRegistry,
        process: Process,
    ) -> Self {
        Self {
            name: name.to_owned(),
            roots: registry.roots(),
            workers: None,
            supports_h2: true,
            kind: Kind::InPlaceOfTheRegistry { authority, process },
        }
    }

    /// Host and port that clients connect to for the registry, through the proxy if there is one.
    pub(crate) fn authority(&self, registry: &TestRegistry) -> String {
        match &self.kind {
            Kind::InPlaceOfTheRegistry { authority, .. } => authority.clone(),
            _ => registry.authority(),
        }
    }

    /// Returns whether the candidate can serve any host: it is a proxy, or there is none.
    pub(crate) fn serves_any_host(&self) -> bool {
        !matches!(self.kind, Kind::InPlaceOfTheRegistry { .. })
    }

    /// Returns whether this is another proxy. The benchmark reports its failures and goes on.
    pub(crate) fn is_other_proxy(&self) -> bool {
        matches!(self.kind, Kind::OtherProxy { .. } | Kind::InPlaceOfTheRegistry { .. })
    }

    /// Restricts clients to HTTP/1.1.
    pub(crate) fn http1_only(self) -> Self {
        Self {
            supports_h2: false,
            ..self
        }
    }

    /// Adds a registry to regauthd. Other candidates need no configuration for it.
    pub(crate) fn add_registry(&self, name: &str, authority: &str, ca: &Path) {
        let Kind::Regauthd(daemon) = &self.kind else { return };
        let scope = format!("https://{authority}/{}/", registry::PROTECTED);
        let index = format!("sparse+{scope}index/");
        let options = ["--index", &index, "--scope", &scope, "--writes", "allow"];
        let token = format!("{}0", registry::TOKEN_PREFIX);
        daemon.try_add(name, &options, &Scheme::bearer(), ca, &token).succeeds();
    }

    /// Restarts regauthd with its state and returns the start time. The daemon may not listen yet. Other candidates go on.
    pub(crate) fn restart(&mut self) -> Instant {
        if let Kind::Regauthd(daemon) = &mut self.kind {
            daemon.stop();
            let begin = Instant::now();
            daemon.start_again();
            return begin;
        }
        Instant::now()
    }

    /// Waits until the proxy answers a CONNECT.
    pub(crate) fn wait_until_ready(&self) {
        let Some(proxy) = self.proxy() else { return };
        let address = proxy.trim_start_matches("http://");
        let begin = Instant::now();
        let mut stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{}", self.name),
            }
            assert!(begin.elapsed() < READY_LIMIT, "{} does not listen", self.name);
            thread::sleep(CONNECT_RETRY_INTERVAL);
        };
        stream.set_read_timeout(Some(READY_LIMIT)).unwrap();
        stream
            .write_all(b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n")
            .unwrap();
        stream.read_exact(&mut [0; 9]).unwrap();
    }

    /// Path prefix at the registry: clients without a proxy have no token, so they use the public files.
    pub(crate) fn path_prefix(&self) -> &'static str {
        match self.kind {
            Kind::Direct => registry::PUBLIC,
            Kind::Regauthd(_) | Kind::OtherProxy { .. } | Kind::InPlaceOfTheRegistry { .. } => registry::PROTECTED,
        }
    }

    /// URL of the proxy.
    pub(crate) fn proxy(&self) -> Option<String> {
        match &self.kind {
            Kind::Direct | Kind::InPlaceOfTheRegistry { .. } => None,
            Kind::Regauthd(daemon) => Some(daemon.proxy()),
            Kind::OtherProxy { proxy, .. } => Some(proxy.clone()),
        }
    }

    /// Process id of the proxy, which leads its own process group.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.kind {
            Kind::Direct => None,
            Kind::Regauthd(daemon) => Some(daemon.pid()),
            Kind::OtherProxy { process, .. } | Kind::InPlaceOfTheRegistry { process, .. } => Some(process.pid()),
        }
    }

    /// The daemon, if this candidate is regauthd.
    pub(crate) fn daemon(&self) -> Option<&Daemon> {
        match &self.kind {
            Kind::Regauthd(daemon) => Some(daemon),
            Kind::Direct | Kind::OtherProxy { .. } | Kind::InPlaceOfTheRegistry { .. } => None,
        }
    }
}

/// Name of the registry in regauthd's configuration.
pub(crate) const REGISTRY: &str = "corp";

/// Name of the candidate without a proxy.
pub(crate) const DIRECT: &str = "direct";

const READY_LIMIT: Duration = Duration::from_secs(60);
const CONNECT_RETRY_INTERVAL: Duration = Duration::from_micros(100);
