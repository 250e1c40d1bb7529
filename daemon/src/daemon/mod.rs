//! Starts everything in order, waits for the end, and drains.

mod error;
mod files;
mod options;
mod signals;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use regauth_shared::paths::Folders;
use regauth_shared::response::{SocketOrigin, Sockets};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::error::StartError;
use self::files::{Remembered, read_config, record_store, remembered};
pub use self::options::{Options, variables};
use self::signals::Signals;
use crate::authority::bundle;
use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::maintenance;
use crate::control::server::{self, ControlClients};
use crate::control::state::StateLock;
use crate::control::state::stores::Stores;
use crate::control::verbs::lifecycle;
use crate::credential::store::StoreKind;
use crate::credential::store::select::{self, OpenStore, OtherStore};
use crate::grant::Grants;
use crate::home::{self, Lock};
use crate::inherited_sockets::{self, InheritedSockets};
use crate::proxy::downstream::accept;
use crate::proxy::downstream::limits::ConnectionLimits;
use crate::proxy::downstream::peer::Peers;
use crate::proxy::downstream::worker::{Counters, ProxyState, Workers};
use crate::proxy::upstream::dial::Dialer;
use crate::proxy::upstream::{Trust, Upstream};
use crate::service;

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    controller: Arc<Controller>,
    listener: TcpListener,
    workers: Workers,
    control: UnixListener,
    visitors: ControlClients,
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
    pub async fn start(options: Options, passed: InheritedSockets) -> Result<Self, StartError> {
        // Hundreds of files as a rule: read while all else gets ready.
        let system_roots = tokio::task::spawn_blocking(bundle::system_roots_or_warn);
        let folders = Folders::resolve(options.home.as_deref(), |name| std::env::var_os(name))?;
        let (sockets, visitors) = (passed.origins(), ControlClients::of(&passed));
        home::prepare(&folders, visitors == ControlClients::Group)?;
        let lock = Lock::take_over(&folders).await?;
        let Remembered { ledger, grants } = remembered(&folders, options.ephemeral)?;
        let config_file = options.config.clone().unwrap_or_else(|| folders.config_file());
        let config = read_config(&config_file, options.ephemeral)?;
        passed.check_control(&[folders.socket(), Folders::of_the_system().socket()])?;
        let (listener, listen) = listen(passed.proxy, &options, &config).await?;
        let control = inherited_sockets::control(passed.control, &folders.socket())
            .map_err(|error| StartError::Socket(folders.socket(), error))?;
        let belongings = belongings(&folders, sockets, lock, options.ephemeral);
        let store = store(&folders, &options, &config).await?;
        record_store(&config_file, &config, store.kind, options.ephemeral)?;
        let system_roots = system_roots.await.map_err(|error| StartError::Threads(error.into()))?;
        let number = options.workers.unwrap_or_else(Workers::usual_number);
        let plane = Arc::new(plane(&config, grants, listen, &system_roots, number)?);
        let workers = Workers::start(number, &plane).map_err(StartError::Threads)?;
        let controller = Arc::new(Controller {
            folders,
            config_file,
            proxy: plane,
            workers: number,
            at_start: config.clone(),
            system_roots: ArcSwap::from_pointee(system_roots),
            sockets,
            logs: options.logs,
            started: OffsetDateTime::now_utc(),
            stop: CancellationToken::new(),
            drain_timeout: drain_timeout(options.until_eof, &config),
            persistent: !options.ephemeral,
            environment: options.environment,
            refreshers: TaskTracker::new(),
            stores: Stores::new(store),
            state: StateLock::new(ledger),
        });
        lifecycle::start(&controller, &config)
            .await
            .map_err(StartError::Registries)?;
        Ok(Self {
            controller,
            listener,
            workers,
            control,
            visitors,
            belongings,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.controller.proxy.listen
    }

    /// Cancelled, it ends the daemon as SIGTERM does.
    pub fn stop(&self) -> CancellationToken {
        self.controller.stop.clone()
    }

    /// Serves until SIGTERM, SIGINT or `regauthctl stop`, then drains: no new connections, requests in flight finish, at
    /// most for `drain-timeout` or until the next signal.
    ///
    /// # Errors
    /// When signals cannot be handled.
    pub async fn run(self) -> io::Result<()> {
        let plane = Arc::clone(&self.controller.proxy);
        let background = TaskTracker::new();
        let end = CancellationToken::new();
        let conversations = TaskTracker::new();
        background.spawn(service::watchdog(self.workers.pulse(), end.clone()));
        background.spawn(server::serve(
            self.control,
            self.visitors,
            Arc::clone(&self.controller),
            conversations.clone(),
            end.clone(),
        ));
        background.spawn(accept::accept(self.listener, self.workers, plane.drain.clone()));
        background.spawn(maintenance::retry_stores(Arc::clone(&self.controller), end.clone()));
        background.spawn(maintenance::tidy(Arc::clone(&self.controller), end.clone()));
        background.spawn(maintenance::watch_for_sleep(Arc::clone(&self.controller), end.clone()));

        let mut signals = Signals::new()?;
        tracing::info!(listen = %plane.listen, "ready");
        service::ready();
        signals.wait_for_the_end(&self.controller).await;
        tracing::info!(connections = plane.counters.connections(), "draining");
        service::stopping(&plane);
        plane.drain.cancel();
        plane.tasks.close();
        let controller = Arc::clone(&self.controller);
        // Another daemon may start while our last connections finish.
        let given_up = async move {
            lifecycle::close(&controller).await;
            drop(self.belongings);
        };
        let cut = tokio::select! {
            ((), ()) = async { tokio::join!(plane.tasks.wait(), given_up) } => None,
            () = tokio::time::sleep(self.controller.drain_timeout) => Some("the drain timeout has passed, cutting the rest"),
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

/// Our own socket, and the bundles of a daemon that keeps nothing. A passed socket is not ours to remove.
fn belongings(folders: &Folders, sockets: Sockets, lock: Lock, ephemeral: bool) -> Belongings {
    let socket = (sockets.control == SocketOrigin::Own).then(|| folders.socket());
    let bundles = ephemeral.then(|| [folders.bundle(), folders.java_trust_store()]);
    Belongings {
        files: socket.into_iter().chain(bundles.into_iter().flatten()).collect(),
        _lock: lock,
    }
}

async fn store(folders: &Folders, options: &Options, config: &Config) -> Result<OpenStore, OtherStore> {
    if options.ephemeral {
        return Ok(OpenStore::new(folders, StoreKind::Memory));
    }
    select::open(folders, config.store, options.store).await
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
    let listener = inherited_sockets::proxy(passed, asked).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

pub(crate) fn plane(
    config: &Config,
    grants: Grants,
    listen: SocketAddr,
    roots: &[CertificateDer<'static>],
    workers: usize,
) -> Result<ProxyState, StartError> {
    let dialer = Dialer::new(&config.upstream, listen);
    let public_only_dialer = dialer.guarded();
    let trust = Trust::new(roots, None, None)?;
    Ok(ProxyState {
        routes: ArcSwap::default(),
        strangers: Upstream::new(&dialer, trust.clone(), workers)?,
        dialer,
        clients: config.clients,
        peers: Peers::new(),
        grants: ArcSwap::from_pointee(grants),
        limits: ConnectionLimits::default(),
        public_only_passthrough: Upstream::new(&public_only_dialer, trust, workers)?,
        public_only_dialer,
        listen,
        drain: CancellationToken::new(),
        tasks: TaskTracker::new(),
        counters: Counters::default(),
    })
}

/// How long conversations on the control socket may take to end after the drain.
const LAST_WORDS: Duration = Duration::from_millis(300);
