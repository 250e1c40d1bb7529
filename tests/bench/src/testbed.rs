//! What all groups share: the registry, the programs, and the turns in which everybody is measured.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use regauth_tests::programs;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tempfile::TempDir;

use crate::arguments::{Arguments, Binary, Other};
use crate::contender::Contender;
use crate::groups::Group;
use crate::origin::Origin;
use crate::peers::Peer;
use crate::tools;

/// The registry and the programs.
#[derive(Debug)]
pub(crate) struct Stage {
    /// The registry.
    pub origin: Origin,
    /// The load generator.
    pub oha: PathBuf,
    /// How long a load lasts.
    pub duration: Duration,
    /// HTTP/2 connections of a load.
    pub h2_connections: u16,
    /// The regauthds.
    pub binaries: Vec<Binary>,
    /// What large numbers are divided by where nobody wants to wait.
    pub haste: u64,
    /// How often everything is measured.
    pub rounds: usize,
    direct: bool,
    peers: Vec<Peer>,
    folder: TempDir,
    interrupted: Arc<AtomicBool>,
}

impl Stage {
    /// Builds what is to be measured and starts the registry.
    ///
    /// # Errors
    /// When something cannot be built.
    pub(crate) fn set(arguments: &Arguments) -> anyhow::Result<Self> {
        let binaries = binaries(arguments)?;
        let haste = if arguments.quick { 100 } else { 1 };
        Ok(Self {
            oha: tools::oha()?,
            peers: peers(arguments)?,
            direct: arguments.has(Other::Direct),
            binaries,
            origin: Origin::start(LARGE / haste),
            duration: arguments.duration(),
            haste,
            rounds: arguments.rounds(),
            h2_connections: arguments.h2_connections,
            folder: TempDir::new()?,
            interrupted: interruption()?,
        })
    }

    /// Everybody, freshly started.
    pub(crate) fn contenders(&self) -> Vec<Contender> {
        let direct = self.direct.then(|| Contender::direct(&self.origin));
        direct.into_iter().chain(self.proxies()).collect()
    }

    /// Every proxy, freshly started.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = Contender> {
        let peers = self.peers.iter();
        let started = peers.map(|peer| peer.start(&self.origin, self.folder.path()));
        started.chain(self.regauths())
    }

    /// The regauthds alone, freshly started.
    pub(crate) fn regauths(&self) -> impl Iterator<Item = Contender> {
        let binaries = self.binaries.iter();
        binaries.map(|binary| Contender::regauth(binary, &self.origin))
    }

    /// Whether somebody wants an end. Every process is ended on the way out, which is why nobody just exits.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Lets everybody have a turn in every round, each round beginning with another one.
    pub(crate) fn in_turns(&self, contenders: &mut [Contender], mut measure: impl FnMut(&mut Contender)) {
        for round in 0..self.rounds {
            for turn in 0..contenders.len() {
                if self.is_interrupted() {
                    return;
                }
                let next = (round + turn) % contenders.len();
                let contender = &mut contenders[next];
                progress(&format!("  round {} of {}: {}", round + 1, self.rounds, contender.name));
                measure(contender);
            }
        }
        progress("");
    }
}

/// Set by the first signal that asks for an end; the second one gets it at once.
fn interruption() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&interrupted))?;
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

/// One line that is always the present one, for whoever sits there and waits.
fn progress(line: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}

/// What is to be measured; and everybody is told what to do by the regauthctl of these sources.
fn binaries(arguments: &Arguments) -> anyhow::Result<Vec<Binary>> {
    if !arguments.binaries.is_empty() {
        programs::use_those_in(&tools::released(&["regauthctl"])?);
        return Ok(arguments.binaries.clone());
    }
    let folder = tools::released(&["regauthd", "regauthctl"])?;
    programs::use_those_in(&folder);
    Ok(vec![Binary {
        label: "regauthd".to_owned(),
        path: folder.join("regauthd"),
    }])
}

fn peers(arguments: &Arguments) -> anyhow::Result<Vec<Peer>> {
    let mut peers = Vec::new();
    if !arguments.groups().into_iter().any(Group::has_peers) {
        return Ok(peers);
    }
    if arguments.has(Other::Hudsucker) {
        peers.push(Peer::hudsucker()?);
    }
    if arguments.has(Other::Mitmproxy) {
        peers.extend(Peer::mitmproxy());
    }
    if arguments.has(Other::Squid) {
        peers.extend(Peer::squid());
    }
    Ok(peers)
}

/// 1 GiB.
const LARGE: u64 = 1 << 30;
