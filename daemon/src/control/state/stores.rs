//! The store in use, and during a migration the store that still has copies of the secrets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::credential::store::StoreKind;
use crate::credential::store::select::OpenStore;
use crate::credential::store::stored_secret::StoredSecrets;

/// The store in use, the store that a migration leaves copies in, and the migration's progress.
#[derive(Debug)]
pub(crate) struct Stores {
    current: Arc<ArcSwap<OpenStore>>,
    secrets: Arc<StoredSecrets>,
    leftover: ArcSwapOption<OpenStore>,
    migration: ArcSwapOption<MigrationProgress>,
}

impl Stores {
    /// Starts with one store and no migration.
    pub(crate) fn new(current: OpenStore) -> Self {
        let current = Arc::new(ArcSwap::from_pointee(current));
        Self {
            secrets: Arc::new(StoredSecrets::new(Arc::clone(&current))),
            current,
            leftover: ArcSwapOption::empty(),
            migration: ArcSwapOption::empty(),
        }
    }

    /// The store that has the secrets.
    pub(in crate::control) fn current(&self) -> Arc<OpenStore> {
        self.current.load_full()
    }

    /// Secrets that their owners replace by themselves. They follow a migration.
    pub(in crate::control) fn secrets(&self) -> &Arc<StoredSecrets> {
        &self.secrets
    }

    /// The other store, until the copies that a migration left there are deleted.
    pub(in crate::control) fn leftover(&self) -> Option<Arc<OpenStore>> {
        self.leftover.load_full()
    }

    /// Records which store has copies from a migration, or that none has.
    pub(in crate::control) fn set_leftover(&self, store: Option<Arc<OpenStore>>) {
        self.leftover.store(store);
    }

    /// Uses `next` from now on; the store used so far becomes the leftover. The configuration names `next` already.
    pub(in crate::control) fn switch(&self, next: Arc<OpenStore>) {
        let previous = self.current.swap(next);
        self.leftover.store(Some(previous));
    }

    /// Progress of the migration that is running.
    pub(in crate::control) fn migration(&self) -> Option<Arc<MigrationProgress>> {
        self.migration.load_full()
    }

    /// Records that a migration has begun, or that it has ended.
    pub(in crate::control) fn set_migration(&self, progress: Option<Arc<MigrationProgress>>) {
        self.migration.store(progress);
    }
}

/// Progress of a migration. Each secret takes three steps: copy, comparison, deletion.
#[derive(Debug)]
pub(crate) struct MigrationProgress {
    /// The store that the secrets go to.
    pub(in crate::control) to: StoreKind,
    /// Number of steps in total.
    pub(in crate::control) steps: u64,
    done: AtomicU64,
}

impl MigrationProgress {
    /// Progress of a migration of `secrets` secrets that has not begun.
    pub(in crate::control) fn new(to: StoreKind, secrets: usize) -> Self {
        Self {
            to,
            steps: 3 * secrets as u64,
            done: AtomicU64::new(0),
        }
    }

    /// Counts one step.
    pub(in crate::control) fn step(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// Number of steps done.
    pub(in crate::control) fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }
}
