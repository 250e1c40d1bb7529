//! Permission that a client has shown: a grant, or a workload's token.

use std::sync::Arc;

use regauth_shared::RegistryName;

use crate::grant::Grant;
use crate::policy::Operation;
use crate::registry::Registry;
use crate::workload::{Identity, Workload};

/// Permission that a client has shown. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Bearer {
    /// Grant of this daemon.
    Grant(Arc<Grant>),
    /// Token of a workload.
    Workload(Arc<Workload>),
}

impl Bearer {
    /// True if it covers this operation on this registry now.
    pub(crate) fn covers(&self, name: &RegistryName, registry: &Registry, operation: Operation) -> bool {
        match self {
            Self::Grant(grant) => grant.covers(name, operation) && grant.fits(name, registry),
            Self::Workload(workload) => workload.covers(name, operation),
        }
    }

    /// True if it covers any operation on this registry now.
    pub(crate) fn covers_registry(&self, name: &RegistryName, registry: &Registry) -> bool {
        match self {
            Self::Grant(grant) => grant.covers_registry(name) && grant.fits(name, registry),
            Self::Workload(workload) => workload.covers_registry(name),
        }
    }

    /// Waits until it has ended.
    pub(crate) async fn ended(&self) {
        match self {
            Self::Grant(grant) => grant.ended().await,
            Self::Workload(workload) => workload.ended().await,
        }
    }

    /// Id of the grant.
    pub(crate) fn grant_id(&self) -> Option<&str> {
        match self {
            Self::Grant(grant) => Some(&grant.terms.id),
            Self::Workload(_) => None,
        }
    }

    /// Identity of the workload.
    pub(crate) fn workload(&self) -> Option<&Identity> {
        match self {
            Self::Grant(_) => None,
            Self::Workload(workload) => Some(&workload.identity),
        }
    }
}
