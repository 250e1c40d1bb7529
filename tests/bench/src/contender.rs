//! One way to the registry: straight, through a regauthd, or through a peer.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use regauth_tests::auth_gate::Scheme;
use regauth_tests::daemon::{Builder, Daemon};
use regauth_tests::process::Process;

use crate::arguments::Binary;
use crate::origin::{self, Origin};

/// A way to the registry, ready to be used.
#[derive(Debug)]
pub(crate) struct Contender {
    /// Its column's head.
    pub name: String,
    /// What its clients trust.
    pub roots: PathBuf,
    /// How many workers a regauthd was told to have.
    pub workers: Option<u16>,
    /// Whether its clients may speak HTTP/2.
    pub speaks_h2: bool,
    way: Way,
}

#[derive(Debug)]
enum Way {
    Straight,
    Regauth(Box<Daemon>),
    Peer { proxy: String, process: Process },
}

impl Contender {
    /// No proxy.
    pub(crate) fn direct(origin: &Origin) -> Self {
        Self {
            name: DIRECT.to_owned(),
            roots: origin.roots(),
            workers: None,
            speaks_h2: true,
            way: Way::Straight,
        }
    }

    /// A regauthd as people run it: the registry added by its index, writes allowed, logs at their usual level.
    pub(crate) fn regauth(binary: &Binary, origin: &Origin) -> Self {
        Self::start(Daemon::builder(), binary, origin)
    }

    /// The same with so many workers.
    pub(crate) fn with_workers(binary: &Binary, origin: &Origin, number: u16) -> Self {
        let builder = Daemon::builder().arg(&format!("--workers={number}"));
        Self {
            workers: Some(number),
            ..Self::start(builder, binary, origin)
        }
    }

    fn start(builder: Builder, binary: &Binary, origin: &Origin) -> Self {
        let daemon = builder.program(&binary.path).store("vault").log_level("info").start();
        let contender = Self {
            name: binary.label.clone(),
            roots: daemon.bundle(),
            workers: None,
            speaks_h2: true,
            way: Way::Regauth(Box::new(daemon)),
        };
        contender.add(REGISTRY, &origin.authority(), &origin.roots());
        contender
    }

    /// Another proxy, which listens already.
    pub(crate) fn peer(name: &str, proxy: String, roots: PathBuf, process: Process) -> Self {
        Self {
            name: name.to_owned(),
            roots,
            workers: None,
            speaks_h2: true,
            way: Way::Peer { proxy, process },
        }
    }

    /// Whether it is somebody else's, whose failures are not ours.
    pub(crate) fn is_peer(&self) -> bool {
        matches!(self.way, Way::Peer { .. })
    }

    /// The same, known to speak HTTP/1.1 alone.
    pub(crate) fn without_h2(self) -> Self {
        Self {
            speaks_h2: false,
            ..self
        }
    }

    /// Tells a regauthd of one more registry; the others need no telling.
    pub(crate) fn add(&self, name: &str, authority: &str, ca: &Path) {
        let Way::Regauth(daemon) = &self.way else { return };
        let section = format!("https://{authority}/{}/", origin::GUARDED);
        let index = format!("sparse+{section}index/");
        let place = ["--index", &index, "--scope", &section, "--writes", "allow"];
        let token = format!("{}0", origin::TOKEN);
        daemon.try_add(name, &place, &Scheme::bearer(), ca, &token).succeeds();
    }

    /// Starts a regauthd again with its state, and says when it did; it may not listen yet. The others go on.
    pub(crate) fn restart(&mut self) -> Instant {
        if let Way::Regauth(daemon) = &mut self.way {
            daemon.stop();
            let begin = Instant::now();
            daemon.start_again();
            return begin;
        }
        Instant::now()
    }

    /// Waits until the proxy answers a CONNECT.
    pub(crate) fn until_ready(&self) {
        let Some(proxy) = self.proxy() else { return };
        let address = proxy.trim_start_matches("http://");
        let mut stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break stream,
                Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionRefused, "{}", self.name),
            }
            thread::sleep(STEP);
        };
        stream
            .write_all(b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost:1\r\n\r\n")
            .unwrap();
        stream.read_exact(&mut [0; 9]).unwrap();
    }

    /// The section of the registry that it asks: only a proxy has a token.
    pub(crate) fn section(&self) -> &'static str {
        match self.way {
            Way::Straight => origin::OPEN,
            Way::Regauth(_) | Way::Peer { .. } => origin::GUARDED,
        }
    }

    /// The proxy's URL.
    pub(crate) fn proxy(&self) -> Option<String> {
        match &self.way {
            Way::Straight => None,
            Way::Regauth(daemon) => Some(daemon.proxy()),
            Way::Peer { proxy, .. } => Some(proxy.clone()),
        }
    }

    /// The process that is between, leader of its group.
    pub(crate) fn pid(&self) -> Option<u32> {
        match &self.way {
            Way::Straight => None,
            Way::Regauth(daemon) => Some(daemon.pid()),
            Way::Peer { process, .. } => Some(process.pid()),
        }
    }

    /// The daemon, when it is one.
    pub(crate) fn daemon(&self) -> Option<&Daemon> {
        match &self.way {
            Way::Regauth(daemon) => Some(daemon),
            Way::Straight | Way::Peer { .. } => None,
        }
    }
}

/// What a regauthd calls the registry.
pub(crate) const REGISTRY: &str = "corp";

/// The column of no proxy.
pub(crate) const DIRECT: &str = "direct";

const STEP: Duration = Duration::from_micros(100);
