//! Life of the daemon: start in order, serve, drain, end.

mod check;
mod error;
mod exclusive_files;
mod files;
mod options;
mod parts;
mod signals;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use regauth_shared::event::EventKind;
use regauth_shared::paths::Folders;
use time::OffsetDateTime;
use tokio::net::UnixListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::check::check;
pub use self::error::StartError;
use self::exclusive_files::ExclusiveFiles;
use self::files::{PersistedState, read_config, read_state};
pub use self::options::{Options, variables};
use self::parts::{check_exposure, corporate_network, drain_timeout, listen, open_store, with_clients_and_audit};
use self::signals::Signals;
use crate::audit;
use crate::authority::bundle;
use crate::control::config_watch;
use crate::control::controller::{Controller, SystemRoots};
use crate::control::maintenance;
use crate::control::metrics::{self, MetricsEndpoint};
#[cfg(target_os = "linux")]
use crate::control::notifications;
use crate::control::presence::Confirmation;
use crate::control::server::{self, ControlClients};
use crate::control::state::stores::Stores;
use crate::control::token_check;
use crate::control::verbs::lifecycle;
use crate::events::collector;
use crate::file_watch::FileWatcher;
use crate::inherited_sockets::InheritedSockets;
use crate::proxy::downstream::accept::{self, Listeners, Workers};
use crate::proxy::state::ProxyState;
use crate::service;

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    controller: Arc<Controller>,
    listeners: Listeners,
    workers: Workers,
    control: UnixListener,
    exclusive: ExclusiveFiles,
}

impl Daemon {
    /// Locks the folders, reads journal, grants and configuration, binds the listeners that were not inherited, opens
    /// the store and starts the workers. Clients can connect when this returns.
    ///
    /// # Errors
    /// [`StartError`], each with what to do.
    pub async fn start(options: Options, inherited: InheritedSockets) -> Result<Self, StartError> {
        // Often hundreds of files, so they are read in parallel with the rest of the start.
        let roots = tokio::task::spawn_blocking(bundle::system_roots_or_warn);
        let folders = Folders::resolve(options.home.as_deref(), |name| std::env::var_os(name))?;
        let (sockets, control_clients) = (inherited.origins(), ControlClients::of(&inherited, &options)?);
        let mut exclusive = ExclusiveFiles::take(&folders, &options, &control_clients).await?;
        let PersistedState { state, grants } = read_state(&folders, options.ephemeral)?;
        let (config_file, config) = read_config(&folders, options.config.clone(), options.ephemeral)?;
        check_exposure(&inherited, &folders, &control_clients, &config)?;
        let (listeners, listen, tls) = listen([inherited.proxy, inherited.proxy_tls], &options, &config).await?;
        let (proxies, company_roots) = corporate_network(&config, listen)?;
        let control = exclusive.control_socket(inherited.control, &folders, &control_clients)?;
        let store = open_store(&folders, &config_file, &options, &config).await?;
        let roots = roots.await.map_err(|error| StartError::Threads(error.into()))?;
        let number = options.workers.unwrap_or_else(Workers::usual_number);
        let proxy = ProxyState::new(&config, proxies, grants, listen, &company_roots.with(&roots), number)?;
        let proxy = with_clients_and_audit(proxy.with_tls(tls), &folders, &options, &config, &control_clients)?;
        let workers = Workers::start(number, &proxy).map_err(StartError::Threads)?;
        let controller = Arc::new(Controller {
            folders,
            config_file,
            proxy,
            workers: number,
            at_start: config.clone(),
            system_roots: ArcSwap::from_pointee(SystemRoots::new(roots)),
            company_roots: ArcSwap::from_pointee(company_roots),
            reload_error: ArcSwapOption::empty(),
            control_clients,
            confirmation: Confirmation::new(config.presence),
            sockets,
            metrics: MetricsEndpoint::new(workers.liveness()),
            logs: options.logs,
            started: OffsetDateTime::now_utc(),
            stop: CancellationToken::new(),
            drain_timeout: drain_timeout(options.until_eof, &config),
            persistent: !options.ephemeral,
            environment: options.environment,
            file_watcher: FileWatcher::new(),
            refreshers: TaskTracker::new(),
            stores: Stores::new(store),
            state,
        });
        (lifecycle::start(&controller, &config).await).map_err(StartError::Registries)?;
        Ok(Self {
            controller,
            listeners,
            workers,
            control,
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
    /// requests in flight finish. The drain ends after `drain-timeout` or at the next signal. A login whose refresh is under
    /// way may prolong it to 25 s.
    ///
    /// # Errors
    /// Signals cannot be handled.
    pub async fn run(self) -> io::Result<()> {
        let proxy = Arc::clone(&self.controller.proxy);
        let background = TaskTracker::new();
        let end = CancellationToken::new();
        let control_tasks = TaskTracker::new();
        background.spawn(service::watchdog(self.workers.liveness(), end.clone()));
        #[cfg(target_os = "linux")]
        notify_desktop(&self.controller, &background);
        background.spawn(server::serve(
            self.control,
            Arc::clone(&self.controller),
            control_tasks.clone(),
            end.clone(),
        ));
        background.spawn(accept::accept(self.listeners, self.workers, proxy.drain.clone()));
        maintain(&self.controller, &background, &end);
        let events_end = CancellationToken::new();
        background.spawn(collector::collect(Arc::clone(&proxy.events), events_end.clone()));

        let recorder = recorder(&proxy);
        let mut signals = Signals::new()?;
        let tls = proxy.listen_tls.map(tracing::field::display);
        tracing::info!(listen = %proxy.listen, tls, "ready");
        proxy.events.start();
        service::ready();
        signals.wait_for_stop(&self.controller, &control_tasks).await;
        leave(&self.controller, &mut signals).await;
        tracing::info!(connections = proxy.counters.connections(), "draining");
        service::stopping(&proxy);
        proxy.events.announce(EventKind::Stopping);
        proxy.drain.cancel();
        proxy.tasks.close();
        // The next daemon may start while the last connections of this one finish.
        let deadline = Instant::now() + self.controller.drain_timeout;
        let release = release(Arc::clone(&self.controller), self.exclusive, deadline);
        let drained = async {
            if tokio::time::timeout_at(deadline, proxy.tasks.wait()).await.is_err() {
                warn_about_cut_connections(&proxy, "drain timeout passed");
            }
        };
        tokio::select! {
            ((), ()) = async { tokio::join!(drained, release) } => {}
            () = signals.terminated() => warn_about_cut_connections(&proxy, "second signal"),
        }
        // Viewers get the last events, then the end.
        events_end.cancel();
        control_tasks.close();
        let _ = tokio::time::timeout(CONTROL_DRAIN_TIMEOUT, control_tasks.wait()).await;
        recorder.wait().await;
        end.cancel();
        Ok(())
    }
}

/// Makes `/readyz` false and waits for `drain-delay`, while connections are still accepted: load balancers need a moment to
/// notice. A second signal ends the wait.
async fn leave(controller: &Controller, signals: &mut Signals) {
    controller.stop.cancel();
    let delay = controller.at_start.drain_delay;
    if !delay.is_zero() {
        tracing::info!(seconds = delay.as_secs(), "waiting before the drain");
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = signals.terminated() => {}
        }
    }
}

/// Releases the exclusive files once nothing is written any more. The drain's deadline does not cut the refresh of a login
/// short, which would lose the login.
async fn release(controller: Arc<Controller>, exclusive: ExclusiveFiles, deadline: Instant) {
    lifecycle::finish_refreshes(&controller).await;
    let deadline = deadline.max(Instant::now() + CONTROL_DRAIN_TIMEOUT);
    let _ = tokio::time::timeout_at(deadline, lifecycle::close(&controller)).await;
    drop(exclusive);
}

/// Task that writes the audit record to the last event.
fn recorder(proxy: &Arc<ProxyState>) -> TaskTracker {
    let recorder = TaskTracker::new();
    recorder.spawn(audit::follow(proxy));
    recorder.close();
    recorder
}

fn warn_about_cut_connections(proxy: &ProxyState, reason: &str) {
    tracing::warn!(
        connections = proxy.counters.connections(),
        reason,
        "closed connections before they finished"
    );
}

/// Starts the tasks of the control side that run without a request.
fn maintain(controller: &Arc<Controller>, tasks: &TaskTracker, end: &CancellationToken) {
    tasks.spawn(maintenance::retry_stores(Arc::clone(controller), end.clone()));
    tasks.spawn(maintenance::tidy(Arc::clone(controller), end.clone()));
    tasks.spawn(token_check::serve(Arc::clone(controller), end.clone()));
    tasks.spawn(metrics::serve(Arc::clone(controller), end.clone()));
    tasks.spawn(maintenance::watch_for_sleep(Arc::clone(controller), end.clone()));
    tasks.spawn(config_watch::follow(Arc::clone(controller), end.clone()));
    let (controller, end) = (Arc::clone(controller), end.clone());
    tasks.spawn(async move {
        let (proxy, watcher) = (&controller.proxy, &controller.file_watcher);
        let certificate = async {
            if let Some(certificate) = &proxy.certificate {
                certificate.follow_files(watcher, end.clone()).await;
            }
        };
        let revoked = async {
            if let Some(grants) = &proxy.signed_grants {
                grants.follow_file(watcher, end.clone()).await;
            }
        };
        tokio::join!(watcher.run(end.clone()), certificate, revoked);
    });
}

/// Starts the desktop notifications, unless they are turned off or this daemon serves no desktop: the machine's daemon, whose
/// control socket is for a group or for several users, and an ephemeral one, whose tokens no command replaces. They end with the drain, since
/// the next daemon owns their file then.
#[cfg(target_os = "linux")]
fn notify_desktop(controller: &Arc<Controller>, tasks: &TaskTracker) {
    let is_of_a_desktop = controller.control_clients == ControlClients::Owner;
    if controller.at_start.notify && controller.persistent && is_of_a_desktop {
        let drain = controller.proxy.drain.clone();
        tasks.spawn(notifications::serve(Arc::clone(controller), drain));
    }
}

/// Time after the drain for requests on the control socket to finish.
const CONTROL_DRAIN_TIMEOUT: Duration = Duration::from_millis(300);
