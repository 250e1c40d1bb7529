//! Completes what a kill or a locked store interrupted, at the next start or when the store opens.

use std::sync::Arc;
use std::time::Duration;

use regauth_shared::{ErrorBody, RegistryName};

use crate::control::controller::Controller;
use crate::control::state::StateGuard;
use crate::credential::CredentialState;
use crate::credential::store::{Item, StoreError};
use crate::proxy::routes::RegistryRoute;

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

    /// Deletes a registry's secret and its binding from the store, and its records from the journal. The caller writes the journal.
    ///
    /// # Errors
    /// Those of the store; the records stay.
    pub(in crate::control) async fn delete_credential(
        &self,
        state: &mut StateGuard<'_>,
        name: &RegistryName,
    ) -> Result<(), StoreError> {
        state.busy.insert(name.clone());
        let mut deleted = self.delete_item(state, &Item::Credential(name.clone())).await;
        if deleted.is_ok() {
            deleted = self.delete_item(state, &Item::Binding(name.clone())).await;
        }
        state.busy.remove(name);
        deleted?;
        state.bindings.remove(name);
        state.journal.pending.remove(name);
        state.journal.registries.remove(name);
        state.journal.rotations.remove(name);
        state.journal.sourced.remove(name);
        state.journal.unbound.remove(name);
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

    /// Puts the configuration in service again if a token could not be read. Its binding may not be known yet, so its
    /// routes are built again.
    async fn load_locked_credentials(&self, state: &mut StateGuard<'_>) {
        let is_unread = |route: &Arc<RegistryRoute>| {
            matches!(
                route.credential.state(),
                CredentialState::Locked | CredentialState::Unreadable(_)
            )
        };
        if state.registries.values().any(is_unread)
            && let Err(error) = self.apply_again(state).await
        {
            tracing::warn!(error = error.message, "could not load the tokens; it is tried again");
        }
    }
}

/// Time that a removal waits for the store. What it has not deleted by then is deleted once it answers.
const DELETION_TIMEOUT: Duration = Duration::from_secs(3);
