//! Starts everything in order, waits for the end, and drains.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use regauth_shared::ErrorBody;
use regauth_shared::paths::{Folders, NoHome};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::atomic;
use crate::authority::bundle;
use crate::config::{Config, ConfigFile, INITIAL, InvalidListen, Problems};
use crate::control::registrar::{Parts, Registrar};
use crate::control::server;
use crate::credential::StoreKind;
use crate::credential::environment::Environment;
use crate::credential::open;
use crate::grant::Grants;
use crate::home::{self, HomeError, Lock};
use crate::ledger::{Ledger, LedgerError};
use crate::proxy::accept;
use crate::proxy::census::Census;
use crate::proxy::dial::Dialer;
use crate::proxy::peer::Peers;
use crate::proxy::upstream::{Trust, TrustError, Upstream};
use crate::proxy::worker::{Counters, Plane, Workers};
use crate::registry::Source;

/// What the command line says.
#[derive(Clone, Debug, Default)]
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
}

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    registrar: Arc<Registrar>,
    listener: TcpListener,
    workers: Workers,
    control: tokio::net::UnixListener,
    drain_timeout: Duration,
    _lock: Lock,
}

impl Daemon {
    /// Reads the configuration, takes the folders, opens the store and binds both listeners. When this returns, clients
    /// can connect.
    ///
    /// # Errors
    /// [`StartError`], each with what to do.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        // Hundreds of files as a rule: read while all else gets ready.
        let system_roots = tokio::task::spawn_blocking(system_roots);
        let folders = Folders::resolve(options.home.as_deref(), |name| std::env::var_os(name))?;
        home::prepare(&folders)?;
        let lock = Lock::take(&folders)?;
        let config_file = options.config.clone().unwrap_or_else(|| folders.config_file());
        let config = read_config(&config_file, options.ephemeral)?;
        let ledger = if options.ephemeral {
            Ledger::default()
        } else {
            Ledger::read(&folders.ledger())?
        };
        let grants = read_grants(&folders.grants(), options.ephemeral)?;
        let (listener, listen) = listen(&options, &config).await?;
        let control = server::bind(&folders.socket()).map_err(|error| StartError::Socket(folders.socket(), error))?;
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
            stop: CancellationToken::new(),
            persistent: !options.ephemeral,
            environment: options.environment,
        };
        let registrar = Registrar::open(parts, &config, ledger).await;
        Ok(Self {
            registrar: Arc::new(registrar.map_err(StartError::Registries)?),
            listener,
            workers,
            control,
            drain_timeout: drain_timeout(options.until_eof, &config),
            _lock: lock,
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
        background.spawn(server::serve(
            self.control,
            Arc::clone(&self.registrar),
            conversations.clone(),
            end.clone(),
        ));
        background.spawn(accept::accept(self.listener, self.workers, plane.drain.clone()));
        background.spawn(retry_store(Arc::clone(&self.registrar), end.clone()));
        background.spawn(tidy(Arc::clone(&self.registrar), end.clone()));

        let mut signals = Signals::new()?;
        signals.wait_for_the_end(&self.registrar).await;
        tracing::info!(connections = plane.counters.connections(), "draining");
        plane.drain.cancel();
        plane.tasks.close();
        let cut = tokio::select! {
            () = plane.tasks.wait() => None,
            () = tokio::time::sleep(self.drain_timeout) => Some("the drain timeout has passed, cutting the rest"),
            () = signals.end() => Some("asked to end again, cutting the rest"),
        };
        if let Some(why) = cut {
            tracing::warn!(connections = plane.counters.connections(), why);
        }
        conversations.close();
        let _ = tokio::time::timeout(LAST_WORDS, conversations.wait()).await;
        end.cancel();
        self.registrar.note_generations();
        let _ = std::fs::remove_file(self.registrar.folders.socket());
        if !self.registrar.persistent {
            let _ = std::fs::remove_file(self.registrar.folders.bundle());
        }
        Ok(())
    }
}

/// Nobody waits for a daemon that ends with what started it.
fn drain_timeout(until_eof: bool, config: &Config) -> Duration {
    if until_eof { LAST_WORDS } else { config.drain_timeout }
}

async fn listen(options: &Options, config: &Config) -> Result<(TcpListener, SocketAddr), StartError> {
    let asked = options.listen.unwrap_or(config.listen);
    config.clients.may_listen(asked)?;
    let failed = |error| StartError::Listen { asked, error };
    let listener = TcpListener::bind(asked).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

fn system_roots() -> Vec<CertificateDer<'static>> {
    let (roots, problems) = bundle::system_roots();
    for problem in problems {
        tracing::warn!(problem, "the system's roots");
    }
    roots
}

fn read_grants(file: &Path, ephemeral: bool) -> Result<Grants, StartError> {
    if ephemeral {
        return Ok(Grants::default());
    }
    Grants::read(file).map_err(|error| StartError::Grants(file.to_path_buf(), error))
}

fn plane(
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
    Ledger(#[from] LedgerError),
    /// The grants cannot be used.
    #[error("cannot use {}: {}; restore it, or move it away: then grants must be made again", .0.display(), .1)]
    Grants(PathBuf, io::Error),
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

const RETRY: Duration = Duration::from_secs(5);
/// A generation that was not accepted for so long has to prove itself again; the numbers of new ones are noted as often.
const REST: Duration = Duration::from_secs(1);
/// How long conversations on the control socket may take to end after the drain.
const LAST_WORDS: Duration = Duration::from_millis(300);
