//! Life of the daemon: start in order, serve, drain, end.

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
use time::OffsetDateTime;
use tokio::net::{TcpListener, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::error::StartError;
use self::files::{PersistedState, read_config, read_state, record_store};
pub use self::options::{Options, variables};
use self::signals::Signals;
use crate::authority::bundle;
use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::maintenance;
use crate::control::server::{self, ControlClients};
use crate::control::state::stores::Stores;
use crate::control::verbs::lifecycle;
use crate::credential::store::StoreKind;
use crate::credential::store::select::{self, OpenStore, OtherStore};
use crate::home::{self, Lock};
use crate::inherited_sockets::{self, InheritedSockets};
use crate::proxy::downstream::accept::{self, Workers};
use crate::proxy::state::ProxyState;
use crate::service;

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    controller: Arc<Controller>,
    listener: TcpListener,
    workers: Workers,
    control: UnixListener,
    control_clients: ControlClients,
    exclusive: ExclusiveFiles,
}

/// Files that only one daemon of a home can have. Dropped at the start of the drain, so that the next daemon can start
/// while the last connections finish.
#[derive(Debug)]
struct ExclusiveFiles {
    files: Vec<PathBuf>,
    _lock: Lock,
}

impl Drop for ExclusiveFiles {
    fn drop(&mut self) {
        // The lock is released last. Until then no other daemon can have made these files.
        for file in &self.files {
            let _ = std::fs::remove_file(file);
        }
    }
}

impl Daemon {
    /// Locks the folders, reads journal, grants and configuration, binds the listeners that were not inherited, opens
    /// the store and starts the workers. Clients can connect when this returns.
    ///
    /// # Errors
    /// [`StartError`], each with what to do.
    pub async fn start(options: Options, inherited: InheritedSockets) -> Result<Self, StartError> {
        // Often hundreds of files, so they are read in parallel with the rest of the start.
        let system_roots = tokio::task::spawn_blocking(bundle::system_roots_or_warn);
        let folders = Folders::resolve(options.home.as_deref(), |name| std::env::var_os(name))?;
        let (sockets, control_clients) = (inherited.origins(), ControlClients::of(&inherited));
        home::prepare(&folders, control_clients == ControlClients::Group)?;
        let lock = Lock::take_over(&folders).await?;
        let PersistedState { state, grants } = read_state(&folders, options.ephemeral)?;
        let config_file = options.config.clone().unwrap_or_else(|| folders.config_file());
        let config = read_config(&config_file, options.ephemeral)?;
        inherited.check_control(&[folders.socket(), Folders::of_the_system().socket()])?;
        let (listener, listen) = listen(inherited.proxy, &options, &config).await?;
        let control = inherited_sockets::control(inherited.control, &folders.socket())
            .map_err(|error| StartError::Socket(folders.socket(), error))?;
        let exclusive = exclusive_files(&folders, sockets, lock, options.ephemeral);
        let store = open_store(&folders, &options, &config).await?;
        record_store(&config_file, &config, store.kind, options.ephemeral)?;
        let system_roots = system_roots.await.map_err(|error| StartError::Threads(error.into()))?;
        let number = options.workers.unwrap_or_else(Workers::usual_number);
        let proxy = Arc::new(ProxyState::new(&config, grants, listen, &system_roots, number)?);
        let workers = Workers::start(number, &proxy).map_err(StartError::Threads)?;
        let controller = Arc::new(Controller {
            folders,
            config_file,
            proxy,
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
            state,
        });
        lifecycle::start(&controller, &config)
            .await
            .map_err(StartError::Registries)?;
        Ok(Self {
            controller,
            listener,
            workers,
            control,
            control_clients,
            exclusive,
        })
    }

    /// Address of the proxy listener.
    pub fn address(&self) -> SocketAddr {
        self.controller.proxy.listen
    }

    /// Token that stops the daemon when cancelled, as SIGTERM does.
    pub fn stop(&self) -> CancellationToken {
        self.controller.stop.clone()
    }

    /// Serves until SIGTERM, SIGINT or `regauthctl stop`, then drains. While it drains, it accepts no connections, and
    /// requests in flight finish. The drain ends after `drain-timeout` or at the next signal.
    ///
    /// # Errors
    /// Signals cannot be handled.
    pub async fn run(self) -> io::Result<()> {
        let proxy = Arc::clone(&self.controller.proxy);
        let background = TaskTracker::new();
        let end = CancellationToken::new();
        let control_tasks = TaskTracker::new();
        background.spawn(service::watchdog(self.workers.liveness(), end.clone()));
        background.spawn(server::serve(
            self.control,
            self.control_clients,
            Arc::clone(&self.controller),
            control_tasks.clone(),
            end.clone(),
        ));
        background.spawn(accept::accept(self.listener, self.workers, proxy.drain.clone()));
        background.spawn(maintenance::retry_stores(Arc::clone(&self.controller), end.clone()));
        background.spawn(maintenance::tidy(Arc::clone(&self.controller), end.clone()));
        background.spawn(maintenance::watch_for_sleep(Arc::clone(&self.controller), end.clone()));

        let mut signals = Signals::new()?;
        tracing::info!(listen = %proxy.listen, "ready");
        service::ready();
        signals.wait_for_stop(&self.controller, &control_tasks).await;
        tracing::info!(connections = proxy.counters.connections(), "draining");
        service::stopping(&proxy);
        proxy.drain.cancel();
        proxy.tasks.close();
        let controller = Arc::clone(&self.controller);
        // The next daemon may start while the last connections of this one finish.
        let release = async move {
            lifecycle::close(&controller).await;
            drop(self.exclusive);
        };
        let interrupted = tokio::select! {
            ((), ()) = async { tokio::join!(proxy.tasks.wait(), release) } => None,
            () = tokio::time::sleep(self.controller.drain_timeout) => Some("drain timeout passed"),
            () = signals.terminated() => Some("second signal"),
        };
        if let Some(reason) = interrupted {
            tracing::warn!(
                connections = proxy.counters.connections(),
                reason,
                "closed connections before they finished"
            );
        }
        control_tasks.close();
        let _ = tokio::time::timeout(CONTROL_DRAIN_TIMEOUT, control_tasks.wait()).await;
        end.cancel();
        Ok(())
    }
}

/// Drain timeout. It is short if the daemon ends with the process that started it, because no client is left.
fn drain_timeout(until_eof: bool, config: &Config) -> Duration {
    if until_eof {
        UNTIL_EOF_DRAIN_TIMEOUT
    } else {
        config.drain_timeout
    }
}

/// Files to remove at the end: our own control socket, and the bundles of an ephemeral daemon. An inherited socket
/// stays.
fn exclusive_files(folders: &Folders, sockets: Sockets, lock: Lock, ephemeral: bool) -> ExclusiveFiles {
    let socket = (sockets.control == SocketOrigin::Own).then(|| folders.socket());
    let bundles = ephemeral.then(|| [folders.bundle(), folders.java_trust_store()]);
    ExclusiveFiles {
        files: socket.into_iter().chain(bundles.into_iter().flatten()).collect(),
        _lock: lock,
    }
}

async fn open_store(folders: &Folders, options: &Options, config: &Config) -> Result<OpenStore, OtherStore> {
    if options.ephemeral {
        return Ok(OpenStore::new(folders, StoreKind::Memory));
    }
    select::open(folders, config.store, options.store).await
}

async fn listen(
    inherited: Option<std::net::TcpListener>,
    options: &Options,
    config: &Config,
) -> Result<(TcpListener, SocketAddr), StartError> {
    let address = options.listen.unwrap_or(config.listen);
    let inherited_address = inherited.as_ref().and_then(|listener| listener.local_addr().ok());
    config.clients.check_listen(inherited_address.unwrap_or(address))?;
    let failed = |error| StartError::Listen { address, error };
    let listener = inherited_sockets::proxy(inherited, address).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Time after the drain for requests on the control socket to finish.
const CONTROL_DRAIN_TIMEOUT: Duration = Duration::from_millis(300);
const UNTIL_EOF_DRAIN_TIMEOUT: Duration = Duration::from_millis(300);
