//! What a kill or a closed store left unfinished: it is brought to its end at the next start, or when the store opens.

use std::sync::Arc;

use regauth_shared::{ErrorBody, RegistryName};

use crate::control::controller::Controller;
use crate::control::state::State;
use crate::credential::slot::Holding;
use crate::credential::store::{Item, StoreError};
use crate::proxy::routes::Service;
use crate::registry::Source;

impl Controller {
    /// What a kill or a closed store interrupted: a pending name that is configured is done, one that is not is undone.
    pub(in crate::control) async fn finish_pending(&self, state: &mut State) -> Result<(), ErrorBody> {
        if state.journal.pending.is_empty() {
            return Ok(());
        }
        for name in state.journal.pending.clone() {
            if state.registries.contains_key(&name) {
                state.journal.pending.remove(&name);
            } else if self.delete_credential(state, &name).await.is_ok() {
                tracing::info!(registry = %name, "undid what was interrupted");
            }
        }
        self.forget_unused_authorities(state).await;
        self.write_journal(&state.journal)
    }

    /// Deletes a registry's secret, and with it the last that is remembered of it.
    pub(crate) async fn delete_credential(&self, state: &mut State, name: &RegistryName) -> Result<(), StoreError> {
        self.store().thread.delete(&Item::Credential(name.clone())).await?;
        state.journal.pending.remove(name);
        state.journal.registries.remove(name);
        state.journal.rotations.remove(name);
        state.journal.sourced.remove(name);
        Ok(())
    }

    /// Tries again what the store did not give so far, once it can be used again.
    pub(crate) async fn retry_store(&self) {
        let snapshot = self.snapshot();
        let nothing_is_missing = snapshot.store_trouble.is_none() && !snapshot.unfinished;
        if nothing_is_missing || self.store().thread.check().await.is_err() {
            return;
        }
        let Ok(mut state) = self.lock_state().await else { return };
        state.store_trouble = None;
        let locked: Vec<Arc<Service>> = state
            .registries
            .values()
            .filter(|route| matches!(*route.credential.load(), Holding::Locked))
            .map(Arc::clone)
            .collect();
        for route in locked {
            if route.registry.source == Source::Store {
                let present = self.stored(&mut state, &route.name).await;
                route.keeper.replace(present).await;
            }
        }
        if let Err(error) = self.ensure_authorities(&mut state).await {
            tracing::warn!(error = error.message, "authorities");
        }
        if let Err(error) = self.finish_pending(&mut state).await {
            tracing::warn!(error = error.message, "what was interrupted is finished later");
        }
        self.publish(&state);
        if let Err(error) = self.write_bundle(&state) {
            tracing::warn!(error = error.message, "bundle");
        }
    }
}
