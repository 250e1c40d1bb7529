//! What a kill or a closed store left unfinished: it is brought to its end at the next start, or when the store opens.

use std::sync::Arc;

use regauth_shared::{ErrorBody, RegistryName};

use crate::control::controller::Controller;
use crate::control::state::State;
use crate::credential::CredentialState;
use crate::credential::store::{Item, StoreError};
use crate::proxy::routes::RegistryRoute as Service;
use crate::registry::Source;

impl Controller {
    /// What a kill or a closed store interrupted: a pending name that is configured is done, one that is not is undone.
    pub(in crate::control) async fn finish_pending(&self, books: &mut State) -> Result<(), ErrorBody> {
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
    pub(crate) async fn delete_credential(&self, books: &mut State, name: &RegistryName) -> Result<(), StoreError> {
        self.store().thread.delete(&Item::Credential(name.clone())).await?;
        books.ledger.pending.remove(name);
        books.ledger.registries.remove(name);
        books.ledger.rotations.remove(name);
        books.ledger.sourced.remove(name);
        Ok(())
    }

    /// Tries again what the store did not give so far, once it can be used again.
    pub(crate) async fn retry_store(&self) {
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
            .filter(|service| matches!(service.credential.state(), CredentialState::Locked))
            .map(Arc::clone)
            .collect();
        for service in locked {
            if service.registry.source == Source::Store {
                let state = self.stored(&mut books, &service.name).await;
                service.credential.shared.rotate(state).await;
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
}
