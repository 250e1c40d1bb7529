//! Testbed of all groups: the registry, the programs, and the order in which the candidates are measured.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use regauth_tests::programs;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;
use tempfile::TempDir;

use crate::arguments::{Arguments, Binary, Comparison};
use crate::candidate::Candidate;
use crate::deadline::StepDeadline;
use crate::groups::Group;
use crate::haproxy::HaProxy;
use crate::other_proxies::OtherProxy;
use crate::registry::TestRegistry;
use crate::tools;

/// Registry, programs and settings of a run.
#[derive(Debug)]
pub(crate) struct Testbed {
    /// Registry of all candidates.
    pub registry: TestRegistry,
    /// Path of the load generator.
    pub oha: PathBuf,
    /// Duration of each load.
    pub duration: Duration,
    /// Number of HTTP/2 connections of a load.
    pub h2_connections: u16,
    /// regauthd programs to measure.
    pub binaries: Vec<Binary>,
    /// Divisor for large numbers of requests and bytes: 1, or 100 with `--quick`.
    pub divisor: u64,
    /// Number of times each value is measured.
    pub rounds: usize,
    direct: bool,
    other_proxies: Vec<OtherProxy>,
    haproxies: Vec<HaProxy>,
    deadline: StepDeadline,
    folder: TempDir,
    interrupted: Arc<AtomicBool>,
}

impl Testbed {
    /// Builds the programs and starts the registry.
    ///
    /// # Errors
    /// A program cannot be built.
    pub(crate) fn prepare(arguments: &Arguments) -> anyhow::Result<Self> {
        let binaries = binaries(arguments)?;
        let divisor = if arguments.quick { 100 } else { 1 };
        Ok(Self {
            oha: tools::oha()?,
            other_proxies: other_proxies(arguments)?,
            haproxies: haproxies(arguments),
            direct: arguments.includes(Comparison::Direct),
            binaries,
            registry: TestRegistry::start(LARGE_FILE_SIZE / divisor),
            duration: arguments.duration(),
            divisor,
            rounds: arguments.rounds(),
            h2_connections: arguments.h2_connections,
            folder: TempDir::new()?,
            interrupted: interruption()?,
            // After the builds, which may take longer than any step.
            deadline: StepDeadline::watch(),
        })
    }

    /// Starts all candidates.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let direct = self.direct.then(|| Candidate::direct(&self.registry));
        direct.into_iter().chain(self.proxies()).collect()
    }

    /// Starts every proxy: the other proxies, then the regauthds.
    pub(crate) fn proxies(&self) -> impl Iterator<Item = Candidate> {
        let others = self.other_proxies.iter();
        let started = others.map(|proxy| proxy.start(&self.registry, self.folder.path()));
        let haproxies = self.haproxies.iter();
        let haproxies = haproxies.map(|proxy| proxy.start(&self.registry, self.folder.path()));
        started.chain(haproxies).chain(self.daemons())
    }

    /// Starts the regauthds.
    pub(crate) fn daemons(&self) -> impl Iterator<Item = Candidate> {
        let binaries = self.binaries.iter();
        binaries.map(|binary| Candidate::regauthd(binary, &self.registry))
    }

    /// Names the step that begins. If it does not end before its deadline, the benchmark ends with that name.
    pub(crate) fn begin_step(&self, name: &str) {
        self.deadline.begin(name.to_owned());
    }

    /// Returns whether SIGINT or SIGTERM arrived. Callers then return, so that destructors stop every process.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// Measures every candidate once a round. Each round starts with another candidate, so that none always runs first.
    pub(crate) fn measure_in_turns(&self, candidates: &mut [Candidate], mut measure: impl FnMut(&mut Candidate)) {
        for round in 0..self.rounds {
            for turn in 0..candidates.len() {
                if self.is_interrupted() {
                    return;
                }
                let next = (round + turn) % candidates.len();
                let candidate = &mut candidates[next];
                let step = format!("round {} of {}: {}", round + 1, self.rounds, candidate.name);
                self.begin_step(&step);
                show_progress(&format!("  {step}"));
                measure(candidate);
            }
        }
        show_progress("");
    }
}

/// Flag that the first SIGINT or SIGTERM sets. The second signal exits at once.
fn interruption() -> io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        flag::register_conditional_shutdown(signal, 1, Arc::clone(&interrupted))?;
        flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

/// Replaces the progress line on a terminal.
fn show_progress(line: &str) {
    if io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}

/// regauthd programs to measure. The regauthctl of these sources configures all of them.
fn binaries(arguments: &Arguments) -> anyhow::Result<Vec<Binary>> {
    if !arguments.binaries.is_empty() {
        programs::use_those_in(&tools::release_build(&["regauthctl"])?);
        return Ok(arguments.binaries.clone());
    }
    let folder = tools::release_build(&["regauthd", "regauthctl"])?;
    programs::use_those_in(&folder);
    Ok(vec![Binary {
        label: "regauthd".to_owned(),
        path: folder.join("regauthd"),
    }])
}

fn other_proxies(arguments: &Arguments) -> anyhow::Result<Vec<OtherProxy>> {
    let mut proxies = Vec::new();
    if !arguments.groups().into_iter().any(Group::includes_other_proxies) {
        return Ok(proxies);
    }
    if arguments.includes(Comparison::Hudsucker) {
        proxies.push(OtherProxy::hudsucker()?);
    }
    if arguments.includes(Comparison::Mitmproxy) {
        proxies.extend(OtherProxy::mitmproxy());
    }
    if arguments.includes(Comparison::Squid) {
        proxies.extend(OtherProxy::squid());
    }
    Ok(proxies)
}

fn haproxies(arguments: &Arguments) -> Vec<HaProxy> {
    let mut groups = arguments.groups().into_iter();
    match arguments.includes(Comparison::Haproxy) && groups.any(Group::includes_other_proxies) {
        true => HaProxy::both(),
        false => Vec::new(),
    }
}

/// 1 GiB.
const LARGE_FILE_SIZE: u64 = 1 << 30;
