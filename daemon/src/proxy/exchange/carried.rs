//! The credential that one request carries, through all attempts to send it.
//!
//! The pool attaches it when it has a connection, immediately before each attempt. So a request that waited for a
//! connection, or that is sent again, carries the generation of that moment: after the answer of a rotation, no attempt
//! carries the old token (invariant 11).

use std::sync::Arc;

use http::HeaderMap;

use crate::credential::header::CredentialHeader;
use crate::credential::scoped_tokens::ScopedToken;
use crate::credential::{Generation, Lease};
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::send::lease;
use crate::proxy::exchange::token_flow::{NeededToken, no_token};
use crate::proxy::routes::RegistryRoute;

/// A lease, replaced by one of the current generation after a rotation.
#[derive(Debug)]
pub(crate) struct CarriedCredential<'a> {
    registry: &'a RegistryRoute,
    /// Empty only while another lease is acquired.
    lease: Option<Lease>,
    short: Option<ShortToken>,
}

/// Short token that is sent in place of the credential.
#[derive(Debug)]
struct ShortToken {
    token: Arc<ScopedToken>,
    needed: NeededToken,
    /// Worker whose connections fetch another one.
    worker: usize,
}

impl<'a> CarriedCredential<'a> {
    pub(super) fn new(registry: &'a RegistryRoute, lease: Lease) -> Self {
        Self {
            registry,
            lease: Some(lease),
            short: None,
        }
    }

    /// A lease, and the short token that its generation gave for the request.
    pub(super) fn with_token(
        registry: &'a RegistryRoute,
        lease: Lease,
        (token, needed): (Arc<ScopedToken>, NeededToken),
        worker: usize,
    ) -> Self {
        Self {
            short: Some(ShortToken { token, needed, worker }),
            ..Self::new(registry, lease)
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
            if self.short.is_some() {
                Box::pin(self.replace_token()).await?;
            }
        }
        self.header()?.attach(headers);
        Ok(())
    }

    /// Gets a short token of the present generation.
    async fn replace_token(&mut self) -> Result<(), ProxyError> {
        let (Some(short), Some(lease)) = (&mut self.short, &self.lease) else {
            return Ok(());
        };
        let token = short.needed.get(short.worker, self.registry, lease.generation()).await;
        short.token = token.map_err(|problem| no_token(self.registry, problem))?;
        Ok(())
    }

    /// The short token, if the request carries one.
    pub(super) fn token(&self) -> Option<Arc<ScopedToken>> {
        self.short.as_ref().map(|short| Arc::clone(&short.token))
    }

    /// The header that the last attempt carried.
    ///
    /// # Errors
    /// As [`CarriedCredential::generation`].
    pub(super) fn header(&self) -> Result<&CredentialHeader, ProxyError> {
        match &self.short {
            Some(short) => Ok(&short.token.header),
            None => Ok(&*self.generation()?.header),
        }
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
