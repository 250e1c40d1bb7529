//! One value of a credential, between two rotations: by itself, and made into a registry's header.

use std::sync::Arc;

use regauth_shared::Secret;
use time::OffsetDateTime;

use crate::credential::circuit_breaker::CircuitBreaker;
use crate::credential::lifetime::{Lifetime, Moment};
use crate::proxy::exchange::rewrite::CredentialHeader;
use crate::registry::Scheme;

/// One value of a credential; several registries may use it, each by its own scheme.
#[derive(Clone, Debug)]
pub struct Value {
    /// Counts up at every rotation, from 1.
    pub number: u64,
    /// When it was stored or came from its source.
    pub since: OffsetDateTime,
    /// The secret itself.
    pub secret: Secret,
    /// How long it lives, where that is known.
    pub lifetime: Option<Lifetime>,
}

/// A value as one registry sends it.
#[derive(Debug)]
pub struct Generation {
    /// Counts up at every rotation, from 1.
    pub number: u64,
    /// When it was stored or came from its source.
    pub since: OffsetDateTime,
    /// How long it lives, where that is known.
    pub lifetime: Option<Lifetime>,
    header: CredentialHeader,
    secret: Secret,
    guard: Arc<CircuitBreaker>,
}

impl Generation {
    /// A generation and the header it becomes under `scheme`. `known` is what was made of the same value before.
    pub fn new(value: &Value, scheme: &Scheme, known: Option<&Self>) -> Self {
        Self {
            number: value.number,
            since: value.since,
            lifetime: value.lifetime,
            header: CredentialHeader::new(scheme, &value.secret),
            secret: value.secret.clone(),
            guard: known.map_or_else(Arc::default, |known| Arc::clone(&known.guard)),
        }
    }

    /// The header to send.
    pub fn header(&self) -> &CredentialHeader {
        &self.header
    }

    /// The secret itself, for asking the registry about it.
    pub fn secret(&self) -> &Secret {
        &self.secret
    }

    /// What the registry thinks of it.
    pub fn guard(&self) -> &CircuitBreaker {
        &self.guard
    }

    /// There is another one in its place: requests that wait to use this one look for that.
    pub fn give_way_to(&self, next: Option<&Self>) {
        if !next.is_some_and(|next| Arc::ptr_eq(&self.guard, &next.guard)) {
            self.guard.retire();
        }
    }

    /// Whether its time is over. One that does not expire asks no clock.
    pub fn is_over(&self) -> bool {
        self.lifetime.is_some_and(|lifetime| lifetime.is_over(Moment::now()))
    }
}

/// A request's hold on one generation, until the registry has answered (invariant 11).
#[derive(Debug)]
pub struct Lease {
    generation: Arc<Generation>,
    scout: bool,
}

impl Lease {
    pub(super) fn new(generation: Arc<Generation>, scout: bool) -> Self {
        Self { generation, scout }
    }

    /// What the request carries.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.scout {
            self.generation.guard.release();
        }
    }
}
