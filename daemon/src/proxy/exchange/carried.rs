//! The credential that one request carries, through all attempts to send it.
//!
//! The pool attaches it when it has a connection, immediately before each attempt. So a request that waited for a
//! connection, or that is sent again, carries the generation of that moment: after the answer of a rotation, no attempt
//! carries the old token (invariant 11).

use http::HeaderMap;

use crate::credential::{Generation, Lease};
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::send::lease;
use crate::proxy::routes::RegistryRoute;

/// A lease, replaced by one of the current generation after a rotation.
#[derive(Debug)]
pub(crate) struct CarriedCredential<'a> {
    registry: &'a RegistryRoute,
    /// Empty only while another lease is acquired.
    lease: Option<Lease>,
}

impl<'a> CarriedCredential<'a> {
    pub(super) fn new(registry: &'a RegistryRoute, lease: Lease) -> Self {
        Self {
            registry,
            lease: Some(lease),
        }
    }

    /// Puts the header of the current generation into a request that is about to be sent.
    ///
    /// # Errors
    /// The registry was removed, or has no usable token any more.
    pub(crate) async fn attach(&mut self, headers: &mut HeaderMap) -> Result<(), ProxyError> {
        let outdated = self.lease.take_if(|lease| !self.registry.credential.is_current(lease));
        if let Some(outdated) = outdated {
            // A rotation waits for it.
            drop(outdated);
            // Boxed because it is rare, and would make every request's future larger.
            self.lease = Some(Box::pin(lease(self.registry)).await?);
        }
        self.generation()?.header.attach(headers);
        Ok(())
    }

    /// The generation that the last attempt carried.
    ///
    /// # Errors
    /// [`ProxyError::CredentialUnavailable`] if there was none to carry.
    pub(super) fn generation(&self) -> Result<&Generation, ProxyError> {
        let lease = self.lease.as_ref();
        let generation = lease.map(Lease::generation);
        generation.ok_or_else(|| ProxyError::CredentialUnavailable(self.registry.name.clone()))
    }

    /// The lease of the last attempt.
    ///
    /// # Errors
    /// As [`CarriedCredential::generation`].
    pub(super) fn lease(&self) -> Result<&Lease, ProxyError> {
        let lease = self.lease.as_ref();
        lease.ok_or_else(|| ProxyError::CredentialUnavailable(self.registry.name.clone()))
    }
}
