//! The state: registries in service, the journal and the authorities.
//!
//! The state lock is held only while this process works, and while it writes its own files. A verb asks registries and
//! sources before it locks, and releases the lock for each call of a store ([`StateGuard::unlocked`]). So `rotate` and
//! `remove-registry` of one registry never wait for another registry, source or store. Changes take turns on top
//! ([`StateLock::lock_for_change`]): verbs that add registries or scopes, set an upstream, apply a configuration or
//! migrate secrets, and the background retries. The grants' file has a lock of its own. Requests take no lock: they use the routes that were published last. Verbs that only read use a [`Snapshot`].
//!
//! Operations that several verbs share are methods of the [`Controller`](crate::control::controller::Controller):
//! [`apply`] puts a configuration into service, [`binding`] cuts it down to what the stored tokens were given for,
//! [`authorities`] creates and forgets authorities and writes the bundle,
//! [`recovery`] completes what a kill or a locked store interrupted, [`cleanup`] deletes the copies that a migration
//! between [`stores`] leaves behind, [`definers`] keeps the names of root, [`proxy_password`] keeps the corporate proxy's password.

pub(super) mod apply;
pub(super) mod authorities;
pub(crate) mod binding;
pub(super) mod cleanup;
mod definers;
pub(super) mod proxy_password;
pub(super) mod recovery;
pub(crate) mod stores;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};
use tokio::sync::{Mutex, MutexGuard};

use crate::authority::Authority;
use crate::config::Config;
use crate::control::verbs::device_login::PendingLogins;
use crate::credential::store::StoreError;
use crate::host::Host;
use crate::journal::Journal;
use crate::policy::binding::Binding;
use crate::proxy::exchange::action_seal::ActionSeal;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::routes::{HostKeys, RegistryRoute, Routes};
use crate::registry::{Kind, Registry};

/// Registries in service, by name.
pub(crate) type RegistryRoutes = BTreeMap<RegistryName, Arc<RegistryRoute>>;

/// Registries in service, the journal and the authorities.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// The journal; equal to the file, except between a change and its write.
    pub(crate) journal: Journal,
    /// Registries in service.
    pub(crate) registries: RegistryRoutes,
    /// Configuration that was last read from the file and put in service. Its registries may have changed since.
    pub(in crate::control) last_read: Config,
    /// Bindings of stored tokens, by owner, as read from the store.
    pub(in crate::control) bindings: BTreeMap<RegistryName, Binding>,
    /// Bindings for tokens of a release without bindings: what the configuration of the start says.
    pub(in crate::control) of_older_release: BTreeMap<RegistryName, Binding>,
    /// Hosts whose authority's key was read from the store.
    pub(crate) identities: BTreeMap<Host, HostIdentity>,
    /// The store's last error, for `status`.
    pub(crate) store_error: Option<StoreError>,
    /// True if the journal's file was missing though the daemon has run before.
    pub(in crate::control) journal_was_lost: bool,
    /// Counts removals of registries. A change that released the lock compares it.
    pub(in crate::control) removals: u64,
    /// Registries whose token is being added to the store or deleted from it.
    pub(in crate::control) busy: BTreeSet<RegistryName>,
    /// Hosts whose authorities a change is creating. They are in use already.
    pub(in crate::control) reserved_hosts: BTreeSet<Host>,
    /// Registries whose new token is being written to the store.
    pub(in crate::control) rotating: BTreeSet<RegistryName>,
}

impl State {
    /// The registry `name`.
    ///
    /// # Errors
    /// `not-found`, with the names that exist.
    pub(in crate::control) fn registry(&self, name: &RegistryName) -> Result<Arc<RegistryRoute>, ErrorBody> {
        find(&self.registries, name)
    }

    /// Hosts of all registries, as far as they are reached over TLS.
    pub(in crate::control) fn hosts(&self) -> BTreeSet<Host> {
        let registries = self.registries.values().map(|route| &route.registry);
        registries.flat_map(Registry::hosts).cloned().collect()
    }

    /// Refuses a registry with a scope that another registry has.
    ///
    /// # Errors
    /// `exists`, with the scope and the other registry.
    pub(in crate::control) fn refuse_taken_scopes(
        &self,
        name: &RegistryName,
        registry: &Registry,
    ) -> Result<(), ErrorBody> {
        let others = self.registries.iter().filter(|(other, _)| *other != name);
        for (other, route) in others {
            let taken = |scope: &&_| route.configured().scopes.contains(scope);
            if let Some(scope) = registry.scopes.iter().find(taken) {
                let message = format!("the registry `{other}` covers {scope} already");
                return Err(ErrorBody::new(ErrorKind::Exists, message).hint(format!(
                    "give a longer path, or run `regauthctl remove-registry {other}` first"
                )));
            }
        }
        Ok(())
    }

    /// Routes for the workers.
    pub(in crate::control) fn routes(&self) -> Routes {
        let registries: Vec<Arc<RegistryRoute>> = self.registries.values().map(Arc::clone).collect();
        let without_authority = match &self.store_error {
            Some(error) if !error.is_locked() => ProxyError::StoreUnavailable,
            _ => ProxyError::StoreLocked,
        };
        let routes = Routes::new(&registries, |origin| {
            let identity = self.identities.get(&origin.host)?;
            let on_origin =
                |route: &&Arc<RegistryRoute>| route.registry.scopes.iter().any(|scope| scope.origin == *origin);
            let only_git = registries
                .iter()
                .filter(on_origin)
                .all(|route| route.registry.kind == Kind::Git);
            let tls = if only_git { &identity.tls_for_git } else { &identity.tls };
            Some(HostKeys {
                tls: Arc::clone(tls),
                action_seal: identity.action_seal.clone(),
            })
        });
        routes.refusing_with(without_authority)
    }
}

/// Authority and TLS server configurations of one host. Each configuration is made once: it holds the sessions that
/// clients resume.
#[derive(Clone, Debug)]
pub(crate) struct HostIdentity {
    /// The authority that signs the host's certificates.
    pub(crate) authority: Arc<Authority>,
    /// TLS with HTTP/2 and HTTP/1.1.
    pub(crate) tls: Arc<rustls::ServerConfig>,
    /// TLS with HTTP/1.1 only, for hosts with git registries only: large pushes over HTTP/2 can hang in git and libcurl
    /// (<https://github.com/git/git/issues/1608>).
    pub(crate) tls_for_git: Arc<rustls::ServerConfig>,
    /// Seal for tokens of Git LFS, if the authority is one that daemons share.
    pub(crate) action_seal: Option<Arc<ActionSeal>>,
}

/// The [`State`] behind a lock, and the [`Snapshot`] of it that was published last.
#[derive(Debug)]
pub(crate) struct StateLock {
    state: Mutex<State>,
    /// Held by a change for all of its duration, also while it releases the state.
    changes: Mutex<()>,
    /// Held while the grants' file is replaced.
    grants: Mutex<()>,
    /// Held while a secret that somebody claims to know is compared: one at a time.
    guesses: Mutex<()>,
    snapshot: ArcSwap<Snapshot>,
    /// Logins that people have to confirm. They have a lock of their own.
    pub(in crate::control) logins: PendingLogins,
    /// True once the daemon is ending: another daemon may own the files by now.
    closed: AtomicBool,
}

/// The locked [`State`].
#[derive(Debug)]
pub(crate) struct StateGuard<'a> {
    lock: &'a StateLock,
    /// Empty only within [`StateGuard::unlocked`].
    state: Option<MutexGuard<'a, State>>,
    /// The turn of a change.
    turn: Option<MutexGuard<'a, ()>>,
}

impl StateGuard<'_> {
    /// Releases the lock while `work` waits for a store, and locks again. Meanwhile a registry may be removed or rotated.
    pub(in crate::control) async fn unlocked<T>(&mut self, work: impl Future<Output = T>) -> T {
        self.state = None;
        let result = work.await;
        self.state = Some(self.lock.state.lock().await);
        result
    }
}

/// A change has ended, so it reserves nothing any more.
impl Drop for StateGuard<'_> {
    fn drop(&mut self) {
        if self.turn.is_some()
            && let Some(state) = &mut self.state
        {
            state.reserved_hosts.clear();
        }
    }
}

#[expect(
    clippy::expect_used,
    reason = "`unlocked` borrows the guard mutably until it has locked again"
)]
impl Deref for StateGuard<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        self.state.as_ref().expect("the state is locked")
    }
}

#[expect(
    clippy::expect_used,
    reason = "`unlocked` borrows the guard mutably until it has locked again"
)]
impl DerefMut for StateGuard<'_> {
    fn deref_mut(&mut self) -> &mut State {
        self.state.as_mut().expect("the state is locked")
    }
}

impl StateLock {
    /// State at a start: the journal as read, no registry in service.
    pub(crate) fn new(journal: Journal, journal_was_lost: bool) -> Self {
        let state = State {
            journal,
            journal_was_lost,
            ..State::default()
        };
        Self {
            state: Mutex::new(state),
            changes: Mutex::default(),
            grants: Mutex::default(),
            guesses: Mutex::default(),
            snapshot: ArcSwap::default(),
            logins: PendingLogins::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// Locks the state.
    ///
    /// # Errors
    /// `unreachable` when the daemon is ending.
    pub(in crate::control) async fn lock(&self) -> Result<StateGuard<'_>, ErrorBody> {
        self.lock_with_turn(None).await
    }

    /// Waits until no other change is under way, and locks the state.
    ///
    /// # Errors
    /// As [`StateLock::lock`].
    pub(in crate::control) async fn lock_for_change(&self) -> Result<StateGuard<'_>, ErrorBody> {
        let turn = self.changes.lock().await;
        self.lock_with_turn(Some(turn)).await
    }

    async fn lock_with_turn<'a>(&'a self, turn: Option<MutexGuard<'a, ()>>) -> Result<StateGuard<'a>, ErrorBody> {
        let state = self.state.lock().await;
        self.check_open()?;
        Ok(StateGuard {
            lock: self,
            state: Some(state),
            turn,
        })
    }

    /// Locks the state, unless a verb holds the lock or the daemon is ending.
    pub(in crate::control) fn try_lock(&self) -> Option<StateGuard<'_>> {
        let state = self.state.try_lock().ok()?;
        self.check_open().ok()?;
        Some(StateGuard {
            lock: self,
            state: Some(state),
            turn: None,
        })
    }

    /// Compares a secret that somebody claims to know. Comparisons take turns, and a wrong one ends with a pause, so a
    /// program that guesses waits for each guess.
    pub(in crate::control) async fn guess<T>(
        &self,
        compare: impl Future<Output = T>,
        is_wrong: impl FnOnce(&T) -> bool,
    ) -> T {
        let _turn = self.guesses.lock().await;
        let compared = compare.await;
        if is_wrong(&compared) {
            tokio::time::sleep(WRONG_GUESS_PAUSE).await;
        }
        compared
    }

    /// Locks the grants' file.
    ///
    /// # Errors
    /// As [`StateLock::lock`].
    pub(in crate::control) async fn lock_grants(&self) -> Result<MutexGuard<'_, ()>, ErrorBody> {
        let grants = self.grants.lock().await;
        self.check_open()?;
        Ok(grants)
    }

    /// Ends all changes: later locks and writes fail. Waits for writes under way.
    pub(in crate::control) async fn close(&self, _state: StateGuard<'_>) {
        self.closed.store(true, Ordering::Release);
        let _written = self.grants.lock().await;
    }

    /// Checks that the daemon still owns its files.
    ///
    /// # Errors
    /// `unreachable` when the daemon is ending.
    pub(in crate::control) fn check_open(&self) -> Result<(), ErrorBody> {
        match self.closed.load(Ordering::Acquire) {
            true => Err(ending()),
            false => Ok(()),
        }
    }

    /// Replaces the snapshot by one of `state`.
    pub(in crate::control) fn publish(&self, state: &State) {
        self.snapshot.store(Arc::new(Snapshot {
            registries: state.registries.clone(),
            store_error: state.store_error.clone(),
            has_pending: !state.journal.pending.is_empty(),
        }));
    }

    /// The snapshot that was published last.
    pub(in crate::control) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }
}

/// The parts of the [`State`] that verbs read without a lock, as last published.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Registries in service.
    pub(crate) registries: RegistryRoutes,
    /// The store's last error.
    pub(crate) store_error: Option<StoreError>,
    /// True while an addition or removal waits for the store to open.
    pub(in crate::control) has_pending: bool,
}

impl Snapshot {
    /// The registry `name`.
    ///
    /// # Errors
    /// `not-found`, with the names that exist.
    pub(in crate::control) fn registry(&self, name: &RegistryName) -> Result<Arc<RegistryRoute>, ErrorBody> {
        find(&self.registries, name)
    }
}

/// The daemon is ending, and the command may not have been carried out.
pub(in crate::control) fn ending() -> ErrorBody {
    let error = ErrorBody::new(ErrorKind::Unreachable, "this regauthd is ending");
    error.hint("repeat the command when the next regauthd runs")
}

fn find(registries: &RegistryRoutes, name: &RegistryName) -> Result<Arc<RegistryRoute>, ErrorBody> {
    let route = registries.get(name).map(Arc::clone);
    route.ok_or_else(|| {
        let names: Vec<&str> = registries.keys().map(RegistryName::as_str).collect();
        let hint = if names.is_empty() {
            "none is configured; `regauthctl add-registry` adds one".to_owned()
        } else {
            format!("there are: {}", names.join(", "))
        };
        ErrorBody::new(ErrorKind::NotFound, format!("there is no registry `{name}`")).hint(hint)
    })
}

/// Pause after a secret that is not the present one.
const WRONG_GUESS_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn guesses_take_turns_and_a_wrong_one_costs_a_pause() {
        let lock = StateLock::new(Journal::default(), false);
        let guess = |is_right: bool| lock.guess(async move { (is_right, Instant::now()) }, |(is_right, _)| !is_right);
        let start = Instant::now();
        let guesses = tokio::join!(guess(false), guess(false), guess(true), guess(true));
        let begins = [guesses.0, guesses.1, guesses.2, guesses.3].map(|(_, begin)| begin - start);
        assert_eq!(begins, [0, 1, 2, 2].map(|wrong| WRONG_GUESS_PAUSE * wrong));
    }
}
