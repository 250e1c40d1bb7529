//! The one place that changes what is served: configuration, ledger, store, authorities and routes together.
//!
//! Verbs take the [`Books`] one at a time and may hold them while a registry or a store is slow. Nobody else waits for
//! them: requests read the routes that were last published, `list`, `show` and `status` the [`Glance`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use regauth_shared::paths::Folders;
use regauth_shared::response::Sockets;
use regauth_shared::{ErrorBody, ErrorKind, Secret};
use rustls_pki_types::CertificateDer;
use time::OffsetDateTime;
use tokio::sync::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::books::{Books, Glance};
use super::moving::Progress;
use crate::config::Config;
use crate::credential::environment::Environment;
use crate::credential::generation::Value;
use crate::credential::open::Opened;
use crate::ledger::{Ledger, Record};
use crate::logs::Logs;
use crate::proxy::routes::{Routes, Service};
use crate::proxy::worker::Plane;
use crate::registry::Kind;
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

    /// The books, unless a verb has them.
    pub(super) fn books_if_free(&self) -> Option<MutexGuard<'_, Books>> {
        self.books.try_lock().ok().filter(|books| !books.closed)
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
