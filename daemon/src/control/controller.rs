//! The controller: files, stores, proxy and [`State`], everything that the verbs read and change.
//!
//! A verb locks the state, changes it together with the journal and the configuration file, and publishes the result.
//! Requests read the published routes; `list`, `show` and `status` read the published [`Snapshot`]. Operations on the
//! state that several verbs share are in [`state`](crate::control::state).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use regauth_shared::event::{EventKind, RegistryChange, StoreChange};
use regauth_shared::paths::Folders;
use regauth_shared::response::Sockets;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authority::company_roots::CompanyRoots;
use crate::config::{Config, ConfigFile, Problems};
use crate::control::error::{read_error, write_error};
use crate::control::metrics::MetricsEndpoint;
use crate::control::presence::Confirmation;
use crate::control::server::ControlClients;
use crate::control::state::stores::Stores;
use crate::control::state::{Snapshot, State, StateGuard, StateLock, ending};
use crate::credential::source::TokenSource;
use crate::credential::source::environment::Environment;
use crate::credential::source::exchange::Minter;
use crate::credential::source::token_client::TokenClient;
use crate::credential::store::select::OpenStore;
use crate::file_watch::FileWatcher;
use crate::journal::Journal;
use crate::logs::Logs;
use crate::proxy::state::ProxyState;
use crate::proxy::upstream::{Trust, Upstream};
use crate::registry::Registry;
use crate::{atomic, guarded, service};

/// The system's root certificates, for the bundle, and the trust in them, which registries share.
#[derive(Debug)]
pub(crate) struct SystemRoots {
    pub(super) certificates: Vec<CertificateDer<'static>>,
    pub(super) trust: Trust,
}

impl SystemRoots {
    /// Roots as they were read.
    pub(crate) fn new(certificates: Vec<CertificateDer<'static>>) -> Self {
        let trust = Trust::system(&certificates);
        Self { certificates, trust }
    }
}

/// Files, stores, proxy and state of one daemon.
#[derive(Debug)]
pub(crate) struct Controller {
    /// Folders of the daemon's files.
    pub(crate) folders: Folders,
    /// The configuration file; `--config` can place it outside the folders.
    pub(crate) config_file: PathBuf,
    /// State that the proxy's workers share.
    pub(crate) proxy: Arc<ProxyState>,
    /// Number of workers.
    pub(crate) workers: usize,
    /// The configuration that the daemon started with; some keys take effect only at a start.
    pub(crate) at_start: Config,
    /// The system's root certificates, as last read.
    pub(crate) system_roots: ArcSwap<SystemRoots>,
    /// Roots of the global `ca-file`, as last read.
    pub(crate) company_roots: ArcSwap<CompanyRoots>,
    /// Error of the last reload of a gateway's changed file, until one succeeds.
    pub(crate) reload_error: ArcSwapOption<ErrorBody>,
    /// Users that may use the control socket.
    pub(crate) control_clients: ControlClients,
    /// Questions to persons about requests that a program could send.
    pub(crate) confirmation: Confirmation,
    /// Origin of each listening socket: the daemon's own, or passed by the service manager.
    pub(crate) sockets: Sockets,
    /// HTTP endpoint of the metrics and of the daemon's health.
    pub(crate) metrics: MetricsEndpoint,
    /// The log's level.
    pub(crate) logs: Logs,
    /// Time of the daemon's start.
    pub(crate) started: OffsetDateTime,
    /// Cancelled to end the daemon.
    pub(crate) stop: CancellationToken,
    /// Longest time that the drain may take.
    pub(crate) drain_timeout: Duration,
    /// True if configuration, journal and grants are written to disk; false for `--ephemeral`.
    pub(crate) persistent: bool,
    /// Tokens that the environment held when the daemon started.
    pub(crate) environment: Environment,
    /// Reports changes of files that are read again.
    pub(crate) file_watcher: Arc<FileWatcher>,
    /// Tasks that refresh credentials and the keys of issuers.
    pub(crate) refreshers: TaskTracker,
    /// The store in use, and during a migration the other one.
    pub(crate) stores: Stores,
    /// Registries in service, journal and authorities.
    pub(crate) state: StateLock,
}

impl Controller {
    /// Locks the state for one verb.
    ///
    /// # Errors
    /// `unreachable` when the daemon is ending: the next daemon owns the files.
    pub(super) async fn lock_state(&self) -> Result<StateGuard<'_>, ErrorBody> {
        self.state.lock().await
    }

    /// Locks the state for a change. Changes take turns. They are the background retries, and verbs that add registries or
    /// scopes, set an upstream, apply a configuration or migrate secrets.
    ///
    /// # Errors
    /// As [`Controller::lock_state`].
    pub(super) async fn lock_for_change(&self) -> Result<StateGuard<'_>, ErrorBody> {
        self.state.lock_for_change().await
    }

    /// Waits for a registry or a source, unless the daemon begins to end. Must not be called under a lock.
    ///
    /// # Errors
    /// `unreachable` when the daemon is ending.
    pub(super) async fn unless_ending<T>(&self, work: impl Future<Output = T>) -> Result<T, ErrorBody> {
        tokio::select! {
            biased;
            () = self.proxy.drain.cancelled() => Err(ending()),
            result = work => Ok(result),
        }
    }

    /// The state as last published; takes no lock.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        self.state.snapshot()
    }

    /// Publishes the state: routes to the workers, a snapshot to the verbs that only read, a line to the service manager.
    pub(crate) fn publish(&self, state: &State) {
        service::status(&self.status_line(state));
        let before = self.snapshot();
        self.state.publish(state);
        self.announce_changes(&before, &self.snapshot());
        self.proxy.routes.store(Arc::new(state.routes()));
    }

    /// Announces an event to the viewers and the audit record.
    pub(super) fn announce(&self, event: EventKind) {
        self.proxy.events.announce(event);
    }

    /// Reports registries that were added, removed or changed, and a store that was opened or locked.
    fn announce_changes(&self, before: &Snapshot, now: &Snapshot) {
        let change = |name: &RegistryName| RegistryChange { registry: name.clone() };
        for (name, route) in &now.registries {
            match before.registries.get(name) {
                None => self.announce(EventKind::RegistryAdded(change(name))),
                Some(known) if known.configured() != route.configured() => {
                    self.announce(EventKind::RegistryChanged(change(name)));
                }
                Some(_) => {}
            }
        }
        let is_gone = |name: &&RegistryName| !now.registries.contains_key(*name);
        for name in before.registries.keys().filter(is_gone) {
            self.announce(EventKind::RegistryRemoved(change(name)));
        }
        let store = StoreChange {
            store: self.store().kind.as_str().to_owned(),
        };
        match (&before.store_error, &now.store_error) {
            (Some(_), None) => self.announce(EventKind::StoreOpened(store)),
            (None, Some(_)) => self.announce(EventKind::StoreLocked(store)),
            (None, None) | (Some(_), Some(_)) => {}
        }
    }

    /// One line for `systemctl status`.
    fn status_line(&self, state: &State) -> String {
        let store = self.store().kind.as_str();
        let error = state.store_error.as_ref();
        let error = error.map_or_else(String::new, |error| format!(" ({error})"));
        match state.registries.len() {
            1 => format!("1 registry, store: {store}{error}"),
            many => format!("{many} registries, store: {store}{error}"),
        }
    }

    /// The store that has the secrets.
    pub(super) fn store(&self) -> Arc<OpenStore> {
        self.stores.current()
    }

    /// The proxy's address for clients on this machine; loopback if the proxy listens on all addresses.
    pub(super) fn proxy_address(&self) -> SocketAddr {
        let listen = self.proxy.listen;
        let ip = match listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, listen.port())
    }

    /// Index of the control side's pool of upstream connections, which follows the workers' pools.
    pub(super) fn upstream_pool(&self) -> usize {
        self.workers
    }

    /// Checks what a configuration names, if the daemon is guarded.
    ///
    /// # Errors
    /// `refused` for a file or a port that a program of a served user can take.
    pub(super) fn check_config(&self, config: &Config) -> Result<(), ErrorBody> {
        match self.proxy.served.is_guarded() {
            true => guarded::check_config(config),
            false => Ok(()),
        }
    }

    /// Checks a new or changed registry as [`Controller::check_config`] does.
    ///
    /// # Errors
    /// As there.
    pub(super) fn check_registry(&self, registry: &Registry) -> Result<(), ErrorBody> {
        match self.proxy.served.is_guarded() {
            true => guarded::check_registry(registry),
            false => Ok(()),
        }
    }

    /// A verified upstream for a registry, with a pool for each worker and one for the control side.
    ///
    /// # Errors
    /// `invalid` when the registry's `ca-file` or client certificate cannot be used.
    pub(super) fn upstream(&self, name: &RegistryName, registry: &Registry) -> Result<Upstream, ErrorBody> {
        let system = self.system_roots.load();
        let trust = system.trust.for_registry(registry, registry.client_identity.clone());
        let upstream =
            trust.and_then(|trust| Upstream::new(&self.proxy.dialer.for_registries(), trust, self.workers + 1));
        upstream.map_err(|error| {
            ErrorBody::new(ErrorKind::Invalid, format!("registry `{name}`: {error}"))
                .hint("ca-file is a PEM file with the certificate of the authority that signed the registry's")
        })
    }

    /// The registries in service as a configuration, without edits to the file that were not read yet.
    pub(super) fn config_in_service(&self, state: &State) -> Config {
        let registries = state.registries.iter();
        Config {
            registries: registries
                .map(|(name, route)| (name.clone(), route.configured().clone()))
                .collect(),
            ..self.at_start.clone()
        }
    }
}

/// Sources of tokens.
impl Controller {
    /// The source that fetches a registry's token; `None` for the store and the environment, which give a token once.
    pub(super) fn token_source(&self, name: &RegistryName, registry: &Registry) -> Option<TokenSource> {
        TokenSource::of(&registry.source, &self.file_watcher, |mint| {
            let login = self.stores.secrets().secret(name.clone());
            Minter::new(
                mint.clone(),
                self.environment.clone(),
                self.token_client(registry),
                login,
            )
        })
    }

    /// Client for a registry's token services: verified with the registry's roots, and without its client certificate.
    /// If the registry's `ca-file` cannot be read, it asks no service.
    pub(super) fn token_client(&self, registry: &Registry) -> TokenClient {
        if registry.source.asks_metadata_server() {
            return TokenClient::for_metadata_server(&self.proxy.dialer);
        }
        let trust = self.system_roots.load().trust.for_registry(registry, None);
        TokenClient::new(
            &self.proxy.dialer.for_registries(),
            trust.unwrap_or_else(|_| Trust::nobody()),
        )
        .needing_tls(self.proxy.served.is_guarded())
    }
}

/// The files. An ephemeral daemon writes neither journal nor configuration.
///
/// A slow disk must not delay new connections, which this thread accepts. So files are written on another thread.
impl Controller {
    /// Writes the journal.
    ///
    /// # Errors
    /// `failed` when the file cannot be written, `unreachable` when the daemon is ending.
    pub(super) async fn write_journal(&self, journal: &Journal) -> Result<(), ErrorBody> {
        if !self.persistent {
            return Ok(());
        }
        let (file, journal) = (self.folders.journal(), journal.clone());
        self.write(&self.folders.journal(), move || journal.write(&file)).await
    }

    /// Writes a file on another thread.
    ///
    /// # Errors
    /// `failed` when the file cannot be written, `unreachable` when the daemon is ending.
    pub(super) async fn write(
        &self,
        file: &Path,
        write: impl FnOnce() -> io::Result<()> + Send + 'static,
    ) -> Result<(), ErrorBody> {
        self.state.check_open()?;
        let written = tokio::task::spawn_blocking(write).await;
        let written = written.unwrap_or_else(|error| Err(io::Error::other(error)));
        written.map_err(|error| write_error(file, &error))
    }

    /// The configuration as it is on disk now.
    ///
    /// # Errors
    /// `invalid` when the file has errors, `failed` when it cannot be read.
    pub(super) fn read_config(&self) -> Result<Config, ErrorBody> {
        self.read_config_text().map(|(_, config)| config)
    }

    /// Edits the configuration file as it is on disk now, and keeps a person's edits and comments. This write commits an
    /// addition, a removal or a migration.
    ///
    /// # Errors
    /// As [`Controller::read_config`]; `failed` when the edited file would not be valid or cannot be written.
    pub(super) async fn edit_config(&self, edit: impl FnOnce(&mut ConfigFile)) -> Result<(), ErrorBody> {
        if !self.persistent {
            return Ok(());
        }
        let file = &self.config_file;
        let (text, _) = self.read_config_text()?;
        let edited = {
            let mut document = ConfigFile::parse(&text).map_err(|problems| self.config_errors(&problems))?;
            edit(&mut document);
            document.to_string()
        };
        // The next start would refuse an invalid file.
        Config::read(&edited).map_err(|problems| {
            let message = format!("the change does not fit into {}:\n{problems}", file.display());
            ErrorBody::new(ErrorKind::Failed, message)
                .hint("run `regauthctl reload` to apply what was edited by hand; correct the file, then repeat")
        })?;
        let path = file.clone();
        self.write(file, move || atomic::write(&path, edited.as_bytes(), 0o600))
            .await
    }

    /// Text of the configuration file as it is on disk now, which may have errors.
    ///
    /// # Errors
    /// `failed` when it cannot be read.
    pub(super) fn read_config_file(&self) -> Result<String, ErrorBody> {
        let file = &self.config_file;
        std::fs::read_to_string(file).map_err(|error| read_error(file, &error))
    }

    fn read_config_text(&self) -> Result<(String, Config), ErrorBody> {
        let text = self.read_config_file()?;
        let config = Config::read(&text).map_err(|problems| self.config_errors(&problems))?;
        Ok((text, config))
    }

    /// `invalid`, with every problem of the file.
    pub(super) fn config_errors(&self, problems: &Problems) -> ErrorBody {
        let message = format!("{} has errors:\n{problems}", self.config_file.display());
        ErrorBody::new(ErrorKind::Invalid, message)
            .hint("the daemon keeps its present configuration; correct the file, then `regauthctl reload`")
    }
}
