//! The books: what is configured and in service. Verbs write them, one at a time; those who only look get a [`Glance`].

use std::collections::BTreeMap;
use std::sync::Arc;

use regauth_shared::RegistryName;

use super::authorities::Identity;
use crate::credential::StoreError;
use crate::credential::keeper::Outlet;
use crate::host::Host;
use crate::ledger::Ledger;
use crate::proxy::routes::Service;

/// The registries in service, by name.
pub(crate) type Services = BTreeMap<RegistryName, Arc<Service>>;

/// The books as they were last published.
#[derive(Debug, Default)]
pub(crate) struct Glance {
    /// Each registry in service.
    pub(crate) services: BTreeMap<RegistryName, Arc<Service>>,
    /// The store's last failure.
    pub(crate) store_trouble: Option<StoreError>,
    /// Whether something waits for the store to open.
    pub(super) unfinished: bool,
}

/// What is configured and in service.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// What is remembered.
    pub(crate) ledger: Ledger,
    /// Each registry in service.
    pub(crate) services: BTreeMap<RegistryName, Arc<Service>>,
    /// How we speak as each host whose authority's key is at hand.
    pub(crate) identities: BTreeMap<Host, Identity>,
    /// The store's last failure, for `status`.
    pub(crate) store_trouble: Option<StoreError>,
    /// Whether they are for reading only, since another daemon may have them now.
    pub(super) closed: bool,
}

/// Tells every keeper which registries use its credential.
pub(crate) fn serve_credentials(books: &Books) {
    let services: Vec<&Arc<Service>> = books.services.values().collect();
    for service in &services {
        let users = services
            .iter()
            .filter(|user| Arc::ptr_eq(&user.keeper, &service.keeper));
        let outlets = users.map(|user| Outlet {
            slot: Arc::clone(&user.credential),
            scheme: user.registry.scheme.clone(),
            upstream: Arc::clone(&user.upstream),
        });
        service.keeper.serve(outlets.collect());
    }
}
