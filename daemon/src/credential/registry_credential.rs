//! A credential as one registry sends it: the header is ready, and a request reads it with one atomic load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use crate::credential::circuit_breaker::{Admission, CircuitBreaker};
use crate::credential::header::CredentialHeader;
use crate::credential::refresher::RefreshReason;
use crate::credential::scoped_tokens::ScopedTokens;
use crate::credential::{Credential, CredentialState, ENDED, Value};
use crate::registry::{Scheme, UnsendableSecret};

/// A registry's use of a [`Credential`], under the registry's scheme.
#[derive(Debug)]
pub(crate) struct RegistryCredential {
    /// The credential, which other registries may send as well.
    pub(crate) shared: Arc<Credential>,
    scheme: Scheme,
    /// Written only under the credential's lock.
    current: ArcSwapOption<Generation>,
    /// True once the registry does not send the credential any more, although others do.
    is_detached: AtomicBool,
}

/// One value of a credential, as one registry sends it.
#[derive(Debug)]
pub(crate) struct Generation {
    /// The value, the same for all registries.
    pub(crate) value: Arc<Value>,
    /// The header to send. A check of the answer may keep it longer than the lease.
    pub(crate) header: Arc<CredentialHeader>,
    /// The registry's answers to this value.
    pub(crate) breaker: Arc<CircuitBreaker>,
    /// Short tokens of a container registry that this value gave.
    pub(crate) tokens: Arc<ScopedTokens>,
}

/// Reason that there is no credential for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unavailable {
    /// The store is locked.
    Locked,
    /// The store cannot be read.
    Unreadable,
    /// There is no value, or it has expired and cannot be refreshed.
    Missing,
    /// The registry has rejected the value, and the circuit breaker is open.
    Rejected,
}

impl RegistryCredential {
    /// Without a value until [`RegistryCredential::replace`].
    pub(super) fn new(shared: Arc<Credential>, scheme: Scheme) -> Self {
        Self {
            shared,
            scheme,
            current: ArcSwapOption::empty(),
            is_detached: AtomicBool::new(false),
        }
    }

    /// The current generation, if there is one.
    pub(crate) fn generation(&self) -> Option<Arc<Generation>> {
        self.current.load_full()
    }

    /// The current generation, or the reason that there is none.
    pub(crate) fn state(&self) -> CredentialState<Arc<Generation>> {
        // The lock keeps the state and the generation from changing between the two reads.
        let inner = self.shared.lock();
        match (&inner.state, self.generation()) {
            _ if self.is_detached() => CredentialState::Missing(ENDED.to_owned()),
            (CredentialState::Missing(why), _) => CredentialState::Missing(why.clone()),
            (CredentialState::Unreadable(why), _) => CredentialState::Unreadable(why.clone()),
            (CredentialState::Ready(_), None) => CredentialState::Missing(UnsendableSecret.to_string()),
            (_, Some(generation)) => CredentialState::Ready(generation),
            (_, None) => CredentialState::Locked,
        }
    }

    /// Takes the current generation for one request, after a refresh or another request's trial if need be.
    ///
    /// # Errors
    /// [`Unavailable`] if there is none to send.
    pub(crate) async fn acquire(&self) -> Result<Lease, Unavailable> {
        match self.try_acquire() {
            Some(lease) => Ok(lease),
            // Boxed because it is rare, and would make every request's future larger.
            None => Box::pin(self.acquire_slowly()).await,
        }
    }

    /// Takes the current generation if it has not expired and the circuit breaker is closed. Nearly all requests pass
    /// here: no lock, and no clock unless the value expires.
    pub(crate) fn try_acquire(&self) -> Option<Lease> {
        // Counted as a holder first, checked then: a rotation looks for holders after it has replaced the generation.
        let generation = self.current.load_full()?;
        let is_usable = generation.breaker.is_closed() && !generation.value.has_expired();
        is_usable.then(|| Lease::new(generation, false))
    }

    async fn acquire_slowly(&self) -> Result<Lease, Unavailable> {
        let mut unavailable = Unavailable::Missing;
        for _ in 0..MAX_ATTEMPTS {
            let (number, reason) = match self.state() {
                CredentialState::Locked => return Err(Unavailable::Locked),
                CredentialState::Unreadable(_) => return Err(Unavailable::Unreadable),
                CredentialState::Missing(_) => (0, RefreshReason::Missing),
                CredentialState::Ready(generation) if generation.value.has_expired() => {
                    (generation.value.number, RefreshReason::Missing)
                }
                CredentialState::Ready(generation) => match generation.breaker.admit().await {
                    Admission::Allowed => return Ok(Lease::new(generation, false)),
                    Admission::Trial => return Ok(Lease::new(generation, true)),
                    Admission::Retired => continue,
                    Admission::Rejected => (generation.value.number, RefreshReason::Rejected),
                },
            };
            unavailable = match reason {
                RefreshReason::Missing => Unavailable::Missing,
                RefreshReason::Rejected => Unavailable::Rejected,
            };
            if self.is_detached() || !self.shared.refresh(number, reason).await {
                break;
            }
        }
        Err(unavailable)
    }

    /// Puts `state` in place and returns the generation before. A value with the same number keeps its circuit breaker.
    pub(super) fn replace(&self, state: &CredentialState) -> Option<Arc<Generation>> {
        let before = self.generation();
        let value = state.value().filter(|value| self.scheme.check(&value.secret).is_ok());
        let next = value.map(|value| {
            let same = before.filter(|before| before.value.number == value.number);
            let kept = same.map(|same| (Arc::clone(&same.breaker), Arc::clone(&same.tokens)));
            let (breaker, tokens) = kept.unwrap_or_default();
            Arc::new(Generation {
                header: Arc::new(CredentialHeader::new(&self.scheme, &value.secret)),
                value: Arc::clone(value),
                breaker,
                tokens,
            })
        });
        let old = self.current.swap(next.clone())?;
        if !next.is_some_and(|next| Arc::ptr_eq(&next.breaker, &old.breaker)) {
            old.breaker.retire();
        }
        Some(old)
    }

    /// Drops the value for good, although the credential keeps it. Returns the generation before.
    pub(super) fn detach(&self) -> Option<Arc<Generation>> {
        self.is_detached.store(true, Ordering::Relaxed);
        let old = self.current.swap(None)?;
        old.breaker.retire();
        Some(old)
    }

    fn is_detached(&self) -> bool {
        self.is_detached.load(Ordering::Relaxed)
    }

    /// True if the lease is of the current generation.
    pub(crate) fn is_current(&self, lease: &Lease) -> bool {
        let current = self.current.load();
        current
            .as_ref()
            .is_some_and(|current| current.value.number == lease.generation.value.number)
    }

    /// True if another registry's route could use this one.
    pub(crate) fn fits(&self, shared: &Arc<Credential>, scheme: &Scheme) -> bool {
        Arc::ptr_eq(&self.shared, shared) && self.scheme == *scheme
    }
}

/// A request's hold on one generation (invariant 11). It lasts until the response head has arrived. A rotation waits for
/// its drop.
#[derive(Debug)]
pub(crate) struct Lease {
    generation: Arc<Generation>,
    /// True if the circuit breaker counts the request as a trial.
    is_trial: bool,
}

impl Lease {
    fn new(generation: Arc<Generation>, is_trial: bool) -> Self {
        Self { generation, is_trial }
    }

    /// The generation that the request carries.
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }

    #[cfg(test)]
    pub(super) fn is_trial(&self) -> bool {
        self.is_trial
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_trial {
            self.generation.breaker.end_trial();
        }
    }
}

/// More than a working source needs. A source whose tokens expire at once must not keep a request forever.
const MAX_ATTEMPTS: usize = 8;
