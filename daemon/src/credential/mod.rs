//! Credentials: tokens in memory, where they are fetched from, and where they are stored.
//!
//! A `Credential` is one token in memory. Several registries may send it, each in the header that its scheme asks
//! for: a `RegistryCredential` keeps that header ready, and every request takes it with
//! `RegistryCredential::acquire`. A rotation puts another token in place with `Credential::replace_in_turn`.
//! `Replaced::wait` then returns when nothing holds the old one (`rotation`).
//!
//! - [`header`] makes a secret into a header; `leak_detector` finds the secret in a registry's answer.
//! - `circuit_breaker` stops sending a token that the registry rejects.
//! - [`source`] fetches tokens from files and programs; `refresher` does so before a token's `lifetime` ends.
//! - [`store`] keeps secrets across restarts: keychain, vault or memory.
//!
//! Only [`source::token_client`] imports the proxy: its requests go over an `Upstream`. Connection pools follow `Credential::rotations`.

pub mod header;
pub mod source;
pub mod store;

pub(crate) mod circuit_breaker;
pub(crate) mod fingerprint;
pub(crate) mod refresher;

mod leak_detector;
pub(crate) mod lifetime;
mod registry_credential;
mod retirement;
mod rotation;
pub(crate) mod scoped_tokens;
mod token_claims;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use regauth_shared::Secret;
use time::OffsetDateTime;
use tokio::sync::watch;

use crate::registry::Scheme;
use fingerprint::KnownGeneration;
use lifetime::{ClockReading, Lifetime};
use refresher::{Fetched, RefreshStatus, RefresherHandle};
pub(crate) use registry_credential::{Generation, Lease, RegistryCredential, Unavailable};
pub(crate) use rotation::{Replaced, Rotations};
use source::FetchedToken;

/// A token in memory and the registries that send it.
#[derive(Debug)]
pub(crate) struct Credential {
    inner: Mutex<Inner>,
    /// Sends after each rotation, when nothing holds the old token.
    rotations: watch::Sender<()>,
    /// Present if the token comes from a file or a program.
    refresher: Option<RefresherHandle>,
    /// Held by a rotation while it writes to the store.
    rotation_turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    state: CredentialState,
    registries: Vec<Weak<RegistryCredential>>,
    /// Highest number so far: numbers never go back.
    last_number: u64,
    /// Counts the values that were put in place.
    changes: u64,
    /// Ticket of the last rotation that began, and of the last one in place.
    tickets: (u64, u64),
    /// True once no registry uses the credential.
    is_closed: bool,
    /// The last generation before the daemon started, until the source has given a token.
    known: Option<KnownGeneration>,
    refresh_status: RefreshStatus,
}

/// The value of a credential, or the reason that there is none.
#[derive(Clone, Debug)]
pub(crate) enum CredentialState<T = Arc<Value>> {
    /// The value is in memory.
    Ready(T),
    /// The store has the value and is locked.
    Locked,
    /// The store may have the value and cannot be read; the text says why, for `show`.
    Unreadable(String),
    /// The store or the source has no value; the text says why, for `show`.
    Missing(String),
}

/// One value of a credential, the same for all registries that send it.
#[derive(Debug)]
pub(crate) struct Value {
    /// Number of the generation: counts up at every rotation, from 1.
    pub number: u64,
    /// Time at which it was stored or fetched.
    pub since: OffsetDateTime,
    /// The token.
    pub secret: Secret,
    /// Time until refresh and expiry, if the source tells.
    pub lifetime: Option<Lifetime>,
}

/// Result of putting a fetched token in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Number of the current generation.
    pub number: u64,
    /// True if the token differs from the one before.
    pub is_new: bool,
    /// Number of holders that the old token still had when the wait for them ended.
    pub holders: usize,
}

impl Credential {
    /// A credential without a refresher. It changes by [`Credential::replace_in_turn`], [`Credential::load`] and
    /// [`Credential::close`].
    pub(crate) fn fixed() -> Arc<Self> {
        Arc::new(Self::new(None, None))
    }

    /// A credential that has no value, for this reason.
    pub(crate) fn without_value(reason: CredentialState) -> Arc<Self> {
        let credential = Self::fixed();
        credential.load(reason);
        credential
    }

    fn new(refresher: Option<RefresherHandle>, known: Option<KnownGeneration>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: CredentialState::Missing("it has not been fetched yet".to_owned()),
                registries: Vec::new(),
                last_number: known.map_or(0, |known| known.number),
                changes: 0,
                tickets: (0, 0),
                is_closed: false,
                known,
                refresh_status: RefreshStatus::default(),
            }),
            rotations: watch::Sender::new(()),
            refresher,
            rotation_turn: tokio::sync::Mutex::default(),
        }
    }

    /// Lets a registry send the credential, until the returned value is dropped.
    pub(crate) fn attach(self: &Arc<Self>, scheme: Scheme) -> Arc<RegistryCredential> {
        let registry = Arc::new(RegistryCredential::new(Arc::clone(self), scheme));
        let mut inner = self.lock();
        registry.replace(&inner.state);
        inner.registries.retain(|registry| registry.strong_count() > 0);
        inner.registries.push(Arc::downgrade(&registry));
        registry
    }

    /// The current value, or the reason that there is none.
    pub(crate) fn state(&self) -> CredentialState {
        self.lock().state.clone()
    }

    /// Highest number of a generation so far.
    pub(crate) fn last_number(&self) -> u64 {
        self.lock().last_number
    }

    /// Makes the next generation's number higher than this one.
    pub(crate) fn count_from(&self, number: u64) {
        let mut inner = self.lock();
        inner.last_number = inner.last_number.max(number);
    }

    /// Ticket of a rotation that begins now. A rotation that began later has a higher one.
    pub(crate) fn take_ticket(&self) -> u64 {
        let mut inner = self.lock();
        inner.tickets.0 += 1;
        inner.tickets.0
    }

    /// True if the value of a rotation that began later is in place.
    pub(crate) fn has_passed(&self, ticket: u64) -> bool {
        self.lock().tickets.1 > ticket
    }

    /// First part of a rotation: puts its value in place for every registry. [`Replaced::wait`] is the second part.
    pub(crate) fn replace_in_turn(&self, ticket: u64, state: CredentialState) -> Replaced {
        let mut inner = self.lock();
        inner.tickets.1 = ticket;
        self.replace_locked(&mut inner, state)
    }

    /// Waits until no other rotation of this credential writes to the store.
    pub(crate) async fn rotation_turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.rotation_turn.lock().await
    }

    /// Puts a value that was read from the store or the environment in place, unless there is one already: that one is
    /// newer.
    pub(crate) fn load(&self, state: CredentialState) {
        let mut inner = self.lock();
        if inner.state.value().is_none() {
            self.replace_locked(&mut inner, state);
        }
    }

    /// Drops the value for good and ends the refresher: no registry uses the credential any more. Connection pools close
    /// their connections.
    pub(crate) fn close(&self) -> Replaced {
        let mut replaced = {
            let mut inner = self.lock();
            let replaced = self.replace_locked(&mut inner, CredentialState::Missing(ENDED.to_owned()));
            inner.is_closed = true;
            replaced
        };
        if let Some(refresher) = &self.refresher {
            refresher.end();
        }
        replaced.announce();
        replaced
    }

    /// Takes the value from one registry for good. Other registries send it further.
    pub(crate) fn detach(&self, registry: &RegistryCredential) -> Replaced {
        let mut inner = self.lock();
        inner.registries.retain(|other| !std::ptr::eq(other.as_ptr(), registry));
        Replaced {
            generations: registry.detach().into_iter().collect(),
            rotations: None,
        }
    }

    /// Completed rotations, for a connection pool.
    pub(crate) fn rotations(&self) -> Rotations {
        Rotations(self.rotations.subscribe())
    }

    /// [`Credential::replace`], then [`Replaced::wait`].
    #[cfg(test)]
    pub(crate) async fn rotate(&self, state: CredentialState) -> usize {
        self.replace(state).wait().await
    }

    /// Puts a fetched token in place, and waits as [`Replaced::wait`] does. `None` if another one was put in place since it was
    /// fetched: that one is newer.
    pub(crate) async fn install(&self, fetched: Fetched) -> Option<Installed> {
        let (mut installed, replaced) = self.replace_unless_changed(fetched)?;
        installed.holders = replaced.wait().await;
        if let Some(refresher) = &self.refresher {
            refresher.reschedule();
        }
        Some(installed)
    }

    /// [`Credential::replace_in_turn`] without a ticket.
    #[cfg(test)]
    pub(crate) fn replace(&self, state: CredentialState) -> Replaced {
        self.replace_locked(&mut self.lock(), state)
    }

    /// Puts a fetched token in place, unless another value was put in place since the fetch began.
    fn replace_unless_changed(&self, fetched: Fetched) -> Option<(Installed, Replaced)> {
        let mut inner = self.lock();
        (inner.changes == fetched.changes_before)
            .then(|| self.replace_with_fetched_locked(&mut inner, fetched.token, ClockReading::now()))
    }

    /// A token that is the current one gets the new lifetime, and its generation stays.
    fn replace_with_fetched(&self, fetched: FetchedToken, now: ClockReading) -> (Installed, Replaced) {
        self.replace_with_fetched_locked(&mut self.lock(), fetched, now)
    }

    fn replace_with_fetched_locked(
        &self,
        inner: &mut Inner,
        fetched: FetchedToken,
        now: ClockReading,
    ) -> (Installed, Replaced) {
        inner.refresh_status.failure = None;
        let known = inner.known.take().filter(|known| known.matches(&fetched.secret));
        let (number, since) = match (inner.state.value(), known) {
            (Some(value), _) if value.secret.is_same(&fetched.secret) => (value.number, value.since),
            (_, Some(known)) => (known.number, known.since),
            (_, None) => (inner.last_number + 1, now.wall),
        };
        let installed = Installed {
            number,
            is_new: number > inner.last_number,
            holders: 0,
        };
        let value = Value {
            number,
            since,
            lifetime: Lifetime::new(now, fetched.expires, fetched.ttl),
            secret: fetched.secret,
        };
        (installed, self.replace_locked(inner, value.into()))
    }

    fn replace_locked(&self, inner: &mut Inner, state: CredentialState) -> Replaced {
        if inner.is_closed {
            return Replaced::default();
        }
        let [old, new] = [&inner.state, &state].map(|state| state.value().map(|value| value.number));
        inner.last_number = inner.last_number.max(new.unwrap_or_default());
        inner.changes += 1;
        inner.state = state;
        REPLACEMENTS.fetch_add(1, Ordering::AcqRel);
        let registries = inner.registries.iter().filter_map(Weak::upgrade);
        Replaced {
            generations: registries
                .filter_map(|registry| registry.replace(&inner.state))
                .collect(),
            rotations: (old.is_some() && old != new).then(|| self.rotations.clone()),
        }
    }

    /// True if a registry has accepted the current value.
    fn was_accepted(&self) -> bool {
        let inner = self.lock();
        let registries = inner.registries.iter().filter_map(Weak::upgrade);
        let mut generations = registries.filter_map(|registry| registry.generation());
        generations.any(|generation| generation.breaker.was_accepted())
    }

    /// Held only to read or replace fields.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Number of values that all credentials of this process have put in place. While it is the same, no value changes.
pub(crate) fn replacements() -> u64 {
    REPLACEMENTS.load(Ordering::Acquire)
}

static REPLACEMENTS: AtomicU64 = AtomicU64::new(0);

impl<T> CredentialState<T> {
    /// The value, if there is one.
    pub(crate) fn value(&self) -> Option<&T> {
        match self {
            Self::Ready(value) => Some(value),
            Self::Locked | Self::Unreadable(_) | Self::Missing(_) => None,
        }
    }
}

impl From<Value> for CredentialState {
    fn from(value: Value) -> Self {
        Self::Ready(Arc::new(value))
    }
}

impl Value {
    /// Time of its end, as its source or the token itself tells.
    pub(crate) fn ends(&self) -> Option<OffsetDateTime> {
        let told = self.lifetime.map(|lifetime| lifetime.expires());
        told.or_else(|| token_claims::expiry(&self.secret))
    }

    /// True if its lifetime has ended. Reads no clock if it has none.
    pub(crate) fn has_expired(&self) -> bool {
        self.lifetime
            .is_some_and(|lifetime| lifetime.has_expired(ClockReading::now()))
    }
}

/// Reason for the absence of a value whose registry was removed, or uses another credential.
const ENDED: &str = "its registry was removed or has another credential";

#[cfg(test)]
pub(crate) mod tests;
