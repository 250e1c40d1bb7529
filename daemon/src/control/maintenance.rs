//! What is looked after every now and then without being asked for: stores that were closed, tokens that rest or were
//! renewed, a machine that was asleep.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use regauth_shared::RegistryName;
use tokio_util::sync::CancellationToken;

use crate::control::controller::Controller;
use crate::control::state::State;
use crate::credential::fingerprint::Fingerprint;
use crate::credential::shelf::Present;
use crate::credential::source::Origin;
use crate::journal::{JournalEntry, Rotation};

impl Controller {
    /// Lets go of all pooled connections.
    fn renew_connections(&self) {
        for route in self.snapshot().registries.values() {
            route.upstream.reset();
        }
        self.proxy.strangers.reset();
        self.proxy.public_only_passthrough.reset();
    }

    /// Generations that are not in use have to prove themselves again.
    fn rest_guards(&self) {
        for route in self.snapshot().registries.values() {
            if let Some(generation) = route.credential.generation() {
                generation.guard().rest();
            }
        }
    }

    /// Notes what sources gave; a verb that has the books is not waited for.
    fn note_generations(&self) {
        if let Some(mut state) = self.state.take_if_free() {
            self.note(&mut state);
        }
    }

    /// Notes which generation each source gave last, so that its number goes on after a restart.
    pub(super) fn note(&self, state: &mut State) {
        let State { registries, journal, .. } = state;
        let comes_from_elsewhere = |name: &RegistryName| {
            let source = registries.get(name).map(|route| &route.registry.source);
            source.is_some_and(|source| Origin::of(source).is_some())
        };
        let before = journal.sourced.len();
        journal.sourced.retain(|name, _| comes_from_elsewhere(name));
        let mut changed = journal.sourced.len() != before;
        for (name, route) in registries.iter().filter(|(name, _)| comes_from_elsewhere(name)) {
            let Present::Ready(value) = route.keeper.present() else {
                continue;
            };
            let record = JournalEntry::of(&value);
            if journal.sourced.get(name).is_none_or(|noted| noted.record != record) {
                let mark = Fingerprint::of(&value.secret, value.since);
                journal.sourced.insert(name.clone(), Rotation { record, mark });
                changed = true;
            }
        }
        if changed && let Err(error) = self.write_journal(journal) {
            tracing::warn!(
                error = error.message,
                "the numbers of tokens from elsewhere begin anew after a restart"
            );
        }
    }
}

/// Tries again what a closed store has left undone.
pub(crate) async fn retry_store(controller: Arc<Controller>, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(RETRY) => {
                controller.retry_store().await;
                controller.retry_other_store().await;
            }
        }
    }
}

/// A machine that was asleep has connections to registries that nobody remembers but we: the first request on such a one
/// would wait for an answer until it gives up. The wall clock goes on in sleep, the monotonic one stands still
/// (clock_gettime(2)); a clock that was set is taken for sleep, which costs a handshake.
pub(crate) async fn notice_resumption(controller: Arc<Controller>, end: CancellationToken) {
    let now = || (Instant::now(), SystemTime::now());
    let mut before = now();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = now();
        if was_asleep(before, now) {
            tracing::info!("the machine was asleep; connections to registries are made anew");
            controller.renew_connections();
        }
        before = now;
    }
}

fn was_asleep(before: (Instant, SystemTime), now: (Instant, SystemTime)) -> bool {
    // A clock that was set back tells nothing.
    let passed = now.1.duration_since(before.1).unwrap_or_default();
    passed > now.0.duration_since(before.0) + ASLEEP
}

/// What has to be looked at every second.
pub(crate) async fn tidy(controller: Arc<Controller>, end: CancellationToken) {
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            () = tokio::time::sleep(REST) => {
                controller.rest_guards();
                controller.note_generations();
            }
        }
    }
}

/// How often the clocks are compared.
const LOOK: Duration = Duration::from_secs(5);
/// What they may differ by without sleep: clocks are adjusted.
const ASLEEP: Duration = Duration::from_secs(3);
const RETRY: Duration = Duration::from_secs(5);
/// A generation that was not accepted for so long has to prove itself again; the numbers of new ones are noted as often.
const REST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sleep_is_what_only_the_wall_clock_has_seen() {
        let before = (Instant::now(), SystemTime::now());
        let later = |awake, wall| {
            let [awake, wall] = [awake, wall].map(Duration::from_secs);
            was_asleep(before, (before.0 + awake, before.1 + wall))
        };
        assert!(!later(5, 5));
        assert!(!later(600, 601), "a machine that was busy");
        assert!(later(5, 3600));
        assert!(!was_asleep(
            before,
            (before.0 + LOOK, before.1 - Duration::from_secs(3600))
        ));
    }
}
