//! A secret that its owner reads and replaces by itself: the refresh token of a person's login.

use std::sync::Arc;

use arc_swap::ArcSwap;
use regauth_shared::{RegistryName, Secret};

use super::select::OpenStore;
use super::{Item, StoreError};

/// The secret of one registry, in the store that is in use.
#[derive(Clone, Debug)]
pub(crate) struct StoredSecret {
    store: Arc<ArcSwap<OpenStore>>,
    name: RegistryName,
}

impl StoredSecret {
    /// The secret of this registry.
    pub(crate) fn new(store: Arc<ArcSwap<OpenStore>>, name: RegistryName) -> Self {
        Self { store, name }
    }

    /// The registry.
    pub(crate) fn name(&self) -> &RegistryName {
        &self.name
    }

    /// Reads it.
    ///
    /// # Errors
    /// [`StoreError`] of the store.
    pub(crate) async fn read(&self) -> Result<Option<Secret>, StoreError> {
        self.store.load_full().thread.read(&self.item()).await
    }

    /// Replaces it, and again if a migration has replaced the store meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] of the store.
    pub(crate) async fn write(&self, secret: &Secret) -> Result<(), StoreError> {
        loop {
            let store = self.store.load_full();
            store.thread.write(&self.item(), secret).await?;
            if Arc::ptr_eq(&store, &self.store.load()) {
                return Ok(());
            }
        }
    }

    fn item(&self) -> Item {
        Item::Credential(self.name.clone())
    }
}
