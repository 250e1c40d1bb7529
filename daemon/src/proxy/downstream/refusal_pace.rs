//! Pace of clients that show no valid grant: after some refusals in a row, each answer 407 takes a second.
//!
//! A client may need a few attempts, since many programs send their proxy's password only after a 407. So a connection
//! with a valid grant forgets the refusals of its user or address.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::proxy::downstream::limits::Principal;

/// Refusals of each user and address. The table is bounded.
#[derive(Debug, Default)]
pub(crate) struct RefusalPace {
    refused: Mutex<HashMap<Principal, Refusals>>,
    /// Entries of the table, so that a client is admitted without the lock while there are none.
    entries: AtomicUsize,
}

#[derive(Debug)]
struct Refusals {
    since: Instant,
    count: u32,
}

impl RefusalPace {
    /// Counts a refusal, and returns the delay of its answer.
    pub(crate) fn note(&self, client: &Principal) -> Duration {
        let now = Instant::now();
        let mut refused = self.lock();
        if refused.len() >= MAX_ENTRIES {
            refused.retain(|_, refusals| now.duration_since(refusals.since) < WINDOW);
        }
        // In a crowd of new clients, each gets the delay.
        if refused.len() >= MAX_ENTRIES && !refused.contains_key(client) {
            return DELAY;
        }
        let refusals = refused
            .entry(client.clone())
            .or_insert(Refusals { since: now, count: 0 });
        if now.duration_since(refusals.since) >= WINDOW {
            *refusals = Refusals { since: now, count: 0 };
        }
        refusals.count = refusals.count.saturating_add(1);
        let is_fast = refusals.count > MAX_FAST_REFUSALS;
        self.entries.store(refused.len(), Ordering::Relaxed);
        if is_fast { DELAY } else { Duration::ZERO }
    }

    /// Forgets the refusals of a client that has shown a valid grant.
    pub(crate) fn forget(&self, client: &Principal) {
        if self.entries.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut refused = self.lock();
        refused.remove(client);
        self.entries.store(refused.len(), Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Principal, Refusals>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refusals in a row without a delay, in one window.
const MAX_FAST_REFUSALS: u32 = 64;
const WINDOW: Duration = Duration::from_secs(60);
const DELAY: Duration = Duration::from_secs(1);
const MAX_ENTRIES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn fast_refusals(pace: &RefusalPace, client: &Principal) -> usize {
        let delays = (0..200).map(|_| pace.note(client));
        delays.filter(Duration::is_zero).count()
    }

    #[tokio::test(start_paused = true)]
    async fn only_many_refusals_in_a_row_are_slowed_down() {
        let (pace, client) = (RefusalPace::default(), Principal::User(7));
        assert_eq!(fast_refusals(&pace, &client), 64);
        assert_eq!(fast_refusals(&pace, &Principal::User(8)), 64, "another client");
        assert_eq!(fast_refusals(&pace, &client), 0);
        tokio::time::advance(WINDOW).await;
        assert_eq!(fast_refusals(&pace, &client), 64, "after a pause");
        pace.forget(&client);
        assert_eq!(fast_refusals(&pace, &client), 64, "after a valid grant");
    }

    #[tokio::test(start_paused = true)]
    async fn the_table_is_bounded() {
        let pace = RefusalPace::default();
        for user in 0..5000 {
            pace.note(&Principal::User(user));
        }
        assert_eq!(pace.lock().len(), MAX_ENTRIES);
        assert_eq!(pace.note(&Principal::User(9999)), DELAY);
        tokio::time::advance(WINDOW).await;
        assert_eq!(pace.note(&Principal::User(9999)), Duration::ZERO);
    }
}
