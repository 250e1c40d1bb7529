//! Secrets that their owner reads and replaces by itself: the refresh tokens of people's logins.
//!
//! A server that rotates refresh tokens accepts each once (RFC 9700, section 4.14.2). So a registry has one exchange of its
//! secret at a time, and an exchange is not cancelled between the request that spends the secret and the write of the next
//! one. The daemon's end and a migration wait for it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use regauth_shared::{RegistryName, Secret};
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, RwLock, RwLockWriteGuard};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::select::OpenStore;
use super::{Item, StoreError, StoreKind};

/// Secrets in the store that is in use, and their exchanges.
#[derive(Debug)]
pub(crate) struct StoredSecrets {
    store: Arc<ArcSwap<OpenStore>>,
    /// Held by the exchange of a registry's secret. A registry that was replaced may still have one.
    turns: Mutex<BTreeMap<RegistryName, Weak<AsyncMutex<()>>>>,
    exchanges: TaskTracker,
    /// Cancelled once the daemon's end has waited long enough.
    abandoned: CancellationToken,
    /// Shared by writes. A migration holds it alone from its last comparison to the switch of the stores.
    writing: RwLock<()>,
    writes: AtomicU64,
}

/// Pause of all writes, until it is dropped.
pub(crate) type PausedWrites<'a> = RwLockWriteGuard<'a, ()>;

impl StoredSecrets {
    /// Secrets in this store, or in one that replaces it.
    pub(crate) fn new(store: Arc<ArcSwap<OpenStore>>) -> Self {
        Self {
            store,
            turns: Mutex::default(),
            exchanges: TaskTracker::new(),
            abandoned: CancellationToken::new(),
            writing: RwLock::default(),
            writes: AtomicU64::new(0),
        }
    }

    /// The secret of this registry.
    pub(crate) fn secret(self: &Arc<Self>, name: RegistryName) -> StoredSecret {
        StoredSecret {
            secrets: Arc::clone(self),
            name,
        }
    }

    /// Number of writes that have ended, also without success.
    pub(crate) fn writes(&self) -> u64 {
        self.writes.load(Ordering::Acquire)
    }

    /// Waits for writes under way, and lets no other begin.
    pub(crate) async fn pause_writes(&self) -> PausedWrites<'_> {
        self.writing.write().await
    }

    /// Lets no exchange begin, and waits for those under way, at most [`EXCHANGE_TIMEOUT`]. No write begins after the return.
    pub(crate) async fn end(&self) {
        self.exchanges.close();
        // The memory ends with the daemon, so an exchange saves nothing there.
        let is_lost = self.store.load().kind == StoreKind::Memory;
        let limit = if is_lost { Duration::ZERO } else { EXCHANGE_TIMEOUT };
        if tokio::time::timeout(limit, self.exchanges.wait()).await.is_err() {
            if !is_lost {
                tracing::warn!("abandoned the refresh of a login: its token service or the store gave no answer");
            }
            self.abandoned.cancel();
            self.exchanges.wait().await;
        }
    }

    fn turn(&self, name: &RegistryName) -> Arc<AsyncMutex<()>> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| turn.strong_count() > 0);
        turns.get(name).and_then(Weak::upgrade).unwrap_or_else(|| {
            let turn = Arc::default();
            turns.insert(name.clone(), Arc::downgrade(&turn));
            turn
        })
    }
}

/// The secret of one registry.
#[derive(Clone, Debug)]
pub(crate) struct StoredSecret {
    secrets: Arc<StoredSecrets>,
    name: RegistryName,
}

impl StoredSecret {
    /// The registry.
    pub(crate) fn name(&self) -> &RegistryName {
        &self.name
    }

    /// Waits until no other exchange of this secret is under way.
    pub(crate) async fn take_turn(&self) -> Turn {
        Turn {
            secrets: Arc::clone(&self.secrets),
            turn: self.secrets.turn(&self.name).lock_owned().await,
        }
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`StoreError`] of the store.
    pub(crate) async fn read(&self) -> Result<Option<Secret>, StoreError> {
        self.secrets.store.load_full().thread.read(&self.item()).await
    }

    /// Replaces it if the store has one of the `expected` values. `false` if the store has none or another one: a person
    /// has logged out, or in again, or the registry was removed.
    ///
    /// # Errors
    /// [`StoreError`] of the store.
    pub(crate) async fn replace(&self, expected: &[Secret], new: &Secret) -> Result<bool, StoreError> {
        let _writing = self.secrets.writing.read().await;
        let store = self.secrets.store.load_full();
        let replaced = store.thread.replace(&self.item(), expected, Some(new)).await;
        self.secrets.writes.fetch_add(1, Ordering::Release);
        replaced
    }

    fn item(&self) -> Item {
        Item::Credential(self.name.clone())
    }
}

/// Turn to exchange a registry's secret.
#[derive(Debug)]
pub(crate) struct Turn {
    secrets: Arc<StoredSecrets>,
    turn: OwnedMutexGuard<()>,
}

impl Turn {
    /// Runs an exchange to its end, also if the caller is dropped. `None` if the daemon is ending.
    pub(crate) async fn finish<T: Send + 'static>(
        self,
        exchange: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let Self { secrets, turn } = self;
        // The end waits for a token that was taken before it closed the tracker.
        let admitted = secrets.exchanges.token();
        if secrets.exchanges.is_closed() {
            return None;
        }
        let abandoned = secrets.abandoned.clone();
        let running = secrets.exchanges.spawn(async move {
            let _turn = turn;
            abandoned.run_until_cancelled(exchange).await
        });
        drop(admitted);
        running.await.ok().flatten()
    }
}

/// Longest time of an exchange: 15 s for the token service's answer, 10 s for the store.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(25);

#[cfg(test)]
mod tests;
