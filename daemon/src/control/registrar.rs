//! The one place that changes what is served: configuration, ledger, store, authorities and routes together.
//!
//! Verbs take the [`Books`] one at a time and may hold them while a registry or a store is slow. Nobody else waits for
//! them: requests read the routes that were last published, `list`, `show` and `status` the [`Glance`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use regauth_shared::paths::Folders;
use regauth_shared::response::Sockets;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::moving::Progress;
use crate::authority::Authority;
use crate::config::Config;
use crate::credential::environment::Environment;
use crate::credential::generation::Value;
use crate::credential::keeper::{Keeper, Outlet, Present};
use crate::credential::mark::{Known, Mark};
use crate::credential::open::Opened;
use crate::credential::origin::Origin;
use crate::credential::slot::{Holding, Slot};
use crate::credential::{Item, StoreError};
use crate::host::Host;
use crate::ledger::{Ledger, Record, Rotation};
use crate::logs::Logs;
use crate::proxy::routes::{Routes, Service};
use crate::proxy::upstream::{Trust, Upstream};
use crate::proxy::worker::Plane;
use crate::registry::{Kind, Registry, Source};
use crate::service;

/// What the verbs work on.
#[derive(Debug)]
pub struct Registrar {
    /// Where the files are.
    pub folders: Folders,
    /// The configuration file; not always in the folders.
    pub config_file: PathBuf,
    /// What the workers share.
    pub plane: Arc<Plane>,
    /// How many workers there are; the control side has the pool after theirs.
    pub workers: usize,
    /// The configuration that the daemon started with; some of it stays until the next start.
    pub at_start: Config,
    /// The system's roots, as they were last read.
    pub system_roots: ArcSwap<Vec<CertificateDer<'static>>>,
    /// Who made the listeners.
    pub sockets: Sockets,
    /// How much is logged.
    pub logs: Logs,
    /// When the daemon started.
    pub started: OffsetDateTime,
    /// Cancelled to end the daemon.
    pub stop: CancellationToken,
    /// How long that may take.
    pub drain_timeout: Duration,
    /// Whether the configuration and the ledger are written: not by `--ephemeral`.
    pub persistent: bool,
    /// Tokens that were in the environment when the daemon started.
    pub environment: Environment,
    /// The tasks that renew credentials.
    pub renewers: TaskTracker,
    books: Mutex<Books>,
    glance: ArcSwap<Glance>,
    /// What keeps the secrets.
    store: ArcSwap<Opened>,
    /// The store that still has copies from a move, until they are deleted there.
    other_store: ArcSwapOption<Opened>,
    /// How far a move is, while there is one.
    moving: ArcSwapOption<Progress>,
}

/// The registries in service, by name.
pub(crate) type Services = BTreeMap<RegistryName, Arc<Service>>;

/// The books as they were last published.
#[derive(Debug, Default)]
pub struct Glance {
    /// Each registry in service.
    pub services: BTreeMap<RegistryName, Arc<Service>>,
    /// The store's last failure.
    pub store_trouble: Option<StoreError>,
    /// Whether something waits for the store to open.
    unfinished: bool,
}

/// What is configured and in service.
#[derive(Debug, Default)]
pub struct Books {
    /// What is remembered.
    pub ledger: Ledger,
    /// Each registry in service.
    pub services: BTreeMap<RegistryName, Arc<Service>>,
    /// How we speak as each host whose authority's key is at hand.
    pub identities: BTreeMap<Host, Identity>,
    /// The store's last failure, for `status`.
    pub store_trouble: Option<StoreError>,
    /// Whether they are for reading only, since another daemon may have them now.
    closed: bool,
}

/// An authority, and TLS as its host. The configuration is made once: it holds the sessions that clients resume.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Who signs.
    pub authority: Arc<Authority>,
    /// How connections are taken.
    pub tls: Arc<rustls::ServerConfig>,
    /// The same where only git comes: large pushes over HTTP/2 can hang in git and libcurl themselves
    /// (<https://github.com/git/git/issues/1608>).
    pub tls_for_git: Arc<rustls::ServerConfig>,
}

/// What a registrar is made of, besides its books.
#[derive(Debug)]
pub struct Parts {
    /// Where the files are.
    pub folders: Folders,
    /// The configuration file.
    pub config_file: PathBuf,
    /// What the workers share.
    pub plane: Arc<Plane>,
    /// How many workers there are.
    pub workers: usize,
    /// What keeps the secrets.
    pub store: Opened,
    /// The configuration that the daemon started with; some of it stays until the next start.
    pub at_start: Config,
    /// The system's roots.
    pub system_roots: Vec<CertificateDer<'static>>,
    /// Who made the listeners.
    pub sockets: Sockets,
    /// How much is logged.
    pub logs: Logs,
    /// Cancelled to end the daemon.
    pub stop: CancellationToken,
    /// How long that may take.
    pub drain_timeout: Duration,
    /// Whether the configuration and the ledger are written.
    pub persistent: bool,
    /// Tokens that were in the environment when the daemon started.
    pub environment: Environment,
}

impl Registrar {
    /// Brings the configured registries into service: finishes or undoes what a kill interrupted, loads secrets and
    /// authorities, publishes the routes, writes the bundle.
    ///
    /// A store that is locked or silent does not stop it: those registries answer `store-locked` until it opens.
    ///
    /// # Errors
    /// When the state cannot be written.
    pub async fn open(parts: Parts, config: &Config, ledger: Ledger) -> Result<Self, ErrorBody> {
        let registrar = Self {
            folders: parts.folders,
            config_file: parts.config_file,
            plane: parts.plane,
            workers: parts.workers,
            at_start: parts.at_start,
            system_roots: ArcSwap::from_pointee(parts.system_roots),
            sockets: parts.sockets,
            logs: parts.logs,
            started: OffsetDateTime::now_utc(),
            stop: parts.stop,
            drain_timeout: parts.drain_timeout,
            persistent: parts.persistent,
            environment: parts.environment,
            renewers: TaskTracker::new(),
            books: Mutex::new(Books {
                ledger,
                ..Books::default()
            }),
            glance: ArcSwap::default(),
            store: ArcSwap::from_pointee(parts.store),
            other_store: ArcSwapOption::empty(),
            moving: ArcSwapOption::empty(),
        };
        {
            let mut books = registrar.books.lock().await;
            registrar.take_in(&mut books, config).await?;
            registrar.finish_pending(&mut books).await?;
            registrar.settle_move(&mut books).await;
            registrar.publish(&books);
        }
        Ok(registrar)
    }

    /// Reads the configuration and the certificates again, as SIGHUP asks.
    ///
    /// # Errors
    /// When the file has errors; what was in service stays.
    pub async fn reload(&self) -> Result<(), ErrorBody> {
        super::life::reload(self).await.map(drop)
    }

    /// What keeps the secrets.
    pub(crate) fn store(&self) -> Arc<Opened> {
        self.store.load_full()
    }

    /// From now on this is what keeps the secrets. The configuration says so already.
    pub(super) fn use_store(&self, store: Arc<Opened>) {
        self.store.store(store);
    }

    /// The store that still has copies from a move.
    pub(super) fn other_store(&self) -> Option<Arc<Opened>> {
        self.other_store.load_full()
    }

    /// Notes which store still has copies from a move, or that none has.
    pub(super) fn note_other_store(&self, store: Option<Arc<Opened>>) {
        self.other_store.store(store);
    }

    /// How far a move is, while there is one.
    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        self.moving.load_full()
    }

    /// Notes that a move has begun, or that it is over.
    pub(super) fn note_progress(&self, progress: Option<Arc<Progress>>) {
        self.moving.store(progress);
    }

    /// The books, for one verb at a time.
    ///
    /// # Errors
    /// When the daemon ends: whatever is changed now is changed by the next one.
    pub(crate) async fn books(&self) -> Result<MutexGuard<'_, Books>, ErrorBody> {
        let books = self.books.lock().await;
        if books.closed {
            let error = ErrorBody::new(ErrorKind::Unreachable, "this regauthd is ending");
            return Err(error.hint("repeat it when another one runs"));
        }
        Ok(books)
    }

    /// Waits for the verb that is under way; after it, nothing is written any more.
    pub(crate) async fn close(&self) {
        let mut books = self.books.lock().await;
        self.note(&mut books);
        books.closed = true;
    }

    /// What was last published.
    pub(crate) fn glance(&self) -> Arc<Glance> {
        self.glance.load_full()
    }

    /// Which pool of upstream connections the control side uses.
    pub(crate) fn pool(&self) -> usize {
        self.workers
    }

    /// What a kill or a closed store interrupted: a pending name that is configured is done, one that is not is undone.
    async fn finish_pending(&self, books: &mut Books) -> Result<(), ErrorBody> {
        if books.ledger.pending.is_empty() {
            return Ok(());
        }
        for name in books.ledger.pending.clone() {
            if books.services.contains_key(&name) {
                books.ledger.pending.remove(&name);
            } else if self.delete_credential(books, &name).await.is_ok() {
                tracing::info!(registry = %name, "undid what was interrupted");
            }
        }
        self.forget_unused_authorities(books).await;
        self.write_ledger(&books.ledger)
    }

    /// Deletes a registry's secret, and with it the last that is remembered of it.
    pub(crate) async fn delete_credential(&self, books: &mut Books, name: &RegistryName) -> Result<(), StoreError> {
        self.store().thread.delete(&Item::Credential(name.clone())).await?;
        books.ledger.pending.remove(name);
        books.ledger.registries.remove(name);
        books.ledger.rotations.remove(name);
        books.ledger.sourced.remove(name);
        Ok(())
    }

    /// Makes the books say what the configuration says: new registries come in, gone ones leave, changed ones keep
    /// their credential.
    pub(crate) async fn take_in(&self, books: &mut Books, config: &Config) -> Result<(), ErrorBody> {
        let mut keepers = BTreeMap::new();
        for (name, registry) in &config.registries {
            if config.owner(name) == name {
                keepers.insert(name, self.keeper(books, name, registry).await);
            }
        }
        let mut services = BTreeMap::new();
        for (name, registry) in &config.registries {
            let Some(keeper) = keepers.get(config.owner(name)) else {
                continue;
            };
            let previous = books.services.get(name);
            let (upstream, trouble) = self.upstream_as_it_may(name, registry, previous)?;
            let service = Service {
                name: name.clone(),
                registry: registry.clone(),
                credential: previous
                    .and_then(|previous| slot_to_keep(previous, registry, keeper))
                    .unwrap_or_default(),
                keeper: Arc::clone(keeper),
                upstream,
                trouble,
                usage: previous.map_or_else(Arc::default, |service| Arc::clone(&service.usage)),
            };
            services.insert(name.clone(), Arc::new(service));
        }
        let before = std::mem::replace(&mut books.services, services);
        if let Err(error) = self.ensure_authorities(books).await {
            books.services = before;
            return Err(error);
        }
        serve_credentials(books);
        self.publish(books);
        self.write_bundle(books)
    }

    /// What holds a registry's own credential: what held it before, where its source is the same, or another.
    async fn keeper(&self, books: &mut Books, name: &RegistryName, registry: &Registry) -> Arc<Keeper> {
        let previous = books.services.get(name);
        let previous = previous.filter(|service| service.registry.source == registry.source);
        let previous = previous.map(|service| Arc::clone(&service.keeper));
        if let Some(origin) = Origin::of(&registry.source) {
            let known = books.ledger.sourced.get(name).map(Known::from);
            return previous.unwrap_or_else(|| Arc::new(Keeper::renewing(origin, None, known, &self.renewers)));
        }
        let keeper = previous.unwrap_or_else(|| Arc::new(Keeper::fixed()));
        if keeper.present().value().is_none() {
            let present = match &registry.source {
                Source::Environment(variable) => self.in_environment(variable),
                _ => self.stored(books, name).await,
            };
            keeper.replace(present).await;
        }
        keeper
    }

    fn in_environment(&self, variable: &str) -> Present {
        match self.environment.secret(variable) {
            Ok(secret) => Present::Ready(first_value(secret)),
            Err(absent) => Present::Missing(absent.to_string()),
        }
    }

    async fn stored(&self, books: &mut Books, name: &RegistryName) -> Present {
        match self.store().thread.read(&Item::Credential(name.clone())).await {
            Ok(Some(secret)) => {
                let interrupted = books.ledger.rotations.contains_key(name);
                let record = books.ledger.settle(name, &secret).unwrap_or_else(first_record);
                if interrupted && let Err(error) = self.write_ledger(&books.ledger) {
                    tracing::warn!(error = error.message, "noted at the next start");
                }
                Present::Ready(value(record, secret))
            }
            Ok(None) => Present::Missing("the store has no token for it".to_owned()),
            Err(error) => {
                tracing::warn!(registry = %name, %error, "its token cannot be read");
                books.store_trouble = Some(error);
                Present::Locked
            }
        }
    }

    /// Lets go of all pooled connections.
    pub(crate) fn renew_connections(&self) {
        for service in self.glance().services.values() {
            service.upstream.renew();
        }
        self.plane.strangers.renew();
        self.plane.guarded_strangers.renew();
    }

    /// Called once in a while: generations that are not in use have to prove themselves again.
    pub(crate) fn rest_guards(&self) {
        for service in self.glance().services.values() {
            if let Some(generation) = service.credential.generation() {
                generation.guard().rest();
            }
        }
    }

    /// Called once in a while; a verb that has the books is not waited for.
    pub(crate) fn note_generations(&self) {
        if let Ok(mut books) = self.books.try_lock()
            && !books.closed
        {
            self.note(&mut books);
        }
    }

    /// Notes which generation each source gave last, so that its number goes on after a restart.
    fn note(&self, books: &mut Books) {
        let Books { services, ledger, .. } = books;
        let comes_from_elsewhere = |name: &RegistryName| {
            let source = services.get(name).map(|service| &service.registry.source);
            source.is_some_and(|source| Origin::of(source).is_some())
        };
        let before = ledger.sourced.len();
        ledger.sourced.retain(|name, _| comes_from_elsewhere(name));
        let mut changed = ledger.sourced.len() != before;
        for (name, service) in services.iter().filter(|(name, _)| comes_from_elsewhere(name)) {
            let Present::Ready(value) = service.keeper.present() else {
                continue;
            };
            let record = record(&value);
            if ledger.sourced.get(name).is_none_or(|noted| noted.record != record) {
                let mark = Mark::of(&value.secret, value.since);
                ledger.sourced.insert(name.clone(), Rotation { record, mark });
                changed = true;
            }
        }
        if changed && let Err(error) = self.write_ledger(ledger) {
            tracing::warn!(
                error = error.message,
                "the numbers of tokens from elsewhere begin anew after a restart"
            );
        }
    }

    /// What `systemctl status` shows.
    fn in_a_line(&self, books: &Books) -> String {
        let store = self.store().kind.as_str();
        let trouble = books.store_trouble.as_ref();
        let trouble = trouble.map_or_else(String::new, |trouble| format!(" ({trouble})"));
        match books.services.len() {
            1 => format!("1 registry, store: {store}{trouble}"),
            many => format!("{many} registries, store: {store}{trouble}"),
        }
    }

    /// Tries again what the store did not give so far, once it can be used again.
    pub async fn retry_store(&self) {
        let glance = self.glance();
        let nothing_is_missing = glance.store_trouble.is_none() && !glance.unfinished;
        if nothing_is_missing || self.store().thread.check().await.is_err() {
            return;
        }
        let Ok(mut books) = self.books().await else { return };
        books.store_trouble = None;
        let locked: Vec<Arc<Service>> = books
            .services
            .values()
            .filter(|service| matches!(*service.credential.load(), Holding::Locked))
            .map(Arc::clone)
            .collect();
        for service in locked {
            if service.registry.source == Source::Store {
                let present = self.stored(&mut books, &service.name).await;
                service.keeper.replace(present).await;
            }
        }
        if let Err(error) = self.ensure_authorities(&mut books).await {
            tracing::warn!(error = error.message, "authorities");
        }
        if let Err(error) = self.finish_pending(&mut books).await {
            tracing::warn!(error = error.message, "what was interrupted is finished later");
        }
        self.publish(&books);
        if let Err(error) = self.write_bundle(&books) {
            tracing::warn!(error = error.message, "bundle");
        }
    }

    /// Puts what the books say in front of the requests, and of those who look.
    pub(crate) fn publish(&self, books: &Books) {
        service::status(&self.in_a_line(books));
        self.glance.store(Arc::new(Glance {
            services: books.services.clone(),
            store_trouble: books.store_trouble.clone(),
            unfinished: !books.ledger.pending.is_empty(),
        }));
        let services: Vec<Arc<Service>> = books.services.values().map(Arc::clone).collect();
        let routes = Routes::new(&services, |origin| {
            let identity = books.identities.get(&origin.host)?;
            let on_site = |service: &&Arc<Service>| service.registry.scopes.iter().any(|scope| scope.origin == *origin);
            let only_git = services
                .iter()
                .filter(on_site)
                .all(|service| service.registry.kind == Kind::Git);
            Some(Arc::clone(if only_git { &identity.tls_for_git } else { &identity.tls }))
        });
        self.plane.routes.store(Arc::new(routes));
    }

    /// The way out for a configured registry. One whose certificates cannot be read keeps nothing else from working: it
    /// goes on with those that were read before, or is refused, and says so.
    fn upstream_as_it_may(
        &self,
        name: &RegistryName,
        registry: &Registry,
        previous: Option<&Arc<Service>>,
    ) -> Result<(Arc<Upstream>, Option<String>), ErrorBody> {
        let error = match self.upstream(name, registry) {
            Ok(upstream) => return Ok((Arc::new(upstream), None)),
            Err(error) => error,
        };
        let same = |service: &&Arc<Service>| {
            let before = &service.registry;
            (&before.ca_file, &before.client_identity) == (&registry.ca_file, &registry.client_identity)
        };
        let upstream = match previous.filter(same) {
            Some(service) => Arc::clone(&service.upstream),
            None => Arc::new(self.no_upstream()?),
        };
        tracing::warn!(registry = %name, "{}", error.message);
        Ok((upstream, Some(error.message)))
    }

    /// A way out that trusts nobody: every request is refused as `upstream-untrusted`.
    fn no_upstream(&self) -> Result<Upstream, ErrorBody> {
        let upstream = Upstream::new(&self.plane.dialer, Trust::nobody(), self.workers + 1);
        upstream.map_err(|error| ErrorBody::new(ErrorKind::Failed, error.to_string()))
    }

    /// The verified way out for a registry.
    pub(crate) fn upstream(&self, name: &RegistryName, registry: &Registry) -> Result<Upstream, ErrorBody> {
        Trust::new(
            &self.system_roots.load(),
            registry.ca_file.as_deref(),
            registry.client_identity.clone(),
        )
        .and_then(|trust| Upstream::new(&self.plane.dialer, trust, self.workers + 1))
        .map_err(|error| {
            ErrorBody::new(ErrorKind::Invalid, format!("registry `{name}`: {error}"))
                .hint("ca-file is a PEM file with the certificate of the authority that signed the registry's")
        })
    }
}

/// The same slot, so that what is known of its generation stays known, unless it has to become another.
fn slot_to_keep(previous: &Service, registry: &Registry, keeper: &Arc<Keeper>) -> Option<Arc<Slot>> {
    let same = previous.registry.scheme == registry.scheme && Arc::ptr_eq(&previous.keeper, keeper);
    same.then(|| Arc::clone(&previous.credential))
}

/// Tells every keeper which registries use its credential.
pub(crate) fn serve_credentials(books: &Books) {
    let services: Vec<&Arc<Service>> = books.services.values().collect();
    for service in &services {
        let users = services
            .iter()
            .filter(|user| Arc::ptr_eq(&user.keeper, &service.keeper));
        let outlets = users.map(|user| Outlet {
            slot: Arc::clone(&user.credential),
            scheme: user.registry.scheme.clone(),
            upstream: Arc::clone(&user.upstream),
        });
        service.keeper.serve(outlets.collect());
    }
}

/// A value from the store.
pub(crate) fn value(record: Record, secret: Secret) -> Value {
    Value {
        number: record.generation,
        since: record.since,
        secret,
        lifetime: None,
    }
}

/// What is remembered of a value.
pub(crate) fn record(value: &Value) -> Record {
    Record {
        generation: value.number,
        since: value.since,
    }
}

/// The value of a credential that nothing is remembered of.
pub(crate) fn first_value(secret: Secret) -> Value {
    value(first_record(), secret)
}

/// The record of a first token.
pub(crate) fn first_record() -> Record {
    Record {
        generation: 1,
        since: OffsetDateTime::now_utc(),
    }
}

/// A store's failure as an answer.
pub(crate) fn store_error(error: &StoreError) -> ErrorBody {
    let (kind, hint) = match error {
        StoreError::Locked => (ErrorKind::StoreLocked, "open it with `regauthctl unlock`, then repeat"),
        StoreError::WrongPassphrase => (ErrorKind::StoreLocked, "try again with the right passphrase"),
        StoreError::Unavailable(_) => (
            ErrorKind::StoreUnavailable,
            "start the keychain service, or choose `store = \"vault\"` in config.toml",
        ),
        StoreError::NoAnswer => (
            ErrorKind::StoreUnavailable,
            "answer the keychain's window if one is open, then repeat",
        ),
        StoreError::Refused(_) => (ErrorKind::Refused, "`regauthctl status` says what protects the secrets"),
        StoreError::Failed(_) => (
            ErrorKind::StoreUnavailable,
            "`regauthctl status` says which store it is",
        ),
    };
    ErrorBody::new(kind, error.to_string()).hint(hint)
}
