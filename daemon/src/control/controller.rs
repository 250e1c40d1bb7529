//! The one place that changes what is served: configuration, ledger, store, authorities and routes together.
//!
//! What it works on is here; what it does stands with its objects, each in a file beside this one: [`books`](crate::control::state),
//! [`services`](crate::control::state::apply), [`authorities`](crate::control::state::authorities), [`files`](crate::control::state::persist), and what happens without being
//! asked for, [`unfinished`](crate::control::state::recovery) and [`upkeep`](crate::control::maintenance).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;
use regauth_shared::response::Sockets;
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::sync::MutexGuard;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::config::Config;
use crate::control::state::{Snapshot, State, StateLock};
use crate::control::stores::Stores;
use crate::credential::source::environment::Environment;
use crate::credential::store::select::OpenStore;
use crate::logs::Logs;
use crate::proxy::downstream::worker::ProxyState;
use crate::service;

/// What the verbs work on.
#[derive(Debug)]
pub(crate) struct Controller {
    /// Where the files are.
    pub(crate) folders: Folders,
    /// The configuration file; not always in the folders.
    pub(crate) config_file: PathBuf,
    /// What the workers share.
    pub(crate) proxy: Arc<ProxyState>,
    /// How many workers there are; the control side has the pool after theirs.
    pub(crate) workers: usize,
    /// The configuration that the daemon started with; some of it stays until the next start.
    pub(crate) at_start: Config,
    /// The system's roots, as they were last read.
    pub(crate) system_roots: ArcSwap<Vec<CertificateDer<'static>>>,
    /// Who made the listeners.
    pub(crate) sockets: Sockets,
    /// How much is logged.
    pub(crate) logs: Logs,
    /// When the daemon started.
    pub(crate) started: OffsetDateTime,
    /// Cancelled to end the daemon.
    pub(crate) stop: CancellationToken,
    /// How long that may take.
    pub(crate) drain_timeout: Duration,
    /// Whether the configuration and the ledger are written: not by `--ephemeral`.
    pub(crate) persistent: bool,
    /// Tokens that were in the environment when the daemon started.
    pub(crate) environment: Environment,
    /// The tasks that renew credentials.
    pub(crate) refreshers: TaskTracker,
    /// What keeps the secrets.
    pub(crate) stores: Stores,
    /// What is in service.
    pub(crate) state: StateLock,
}

impl Controller {
    /// Brings the configured registries into service: finishes or undoes what a kill interrupted, loads secrets and
    /// authorities, publishes the routes, writes the bundle.
    ///
    /// A store that is locked or silent does not stop it: those registries answer `store-locked` until it opens.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub(crate) async fn open(&self, config: &Config) -> Result<(), ErrorBody> {
        let mut state = self.lock_state().await?;
        self.apply_config(&mut state, config).await?;
        self.finish_pending(&mut state).await?;
        self.settle_move(&mut state).await;
        self.publish(&state);
        Ok(())
    }

    /// Reads the configuration and the certificates again, as SIGHUP asks.
    ///
    /// # Errors
    /// When the file has errors; what was in service stays.
    pub(crate) async fn reload(&self) -> Result<(), ErrorBody> {
        crate::control::verbs::lifecycle::reload(self).await.map(drop)
    }

    /// What keeps the secrets.
    pub(super) fn store(&self) -> Arc<OpenStore> {
        self.stores.present()
    }

    /// The books, for one verb at a time.
    ///
    /// # Errors
    /// When the daemon ends: whatever is changed now is changed by the next one.
    pub(super) async fn lock_state(&self) -> Result<MutexGuard<'_, State>, ErrorBody> {
        self.state.take().await
    }

    /// What was last published.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.state.snapshot()
    }

    /// Waits for the verb that is under way; after it, nothing is written any more.
    pub(crate) async fn close(&self) {
        if let Ok(mut state) = self.lock_state().await {
            self.note(&mut state);
            state.close();
        }
    }

    /// Which pool of upstream connections the control side uses.
    pub(crate) fn pool(&self) -> usize {
        self.workers
    }

    /// What `systemctl status` shows.
    fn in_a_line(&self, state: &State) -> String {
        let store = self.store().kind.as_str();
        let trouble = state.store_trouble.as_ref();
        let trouble = trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"));
        match state.registries.len() {
            1 => format!("1 registry, store: {store}{trouble}"),
            many => format!("{many} registries, store: {store}{trouble}"),
        }
    }

    /// Puts what the books say in front of the requests, and of those who look.
    pub(crate) fn publish(&self, state: &State) {
        service::status(&self.in_a_line(state));
        self.state.publish(state);
        self.proxy.routes.store(Arc::new(state.routes()));
    }
}
