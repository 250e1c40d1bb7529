//! Completes what a kill or a locked store interrupted, at the next start or when the store opens.

use std::sync::Arc;
use std::time::Duration;

use regauth_shared::{ErrorBody, RegistryName};

use crate::control::controller::Controller;
use crate::control::state::StateGuard;
use crate::credential::CredentialState;
use crate::credential::store::{Item, StoreError};
use crate::proxy::routes::RegistryRoute;
use crate::registry::Source;

impl Controller {
    /// Completes pending additions and removals. A pending name whose registry is in service was added. Any other is
    /// deleted, secret included. At a start, the configuration decides what is in service.
    ///
    /// # Errors
    /// `failed` when the journal cannot be written.
    pub(in crate::control) async fn finish_pending(&self, state: &mut StateGuard<'_>) -> Result<(), ErrorBody> {
        if state.journal.pending.is_empty() {
            return Ok(());
        }
        let pending: Vec<RegistryName> = state.journal.pending.difference(&state.busy).cloned().collect();
        for name in pending {
            if state.registries.contains_key(&name) {
                state.journal.pending.remove(&name);
            } else if self.delete_credential(state, &name).await.is_ok() {
                tracing::info!(registry = %name, "undid an interrupted change");
            }
        }
        self.forget_unused_authorities(state).await;
        self.write_journal(&state.journal).await
    }

    /// Deletes a registry's secret from the store, and its records from the journal. The caller writes the journal.
    ///
    /// # Errors
    /// Those of the store; the records stay.
    pub(in crate::control) async fn delete_credential(
        &self,
        state: &mut StateGuard<'_>,
        name: &RegistryName,
    ) -> Result<(), StoreError> {
        let item = Item::Credential(name.clone());
        state.busy.insert(name.clone());
        let deleted = self.delete_item(state, &item).await;
        state.busy.remove(name);
        deleted?;
        state.journal.pending.remove(name);
        state.journal.registries.remove(name);
        state.journal.rotations.remove(name);
        state.journal.sourced.remove(name);
        Ok(())
    }

    /// Deletes an item from the store, and waits for it at most [`DELETION_TIMEOUT`].
    ///
    /// # Errors
    /// Those of the store.
    pub(in crate::control) async fn delete_item(
        &self,
        state: &mut StateGuard<'_>,
        item: &Item,
    ) -> Result<(), StoreError> {
        // A queued call whose caller has gone is not carried out.
        let store = self.store();
        let deleted = tokio::time::timeout(DELETION_TIMEOUT, store.thread.delete(item));
        state.unlocked(deleted).await.unwrap_or(Err(StoreError::NoAnswer))
    }

    /// Loads the tokens and authorities that the store did not give so far, once the store can be used again.
    pub(in crate::control) async fn retry_store(&self) {
        let snapshot = self.snapshot();
        let is_complete = snapshot.store_error.is_none() && !snapshot.has_pending;
        if is_complete || self.store().thread.check().await.is_err() {
            return;
        }
        let Ok(mut state) = self.lock_for_change().await else {
            return;
        };
        state.store_error = None;
        self.load_proxy_password(&mut state).await;
        self.load_locked_credentials(&mut state).await;
        let hosts = state.hosts();
        if let Err(error) = self.ensure_authorities(&mut state, hosts).await {
            tracing::warn!(error = error.message, "could not load the authorities");
        }
        if let Err(error) = self.finish_pending(&mut state).await {
            tracing::warn!(
                error = error.message,
                "could not complete an interrupted change; it is tried again"
            );
        }
        self.publish(&state);
        if let Err(error) = self.write_bundle(&state).await {
            tracing::warn!(error = error.message, "could not write the bundle");
        }
    }

    async fn load_locked_credentials(&self, state: &mut StateGuard<'_>) {
        let locked: Vec<Arc<RegistryRoute>> = state
            .registries
            .values()
            .filter(|route| route.registry.source == Source::Store)
            .filter(|route| {
                matches!(
                    route.credential.state(),
                    CredentialState::Locked | CredentialState::Unreadable(_)
                )
            })
            .map(Arc::clone)
            .collect();
        for route in locked {
            let loaded = self.read_stored(state, &route.name).await;
            route.credential.shared.load(loaded);
        }
    }
}

/// Time that a removal waits for the store. What it has not deleted by then is deleted once it answers.
const DELETION_TIMEOUT: Duration = Duration::from_secs(3);
