//! Deletes the copies that a migration leaves in the store that is not in use: the secrets that were migrated, or the
//! copies of a migration that was not committed.
//!
//! A copy is deleted only if the store in use has the secret, equal or newer, or if nothing refers to it any more.

use std::sync::Arc;

use crate::control::controller::Controller;
use crate::control::state::{State, StateGuard};
use crate::credential::store::select::OpenStore;
use crate::credential::store::{Item, StoreError, StoreKind};
use crate::journal::StoreMigration;

impl Controller {
    /// At the start: completes a migration that a kill interrupted if the configuration names the new store, undoes it
    /// if the configuration names the old one.
    pub(in crate::control) async fn finish_migration(&self, state: &mut StateGuard<'_>) {
        let Some(migration) = &state.journal.store_migration else {
            return;
        };
        let current = self.store().kind;
        let other = match current {
            kind if kind == migration.from => migration.to,
            // A person named the new store in the file by hand, before it had every secret.
            kind if kind == migration.to && !migration.copied => return,
            kind if kind == migration.to => migration.from,
            _ => return,
        };
        self.stores
            .set_leftover(Some(Arc::new(OpenStore::new(&self.folders, other))));
        self.delete_leftover_copies(state).await;
    }

    /// Tries again to delete the copies in the leftover store, once it can be used.
    pub(in crate::control) async fn retry_cleanup(&self) {
        let Some(leftover) = self.stores.leftover() else { return };
        // Both stores may be slow, so they are checked without the lock.
        if leftover.thread.check().await.is_ok() && self.store().thread.check().await.is_ok() {
            let Ok(mut state) = self.lock_for_change().await else {
                return;
            };
            self.delete_leftover_copies(&mut state).await;
            self.publish(&state);
        }
    }

    /// Deletes from the leftover store what the store in use has. The journal keeps what cannot be deleted now.
    pub(in crate::control) async fn delete_leftover_copies(&self, state: &mut StateGuard<'_>) {
        let (Some(leftover), Some(migration)) = (self.stores.leftover(), state.journal.store_migration.clone()) else {
            return;
        };
        let current = self.store();
        for item in &migration.items {
            let rule = DeletionRule::of(state, &migration, current.kind, item);
            if let Err(error) = state.unlocked(delete_copy(&current, &leftover, item, rule)).await {
                tracing::warn!(
                    store = leftover.kind.as_str(),
                    %error,
                    "could not delete the copies of a migration; they are deleted when the store opens"
                );
                return;
            }
            if let Some(progress) = self.stores.migration() {
                progress.step();
            }
        }
        state.journal.store_migration = None;
        self.stores.set_leftover(None);
        if let Err(error) = self.write_journal(&state.journal).await {
            tracing::warn!(
                error = error.message,
                "could not record the end of a migration; the next start does"
            );
        }
    }
}

/// Deletes a copy, unless it is the only one, or may be newer than that of the store in use.
async fn delete_copy(
    current: &OpenStore,
    leftover: &OpenStore,
    item: &Item,
    rule: DeletionRule,
) -> Result<(), StoreError> {
    if rule != DeletionRule::Always {
        let ours = current.thread.read(item).await?;
        let is_redundant = match (&ours, leftover.thread.read(item).await) {
            (_, Ok(None)) => return Ok(()),
            (Some(ours), Ok(Some(theirs))) => rule == DeletionRule::IfPresent || ours.is_same(&theirs),
            // A kill cut the write of this copy short.
            (Some(_), Err(StoreError::Unusable(_))) => true,
            (None, Ok(Some(_)) | Err(StoreError::Unusable(_))) => false,
            (_, Err(error)) => return Err(error),
        };
        if !is_redundant {
            tracing::warn!(%item, store = leftover.kind.as_str(), "kept a copy that the store in use lacks or has changed");
            return Ok(());
        }
    }
    leftover.thread.delete(item).await
}

/// Condition on the store in use under which a copy is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DeletionRule {
    /// No condition: the registry or host is gone.
    Always,
    /// The store in use has the item: its value is the newer one.
    IfPresent,
    /// The store in use has the same value. It is the rule if the new store had every secret and the configuration names
    /// the old store: a kill came before the configuration was written, or a person changed it back long after.
    IfEqual,
}

impl DeletionRule {
    fn of(state: &State, migration: &StoreMigration, current: StoreKind, item: &Item) -> Self {
        if !is_known(state, item) {
            Self::Always
        } else if migration.copied && current == migration.from {
            Self::IfEqual
        } else {
            Self::IfPresent
        }
    }
}

fn is_known(state: &State, item: &Item) -> bool {
    match item {
        Item::Credential(name) | Item::Binding(name) => {
            state.journal.registries.contains_key(name) || state.registries.contains_key(name)
        }
        Item::AuthorityKey(host) => state.journal.authorities.contains_key(&host.to_string()),
        Item::ProxyUrl => true,
    }
}

/// Message about the copies that are left in a store.
pub(in crate::control) fn leftover_message(kind: StoreKind) -> String {
    format!(
        "the {0} still has copies from a move; they are deleted as soon as it opens",
        kind.as_str()
    )
}
