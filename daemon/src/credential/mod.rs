//! Credentials: tokens in memory, where they are fetched from, and where they are stored.
//!
//! A `Credential` is one token in memory. Several registries may send it, each in the header that its scheme asks
//! for: a `RegistryCredential` keeps that header ready, and every request takes it with
//! `RegistryCredential::acquire`. `Credential::rotate` puts another token in place and returns when no request
//! holds the old one.
//!
//! - [`header`] makes a secret into a header; `leak_detector` finds the secret in a registry's answer.
//! - `circuit_breaker` stops sending a token that the registry rejects.
//! - [`source`] fetches tokens from files and programs; `refresher` does so before a token's `lifetime` ends.
//! - [`store`] keeps secrets across restarts: keychain, vault or memory.
//!
//! Nothing here imports the proxy. Connection pools follow `Credential::rotations`.

pub mod header;
pub mod source;
pub mod store;

pub(crate) mod circuit_breaker;
pub(crate) mod fingerprint;
pub(crate) mod refresher;

mod leak_detector;
mod lifetime;
mod registry_credential;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use regauth_shared::Secret;
use time::OffsetDateTime;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::registry::Scheme;
use fingerprint::KnownGeneration;
use lifetime::{ClockReading, Lifetime};
use refresher::{RefreshStatus, RefresherHandle};
pub(crate) use registry_credential::{Generation, Lease, RegistryCredential, Unavailable};
use source::FetchedToken;

/// A token in memory and the registries that send it.
#[derive(Debug)]
pub(crate) struct Credential {
    inner: Mutex<Inner>,
    /// Sends after each rotation, when no request holds the old token.
    rotations: watch::Sender<()>,
    /// Present if the token comes from a file or a program.
    refresher: Option<RefresherHandle>,
}

#[derive(Debug)]
struct Inner {
    state: CredentialState,
    registries: Vec<Weak<RegistryCredential>>,
    last_number: u64,
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
}

impl Credential {
    /// A credential that only [`Credential::rotate`] changes.
    pub(crate) fn fixed() -> Arc<Self> {
        Arc::new(Self::new(None, None))
    }

    fn new(refresher: Option<RefresherHandle>, known: Option<KnownGeneration>) -> Self {
        Self {
            inner: Mutex::new(Inner {
                state: CredentialState::Missing("it has not been fetched yet".to_owned()),
                registries: Vec::new(),
                last_number: known.map_or(0, |known| known.number),
                known,
                refresh_status: RefreshStatus::default(),
            }),
            rotations: watch::Sender::new(()),
            refresher,
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

    /// Completed rotations, for a connection pool.
    pub(crate) fn rotations(&self) -> Rotations {
        Rotations(self.rotations.subscribe())
    }

    /// Puts `state` in place for every registry, waits until no request holds the old value, then tells connection pools
    /// that their connections carried an old token. Waits at most [`HOLDER_TIMEOUT`].
    ///
    /// After it has returned, no new request carries the old generation, and unless it timed out, every request that did
    /// has ended. This does not depend on the memory model of the CPU:
    ///
    /// 1. `ArcSwap` orders its loads and swaps sequentially consistently. A load that begins after the swap returns the
    ///    new generation.
    /// 2. When the swap returns, every load of the old generation has been counted: the reader has incremented the
    ///    reference count, or the swap has found the reader's debt and incremented the count in its place. The swap reads
    ///    the debts after it has exchanged the pointer, so it misses no reader, and their increments happen before its
    ///    return. From then on the pointer is out of reach and a [`Lease`] is not cloned, so the count only falls.
    /// 3. `Arc::get_mut` reads the count with Acquire, and every holder's drop decrements it with Release. All that a
    ///    holder did has happened before `get_mut` succeeds, and so before the pools are told.
    pub(crate) async fn rotate(&self, state: CredentialState) {
        self.replace(state).wait().await;
    }

    /// Puts a fetched token in place as [`Credential::rotate`] does.
    pub(crate) async fn install(&self, fetched: FetchedToken) -> Installed {
        let (installed, replaced) = self.replace_with_fetched(fetched, ClockReading::now());
        replaced.wait().await;
        if let Some(refresher) = &self.refresher {
            refresher.reschedule();
        }
        installed
    }

    fn replace(&self, state: CredentialState) -> Replaced {
        self.replace_locked(&mut self.lock(), state)
    }

    /// A token that is the current one gets the new lifetime, and its generation stays.
    fn replace_with_fetched(&self, fetched: FetchedToken, now: ClockReading) -> (Installed, Replaced) {
        let mut inner = self.lock();
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
        };
        let value = Value {
            number,
            since,
            lifetime: Lifetime::new(now, fetched.expires, fetched.ttl),
            secret: fetched.secret,
        };
        (installed, self.replace_locked(&mut inner, value.into()))
    }

    fn replace_locked(&self, inner: &mut Inner, state: CredentialState) -> Replaced {
        let [old, new] = [&inner.state, &state].map(|state| state.value().map(|value| value.number));
        inner.last_number = new.unwrap_or(inner.last_number);
        inner.state = state;
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
    /// True if its lifetime has ended. Reads no clock if it has none.
    pub(crate) fn has_expired(&self) -> bool {
        self.lifetime
            .is_some_and(|lifetime| lifetime.has_expired(ClockReading::now()))
    }
}

/// Generations that requests no longer get, and may still hold.
#[derive(Debug)]
struct Replaced {
    generations: Vec<Arc<Generation>>,
    /// Present if the token is another one.
    rotations: Option<watch::Sender<()>>,
}

impl Replaced {
    /// Waits until no request holds them; see [`Credential::rotate`].
    async fn wait(self) {
        let deadline = Instant::now() + HOLDER_TIMEOUT;
        for mut generation in self.generations {
            while Arc::get_mut(&mut generation).is_none() && Instant::now() < deadline {
                tokio::time::sleep(HOLDER_POLL).await;
            }
        }
        if let Some(rotations) = self.rotations {
            rotations.send_replace(());
        }
    }
}

/// Counter of a credential's completed rotations, as a connection pool sees it.
///
/// The buffers of a connection hold the tokens that it carried. A pool closes its connections when the counter has
/// changed.
#[derive(Clone, Debug)]
pub(crate) struct Rotations(watch::Receiver<()>);

/// A counter that never changes, for connections that carry no credential.
impl Default for Rotations {
    fn default() -> Self {
        Self(watch::channel(()).1)
    }
}

impl Rotations {
    /// True if there was a rotation since the last call. One atomic load if there was none.
    pub(crate) fn take_changed(&mut self) -> bool {
        let changed = self.0.has_changed().unwrap_or(false);
        if changed {
            self.0.mark_unchanged();
        }
        changed
    }

    /// Waits for the next rotation; forever if the credential is gone.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Time that a rotation waits for requests that hold the old generation.
const HOLDER_TIMEOUT: Duration = Duration::from_secs(10);
const HOLDER_POLL: Duration = Duration::from_millis(2);

#[cfg(test)]
pub(crate) mod tests;
