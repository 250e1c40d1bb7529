//! The books: what is configured and in service.
//!
//! Verbs take them off the [`StateLock`] one at a time, and may hold them while a registry or a store is slow. Nobody else waits
//! for them: requests go by the routes that were last published, and those who only look get a [`Snapshot`].

pub(super) mod apply;
pub(super) mod authorities;
pub(super) mod cleanup;
pub(super) mod persist;
pub(super) mod recovery;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};
use tokio::sync::{Mutex, MutexGuard};

use crate::control::error::not_found;
use crate::control::state::authorities::Identity;
use crate::credential::shelf::Outlet;
use crate::credential::store::StoreError;
use crate::host::Host;
use crate::journal::Journal;
use crate::proxy::routes::{Routes, Service};
use crate::registry::{Kind, Registry};

/// The registries in service, by name.
pub(crate) type RegistryRoutes = BTreeMap<RegistryName, Arc<Service>>;

/// Where the books are: a verb takes them, and who only looks is not kept waiting.
#[derive(Debug)]
pub(crate) struct StateLock {
    state: Mutex<State>,
    snapshot: ArcSwap<Snapshot>,
}

impl StateLock {
    /// With the books of a start: nothing is in service yet.
    pub(crate) fn new(journal: Journal) -> Self {
        let state = State {
            journal,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            snapshot: ArcSwap::default(),
        }
    }

    /// The books, for one verb at a time.
    ///
    /// # Errors
    /// When the daemon ends: whatever is changed now is changed by the next one.
    pub(in crate::control) async fn take(&self) -> Result<MutexGuard<'_, State>, ErrorBody> {
        let state = self.state.lock().await;
        if state.closed {
            let error = ErrorBody::new(ErrorKind::Unreachable, "this regauthd is ending");
            return Err(error.hint("repeat it when another one runs"));
        }
        Ok(state)
    }

    /// The books, unless a verb has them or the daemon ends.
    pub(in crate::control) fn take_if_free(&self) -> Option<MutexGuard<'_, State>> {
        self.state.try_lock().ok().filter(|state| !state.closed)
    }

    /// Shows the books to those who look.
    pub(in crate::control) fn publish(&self, state: &State) {
        self.snapshot.store(Arc::new(Snapshot {
            registries: state.registries.clone(),
            store_trouble: state.store_trouble.clone(),
            unfinished: !state.journal.pending.is_empty(),
        }));
    }

    /// What was last published.
    pub(in crate::control) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}

/// What is configured and in service.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// What is remembered.
    pub(crate) journal: Journal,
    /// Each registry in service.
    pub(crate) registries: RegistryRoutes,
    /// How we speak as each host whose authority's key is at hand.
    pub(crate) identities: BTreeMap<Host, Identity>,
    /// The store's last failure, for `status`.
    pub(crate) store_trouble: Option<StoreError>,
    /// Whether they are for reading only, since another daemon may have them now.
    closed: bool,
}

impl State {
    /// Nobody takes them after this.
    pub(in crate::control) fn close(&mut self) {
        self.closed = true;
    }

    /// The hosts that registries are on, as far as we speak TLS for them.
    pub(in crate::control) fn hosts(&self) -> BTreeSet<Host> {
        let registries = self.registries.values().map(|route| &route.registry);
        registries.flat_map(Registry::hosts).cloned().collect()
    }

    /// Tells every keeper which registries use its credential.
    pub(in crate::control) fn share_credentials(&self) {
        for route in self.registries.values() {
            let users = self
                .registries
                .values()
                .filter(|user| Arc::ptr_eq(&user.keeper, &route.keeper));
            let outlets = users.map(|user| Outlet {
                slot: Arc::clone(&user.credential),
                scheme: user.registry.scheme.clone(),
                upstream: Arc::clone(&user.upstream),
            });
            route.keeper.serve(outlets.collect());
        }
    }

    /// What requests go by from now on.
    pub(in crate::control) fn routes(&self) -> Routes {
        let registries: Vec<Arc<Service>> = self.registries.values().map(Arc::clone).collect();
        Routes::new(&registries, |origin| {
            let identity = self.identities.get(&origin.host)?;
            let on_site = |route: &&Arc<Service>| route.registry.scopes.iter().any(|scope| scope.origin == *origin);
            let only_git = registries
                .iter()
                .filter(on_site)
                .all(|route| route.registry.kind == Kind::Git);
            Some(Arc::clone(if only_git { &identity.tls_for_git } else { &identity.tls }))
        })
    }
}

/// The books as they were last published.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Each registry in service.
    pub(crate) registries: RegistryRoutes,
    /// The store's last failure.
    pub(crate) store_trouble: Option<StoreError>,
    /// Whether something waits for the store to open.
    pub(in crate::control) unfinished: bool,
}

/// A registry by its name.
pub(in crate::control) fn find(registries: &RegistryRoutes, name: &RegistryName) -> Result<Arc<Service>, ErrorBody> {
    let route = registries.get(name).map(Arc::clone);
    route.ok_or_else(|| not_found(registries, name))
}
