//! Background tasks of the control side: they retry a store that was closed, let idle tokens prove themselves again,
//! record generations, and drop connections after the machine was asleep.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use regauth_shared::RegistryName;
use regauth_shared::event::{EventKind, RegistryChange};
use tokio_util::sync::CancellationToken;

use crate::control::controller::Controller;
use crate::control::state::{Snapshot, State};
use crate::control::verbs::grants;
use crate::credential::fingerprint::Fingerprint;
use crate::credential::{self, CredentialState};
use crate::journal::{JournalEntry, Rotation};
use crate::process;
use crate::registry::Source;

/// Every [`STORE_RETRY_INTERVAL`]: loads what a closed store did not give, deletes the copies that a migration left.
pub(crate) async fn retry_stores(controller: Arc<Controller>, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(STORE_RETRY_INTERVAL) => {
                controller.retry_store().await;
                controller.retry_cleanup().await;
            }
        }
    }
}

/// Every [`TIDY_INTERVAL`]: expires the trust in idle generations, announces permissions that have ended, records the
/// generations that sources gave, and returns freed memory once the proxy is quiet.
pub(crate) async fn tidy(controller: Arc<Controller>, end: CancellationToken) {
    let mut quiet = Quiet::default();
    let mut recorded = None;
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(TIDY_INTERVAL) => {
                controller.expire_trust();
                controller.announce_ends();
                if quiet.has_begun(controller.proxy.counters.activity()) {
                    process::return_freed_pages();
                }
                controller.record_changed_generations(&mut recorded).await;
            }
        }
    }
}

/// Values and registries that the journal has: a count of values, and the snapshot with the registries.
type Recorded = (u64, Arc<Snapshot>);

/// Drops all upstream connections when the machine wakes up: the other ends have forgotten them during sleep, and a
/// request on one of them would wait until its timeout.
///
/// The wall clock goes on in sleep, the monotonic clock stands still (clock_gettime(2)). A wall clock that was set forward
/// looks like sleep, which costs only new handshakes.
pub(crate) async fn watch_for_sleep(controller: Arc<Controller>, end: CancellationToken) {
    let now = || (Instant::now(), SystemTime::now());
    let mut before = now();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(CLOCK_CHECK_INTERVAL) => {}
        }
        let now = now();
        if was_asleep(before, now) {
            tracing::info!("dropped the connections to registries: the machine was asleep");
            controller.reset_connections();
        }
        before = now;
    }
}

fn was_asleep(before: (Instant, SystemTime), now: (Instant, SystemTime)) -> bool {
    // A wall clock that was set back gives no duration.
    let passed = now.1.duration_since(before.1).unwrap_or_default();
    passed > now.0.duration_since(before.0) + CLOCK_TOLERANCE
}

/// Detector of pauses after activity.
#[derive(Debug, Default)]
struct Quiet {
    activity: (u64, u64),
    rounds: u32,
}

impl Quiet {
    /// Returns true once for each pause: in its [`QUIET_ROUNDS`]th round with the same activity.
    fn has_begun(&mut self, activity: (u64, u64)) -> bool {
        let is_same = activity == self.activity;
        self.activity = activity;
        self.rounds = if is_same { self.rounds.saturating_add(1) } else { 0 };
        self.rounds == QUIET_ROUNDS
    }
}

impl Controller {
    /// Drops all pooled upstream connections.
    fn reset_connections(&self) {
        for route in self.snapshot().registries.values() {
            route.upstream.reset();
        }
        self.proxy.passthrough.reset();
        self.proxy.public_only_passthrough.reset();
    }

    /// Makes generations that are not in use prove themselves again.
    fn expire_trust(&self) {
        for route in self.snapshot().registries.values() {
            if let Some(generation) = route.credential.generation() {
                generation.breaker.expire_trust();
            }
        }
    }

    /// Announces grants and windows for writes that have ended by themselves.
    fn announce_ends(&self) {
        grants::announce_expired(self);
        for (registry, route) in &self.snapshot().registries {
            if route.usage.close_ended_window() {
                let registry = registry.clone();
                self.announce(EventKind::WritesClosed(RegistryChange { registry }));
            }
        }
    }

    /// [`Controller::record_sourced_generations`], if a value or the registries have changed since the last call. A verb that
    /// holds the lock is not waited for: the next round comes soon.
    async fn record_changed_generations(&self, recorded: &mut Option<Recorded>) {
        // Read first: a later change is for the next round.
        let now = (credential::replacements(), self.snapshot());
        let has_changed = |recorded: &Recorded| recorded.0 != now.0 || !Arc::ptr_eq(&recorded.1, &now.1);
        if recorded.as_ref().is_none_or(has_changed)
            && let Some(mut state) = self.state.try_lock()
        {
            self.record_sourced_generations(&mut state).await;
            *recorded = Some(now);
        }
    }

    /// Records the last generation that each source gave, so that its number goes on after a restart. Writes the journal
    /// if something changed.
    pub(in crate::control) async fn record_sourced_generations(&self, state: &mut State) {
        let State {
            registries, journal, ..
        } = state;
        let has_source = |name: &RegistryName| {
            let source = registries.get(name).map(|route| &route.registry.source);
            source.is_some_and(Source::can_be_fetched)
        };
        let before = journal.sourced.len();
        journal.sourced.retain(|name, _| has_source(name));
        let mut changed = journal.sourced.len() != before;
        for (name, route) in registries.iter().filter(|(name, _)| has_source(name)) {
            let CredentialState::Ready(value) = route.credential.shared.state() else {
                continue;
            };
            let entry = JournalEntry::of(&value);
            if journal.sourced.get(name).is_none_or(|last| last.entry != entry) {
                let fingerprint = Fingerprint::of(&value.secret, value.since);
                journal.sourced.insert(name.clone(), Rotation { entry, fingerprint });
                changed = true;
            }
        }
        if changed && let Err(error) = self.write_journal(journal).await {
            tracing::warn!(
                error = error.message,
                "could not record the generations of tokens from sources; after a restart they count from 1 again"
            );
        }
    }
}

/// Time between two retries of a closed store.
const STORE_RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Time between two rounds of [`tidy`].
const TIDY_INTERVAL: Duration = Duration::from_secs(1);
/// Rounds without activity after which freed memory is returned. A build that goes on reuses it.
const QUIET_ROUNDS: u32 = 3;
/// Time between two comparisons of the clocks.
const CLOCK_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Largest difference between the clocks without sleep: clocks are adjusted.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_begins_once_after_activity() {
        let mut quiet = Quiet::default();
        let begins = [1, 1, 1, 2, 2, 2, 2, 2, 2, 3].map(|activity| quiet.has_begun((activity, 0)));
        assert_eq!(begins.iter().position(|begins| *begins), Some(6));
        assert_eq!(begins.iter().filter(|begins| **begins).count(), 1);
    }

    #[test]
    fn detects_sleep_by_a_wall_clock_that_runs_ahead_of_the_monotonic_clock() {
        let before = (Instant::now(), SystemTime::now());
        let later = |awake, wall| {
            let [awake, wall] = [awake, wall].map(Duration::from_secs);
            was_asleep(before, (before.0 + awake, before.1 + wall))
        };
        assert!(!later(5, 5), "an idle machine");
        assert!(!later(600, 601), "a busy machine");
        assert!(later(5, 3600), "an hour of sleep");
        let set_back = before.1 - Duration::from_secs(3600);
        assert!(!was_asleep(before, (before.0 + CLOCK_CHECK_INTERVAL, set_back)));
    }
}
