//! What keeps the secrets; and while they move, the store that has copies of them as well.

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};

use crate::control::verbs::migrate::Progress;
use crate::credential::store::select::OpenStore;

/// The stores there are at the moment.
#[derive(Debug)]
pub(crate) struct Stores {
    present: ArcSwap<OpenStore>,
    other: ArcSwapOption<OpenStore>,
    moving: ArcSwapOption<Progress>,
}

impl Stores {
    /// One store.
    pub(crate) fn new(present: OpenStore) -> Self {
        Self {
            present: ArcSwap::from_pointee(present),
            other: ArcSwapOption::empty(),
            moving: ArcSwapOption::empty(),
        }
    }

    /// What keeps the secrets.
    pub(super) fn present(&self) -> Arc<OpenStore> {
        self.present.load_full()
    }

    /// The store that still has copies from a move, until they are deleted there.
    pub(super) fn other(&self) -> Option<Arc<OpenStore>> {
        self.other.load_full()
    }

    /// How far a move is, while there is one.
    pub(super) fn progress(&self) -> Option<Arc<Progress>> {
        self.moving.load_full()
    }

    /// From now on this is what keeps the secrets. The configuration says so already.
    pub(super) fn switch(&self, next: Arc<OpenStore>) {
        let before = self.present.swap(next);
        self.other.store(Some(before));
    }

    /// Notes which store still has copies from a move, or that none has.
    pub(super) fn note_other(&self, store: Option<Arc<OpenStore>>) {
        self.other.store(store);
    }

    /// Notes that a move has begun, or that it is over.
    pub(super) fn note_progress(&self, progress: Option<Arc<Progress>>) {
        self.moving.store(progress);
    }
}
