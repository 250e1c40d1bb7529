//! Starts everything in order, waits for the end, and drains.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use regauth_shared::ErrorBody;
use regauth_shared::paths::{Folders, NoHome};
use regauth_shared::response::{SocketOrigin, Sockets};
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::atomic;
use crate::authority::bundle;
use crate::config::{Config, ConfigFile, INITIAL, InvalidListen, Problems};
use crate::control::registrar::{Parts, Registrar};
use crate::control::server::{self, Visitors};
use crate::credential::StoreKind;
use crate::credential::environment::Environment;
use crate::credential::open;
use crate::grant::Grants;
use crate::home::{self, HomeError, Lock};
use crate::ledger::Ledger;
use crate::logs::Logs;
use crate::proxy::accept;
use crate::proxy::census::Census;
use crate::proxy::dial::Dialer;
use crate::proxy::peer::Peers;
use crate::proxy::upstream::{Trust, TrustError, Upstream};
use crate::proxy::worker::{Counters, Plane, Workers};
use crate::registry::Source;
use crate::service;
use crate::sockets::{self, Passed, PassedError};
use crate::state::StateError;

/// What the command line says.
#[derive(Debug, Default)]
pub struct Options {
    /// Everything below one folder.
    pub home: Option<PathBuf>,
    /// Another configuration file.
    pub config: Option<PathBuf>,
    /// Overrides `listen`.
    pub listen: Option<SocketAddr>,
    /// Which store, where none is recorded yet.
    pub store: Option<StoreKind>,
    /// Secrets in memory, nothing written but the bundle and the socket.
    pub ephemeral: bool,
    /// Ends when whoever started it does: nobody waits for a long drain.
    pub until_eof: bool,
    /// Tokens that were taken from the environment; those that [`variables`] names.
    pub environment: Environment,
    /// How much is logged.
    pub logs: Logs,
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    registrar: Arc<Registrar>,
    listener: TcpListener,
    workers: Workers,
    control: UnixListener,
    visitors: Visitors,
    belongings: Belongings,
}

/// What only one daemon of a home can have. Given up when it ends, before its last connections have.
#[derive(Debug)]
struct Belongings {
    files: Vec<PathBuf>,
    _lock: Lock,
}

impl Drop for Belongings {
    fn drop(&mut self) {
        // The lock goes last: what lies there now is ours and not yet another daemon's.
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Daemon {
    /// Reads what is remembered and configured, takes the folders, opens the store and both listeners, where they were
    /// not passed. When this returns, clients can connect.
    ///
    /// # Errors
    /// [`StartError`], each with what to do.
    pub async fn start(options: Options, passed: Passed) -> Result<Self, StartError> {
        // Hundreds of files as a rule: read while all else gets ready.
        let system_roots = tokio::task::spawn_blocking(bundle::system_roots_or_warn);
        let folders = Folders::resolve(options.home.as_deref(), |name| std::env::var_os(name))?;
        let (sockets, visitors) = (passed.origins(), visitors(&passed));
        home::prepare(&folders, visitors == Visitors::Group)?;
        let lock = take_lock(&folders).await?;
        let Remembered { ledger, grants } = remembered(&folders, options.ephemeral)?;
        let config_file = options.config.clone().unwrap_or_else(|| folders.config_file());
        let config = read_config(&config_file, options.ephemeral)?;
        passed.check_control(&[folders.socket(), Folders::of_the_system().socket()])?;
        let (listener, listen) = listen(passed.proxy, &options, &config).await?;
        let control = sockets::control(passed.control, &folders.socket())
            .map_err(|error| StartError::Socket(folders.socket(), error))?;
        let belongings = belongings(&folders, sockets, lock, options.ephemeral);
        let store = open::open(&folders, &options, &config).await?;
        record_store(&config_file, &config, store.kind, options.ephemeral)?;
        let system_roots = system_roots.await.map_err(|error| StartError::Threads(error.into()))?;
        let number = Workers::usual_number();
        let plane = Arc::new(plane(&config, grants, listen, &system_roots, number)?);
        let workers = Workers::start(number, &plane).map_err(StartError::Threads)?;
        let parts = Parts {
            folders,
            config_file,
            plane,
            workers: number,
            store,
            at_start: config.clone(),
            system_roots,
            sockets,
            logs: options.logs,
            stop: CancellationToken::new(),
            drain_timeout: drain_timeout(options.until_eof, &config),
            persistent: !options.ephemeral,
            environment: options.environment,
        };
        let registrar = Registrar::open(parts, &config, ledger).await;
        Ok(Self {
            registrar: Arc::new(registrar.map_err(StartError::Registries)?),
            listener,
            workers,
            control,
            visitors,
            belongings,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.registrar.plane.listen
    }

    /// Cancelled, it ends the daemon as SIGTERM does.
    pub fn stop(&self) -> CancellationToken {
        self.registrar.stop.clone()
    }

    /// Serves until SIGTERM, SIGINT or `regauthctl stop`, then drains: no new connections, requests in flight finish, at
    /// most for `drain-timeout` or until the next signal.
    ///
    /// # Errors
    /// When signals cannot be handled.
    pub async fn run(self) -> io::Result<()> {
        let plane = Arc::clone(&self.registrar.plane);
        let background = TaskTracker::new();
        let end = CancellationToken::new();
        let conversations = TaskTracker::new();
        background.spawn(service::be_alive(self.workers.pulse(), end.clone()));
        background.spawn(server::serve(
            self.control,
            self.visitors,
            Arc::clone(&self.registrar),
            conversations.clone(),
            end.clone(),
        ));
        background.spawn(accept::accept(self.listener, self.workers, plane.drain.clone()));
        background.spawn(retry_store(Arc::clone(&self.registrar), end.clone()));
        background.spawn(tidy(Arc::clone(&self.registrar), end.clone()));
        background.spawn(notice_resumption(Arc::clone(&self.registrar), end.clone()));

        let mut signals = Signals::new()?;
        tracing::info!(listen = %plane.listen, "ready");
        service::ready();
        signals.wait_for_the_end(&self.registrar).await;
        tracing::info!(connections = plane.counters.connections(), "draining");
        service::stopping(&plane);
        plane.drain.cancel();
        plane.tasks.close();
        let registrar = Arc::clone(&self.registrar);
        // Another daemon may start while our last connections finish.
        let given_up = async move {
            registrar.close().await;
            drop(self.belongings);
        };
        let cut = tokio::select! {
            ((), ()) = async { tokio::join!(plane.tasks.wait(), given_up) } => None,
            () = tokio::time::sleep(self.registrar.drain_timeout) => Some("the drain timeout has passed, cutting the rest"),
            () = signals.end() => Some("asked to end again, cutting the rest"),
        };
        if let Some(why) = cut {
            tracing::warn!(connections = plane.counters.connections(), why);
        }
        conversations.close();
        let _ = tokio::time::timeout(LAST_WORDS, conversations.wait()).await;
        end.cancel();
        Ok(())
    }
}

/// Nobody waits for a daemon that ends with what started it.
fn drain_timeout(until_eof: bool, config: &Config) -> Duration {
    if until_eof { LAST_WORDS } else { config.drain_timeout }
}

/// A daemon that has just been asked to end needs a moment to give the home up.
async fn take_lock(folders: &Folders) -> Result<Lock, HomeError> {
    let deadline = Instant::now() + TAKEN;
    loop {
        match Lock::take(folders) {
            Err(HomeError::Taken { .. }) if Instant::now() < deadline => tokio::time::sleep(TAKEN / 20).await,
            other => return other,
        }
    }
}

fn visitors(passed: &Passed) -> Visitors {
    if passed.is_for_a_group() {
        Visitors::Group
    } else {
        Visitors::Owner
    }
}

/// Our own socket, and the bundles of a daemon that keeps nothing. A passed socket is not ours to remove.
fn belongings(folders: &Folders, sockets: Sockets, lock: Lock, ephemeral: bool) -> Belongings {
    let socket = (sockets.control == SocketOrigin::Own).then(|| folders.socket());
    let bundles = ephemeral.then(|| [folders.bundle(), folders.java_trust_store()]);
    Belongings {
        files: socket.into_iter().chain(bundles.into_iter().flatten()).collect(),
        _lock: lock,
    }
}

struct Remembered {
    ledger: Ledger,
    grants: Grants,
}

/// Reads the files of ours; older forms are moved on once all of them are understood.
fn remembered(folders: &Folders, ephemeral: bool) -> Result<Remembered, StartError> {
    if ephemeral {
        return Ok(Remembered {
            ledger: Ledger::default(),
            grants: Grants::default(),
        });
    }
    let (ledger_file, grants_file) = (folders.ledger(), folders.grants());
    let (ledger, old_ledger) = Ledger::read(&ledger_file)?;
    let (grants, old_grants) = Grants::read(&grants_file)?;
    if let Some(old) = old_ledger {
        let moved = old.keep().and_then(|()| ledger.write(&ledger_file));
        moved.map_err(|error| StateError::Unreadable(ledger_file, error))?;
    }
    if let Some(old) = old_grants {
        let moved = old.keep().and_then(|()| grants.write(&grants_file));
        moved.map_err(|error| StateError::Unreadable(grants_file, error))?;
    }
    Ok(Remembered { ledger, grants })
}

async fn listen(
    passed: Option<std::net::TcpListener>,
    options: &Options,
    config: &Config,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let asked = options.listen.unwrap_or(config.listen);
    let passed_at = passed.as_ref().and_then(|listener| listener.local_addr().ok());
    config.clients.may_listen(passed_at.unwrap_or(asked))?;
    let failed = |error| StartError::Listen { asked, error };
    let listener = sockets::proxy(passed, asked).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

pub(crate) fn plane(
    config: &Config,
    grants: Grants,
    listen: SocketAddr,
    roots: &[CertificateDer<'static>],
    workers: usize,
) -> Result<Plane, StartError> {
    let dialer = Dialer::new(&config.upstream, listen);
    let guarded_dialer = dialer.guarded();
    let trust = Trust::new(roots, None, None)?;
    Ok(Plane {
        routes: arc_swap::ArcSwap::default(),
        strangers: Upstream::new(&dialer, trust.clone(), workers)?,
        dialer,
        clients: config.clients,
        peers: Peers::new(),
        grants: arc_swap::ArcSwap::from_pointee(grants),
        census: Census::default(),
        guarded_strangers: Upstream::new(&guarded_dialer, trust, workers)?,
        guarded_dialer,
        listen,
        drain: CancellationToken::new(),
        tasks: TaskTracker::new(),
        counters: Counters::default(),
    })
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Until somebody wants the daemon to end; reloads until then.
    async fn wait_for_the_end(&mut self, registrar: &Registrar) {
        loop {
            tokio::select! {
                () = registrar.stop.cancelled() => return,
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => {}
            }
            if let Err(error) = registrar.reload().await {
                tracing::error!("not reloaded: {}", error.message);
            }
        }
    }

    /// Until a signal asks the daemon to end.
    async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn retry_store(registrar: Arc<Registrar>, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {
                registrar.retry_store().await;
                registrar.retry_other_store().await;
            }
        }
    }
}

/// A machine that was asleep has connections to registries that nobody remembers but we: the first request on such a one
/// would wait for an answer until it gives up. The wall clock goes on in sleep, the monotonic one stands still
/// (clock_gettime(2)); a clock that was set is taken for sleep, which costs a handshake.
async fn notice_resumption(registrar: Arc<Registrar>, end: CancellationToken) {
    let now = || (Instant::now(), SystemTime::now());
    let mut before = now();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = now();
        if was_asleep(before, now) {
            tracing::info!("the machine was asleep; connections to registries are made anew");
            registrar.renew_connections();
        }
        before = now;
    }
}

fn was_asleep(before: (Instant, SystemTime), now: (Instant, SystemTime)) -> bool {
    // A clock that was set back tells nothing.
    let passed = now.1.duration_since(before.1).unwrap_or_default();
    passed > now.0.duration_since(before.0) + ASLEEP
}

/// What has to be looked at every second.
async fn tidy(registrar: Arc<Registrar>, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(REST) => {
                registrar.rest_guards();
                registrar.note_generations();
            }
        }
    }
}

/// The environment variables that the configuration names as sources. A configuration that cannot be read names none: the
/// start is going to say what is wrong with it.
pub fn variables(options: &Options) -> Vec<String> {
    let folders = Folders::resolve(options.home.as_deref(), |name| std::env::var_os(name)).ok();
    let file = options.config.clone().or_else(|| Some(folders?.config_file()));
    let text = file.and_then(|file| std::fs::read_to_string(file).ok());
    let config = text.and_then(|text| Config::read(&text).ok()).unwrap_or_default();
    let sources = config.registries.into_values().map(|registry| registry.source);
    let variable = |source| match source {
        Source::Environment(variable) => Some(variable),
        _ => None,
    };
    let names: BTreeSet<String> = sources.filter_map(variable).collect();
    names.into_iter().collect()
}

fn read_config(file: &Path, ephemeral: bool) -> Result<Config, StartError> {
    let unusable = |error| StartError::ConfigFile(file.to_path_buf(), error);
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !ephemeral {
                atomic::write(file, INITIAL.as_bytes(), 0o600).map_err(unusable)?;
            }
            INITIAL.to_owned()
        }
        Err(error) => return Err(unusable(error)),
    };
    home::check_file(file)?;
    Config::read(&text).map_err(|problems| StartError::Config(file.to_path_buf(), problems))
}

/// The choice of the first start stays until a person changes it.
fn record_store(file: &Path, config: &Config, kind: StoreKind, ephemeral: bool) -> Result<(), StartError> {
    if ephemeral || config.store.is_some() {
        return Ok(());
    }
    let unusable = |error| StartError::ConfigFile(file.to_path_buf(), error);
    let text = std::fs::read_to_string(file).map_err(unusable)?;
    let mut document = ConfigFile::parse(&text).map_err(|problems| StartError::Config(file.to_path_buf(), problems))?;
    document.set_store(kind);
    atomic::write(file, document.to_string().as_bytes(), 0o600).map_err(unusable)
}

/// Why the daemon did not start. Each message says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no place for the files.
    #[error(transparent)]
    NoHome(#[from] NoHome),
    /// The folders cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The configuration file cannot be read or written.
    #[error("cannot use {}: {}; mend it, or choose another with --config", .0.display(), .1)]
    ConfigFile(PathBuf, io::Error),
    /// The configuration has errors.
    #[error("{} has errors:\n{}\ncorrect them and start again", .0.display(), .1)]
    Config(PathBuf, Problems),
    /// What was remembered cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// What the service manager passed cannot be used.
    #[error(transparent)]
    Passed(#[from] PassedError),
    /// Other machines could connect without a grant.
    #[error(transparent)]
    BeyondLoopback(#[from] InvalidListen),
    /// The port is taken, or the address not ours.
    #[error("cannot listen on {asked}: {error}; choose another with --listen, port 0 picks a free one")]
    Listen {
        /// The address.
        asked: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The control socket cannot be made.
    #[error("cannot make the control socket {}: {}; {}", .0.display(), .1, if .1.kind() == io::ErrorKind::InvalidInput {
        "choose a shorter folder with --home"
    } else {
        "move away what is there"
    })]
    Socket(PathBuf, io::Error),
    /// The store that was asked for is not the recorded one.
    #[error(
        "the secrets are in the {recorded}, as config.toml records; start without --store, or change `store` there"
    )]
    OtherStore {
        /// The recorded store.
        recorded: &'static str,
    },
    /// The vault cannot be used.
    #[error("the vault cannot be used: {0}")]
    Vault(String),
    /// The system's roots cannot be used.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// No thread for a worker.
    #[error("cannot start the worker threads: {0}")]
    Threads(io::Error),
    /// A configured registry cannot be brought into service.
    #[error("{}; {}", .0.message, .0.hint.as_deref().unwrap_or("correct config.toml and start again"))]
    Registries(ErrorBody),
}

/// How long another daemon may take to give up the home.
const TAKEN: Duration = Duration::from_secs(1);
/// How often the clocks are compared.
const LOOK: Duration = Duration::from_secs(5);
/// What they may differ by without sleep: clocks are adjusted.
const ASLEEP: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_secs(5);
/// A generation that was not accepted for so long has to prove itself again; the numbers of new ones are noted as often.
const REST: Duration = Duration::from_secs(1);
/// How long conversations on the control socket may take to end after the drain.
const LAST_WORDS: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_what_only_the_wall_clock_has_seen() {
        let before = (Instant::now(), SystemTime::now());
        let later = |awake, wall| {
            let [awake, wall] = [awake, wall].map(Duration::from_secs);
            was_asleep(before, (before.0 + awake, before.1 + wall))
        };
        assert!(!later(5, 5));
        assert!(!later(600, 601), "a machine that was busy");
        assert!(later(5, 3600));
        assert!(!was_asleep(
            before,
            (before.0 + LOOK, before.1 - Duration::from_secs(3600))
        ));
    }
}
