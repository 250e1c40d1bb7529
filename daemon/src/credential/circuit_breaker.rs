//! Circuit breaker for one generation at one registry: registries lock accounts that send a wrong token again and
//! again.
//!
//! While the registry accepts the token, the breaker is closed and costs a request one relaxed load. A token that is
//! new, was not accepted lately or was rejected makes it half-open: a few requests go as trials, [`TRIALS`] at a time,
//! and the others wait for the registry's answer to them. After [`MAX_REJECTIONS`] rejections in a row it is open. Then
//! one request is sent after each cool-down, and the cool-down grows.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// A registry's answers to one generation, and whether requests may carry it.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    position: AtomicU8,
    /// True if the token was accepted since the last [`CircuitBreaker::expire_trust`].
    in_use: AtomicBool,
    /// Calls of [`CircuitBreaker::expire_trust`] since the token was last accepted.
    idle_rounds: AtomicU32,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    was_accepted: bool,
    /// Rejections in a row.
    rejections: u32,
    /// Trials that have not ended.
    trials: u32,
    /// Start of the first trial since the registry's last answer.
    waiting_since: Option<Instant>,
    /// End of the cool-down.
    retry_at: Instant,
    cool_down: Duration,
    /// True if the request after a cool-down has not been answered.
    is_retrying: bool,
}

/// Decision about one request that wants to carry the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// The breaker is closed.
    Allowed,
    /// The request is a trial, and calls [`CircuitBreaker::end_trial`] when it ends.
    Trial,
    /// The breaker is open.
    Rejected,
    /// A newer generation has replaced this one.
    Retired,
}

impl CircuitBreaker {
    /// Half-open, for a generation that the registry has not seen.
    pub(crate) fn new() -> Self {
        Self {
            position: AtomicU8::new(HALF_OPEN),
            in_use: AtomicBool::new(false),
            idle_rounds: AtomicU32::new(0),
            inner: Mutex::new(Inner {
                was_accepted: false,
                rejections: 0,
                trials: 0,
                waiting_since: None,
                retry_at: Instant::now(),
                cool_down: FIRST_COOL_DOWN,
                is_retrying: false,
            }),
            changed: Notify::new(),
        }
    }

    /// True if requests pass without a trial.
    ///
    /// Relaxed suffices: the position guards no other data, and a request that reads an old position is one more trial.
    pub(crate) fn is_closed(&self) -> bool {
        self.position.load(Ordering::Relaxed) == CLOSED
    }

    /// Waits until a request may carry the generation, or must not.
    pub(crate) async fn admit(&self) -> Admission {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // Registers before the check, so that no change is missed.
            changed.as_mut().enable();
            if let Some(admission) = self.try_admit(Instant::now()) {
                return admission;
            }
            let _ = tokio::time::timeout(RECHECK_INTERVAL, changed).await;
        }
    }

    /// `None` while all trials are under way.
    fn try_admit(&self, now: Instant) -> Option<Admission> {
        if self.is_closed() {
            return Some(Admission::Allowed);
        }
        let mut inner = self.lock();
        match self.position.load(Ordering::Relaxed) {
            CLOSED => return Some(Admission::Allowed),
            RETIRED => return Some(Admission::Retired),
            OPEN if now < inner.retry_at => return Some(Admission::Rejected),
            OPEN => {
                inner.retry_at = now + inner.cool_down;
                inner.is_retrying = true;
            }
            _ if inner.trials >= inner.max_trials(now) => return None,
            _ => {}
        }
        inner.trials += 1;
        inner.waiting_since.get_or_insert(now);
        Some(Admission::Trial)
    }

    /// Ends a trial, with an answer from the registry or without.
    pub(crate) fn end_trial(&self) {
        let mut inner = self.lock();
        inner.trials = inner.trials.saturating_sub(1);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Records whether the registry accepted a request with the generation.
    pub(crate) fn record(&self, accepted: bool) {
        if accepted && self.is_closed() {
            // A load first: a store by every request would move the cache line between workers.
            if !self.in_use.load(Ordering::Relaxed) {
                self.in_use.store(true, Ordering::Relaxed);
            }
            return;
        }
        let mut inner = self.lock();
        let position = self.position.load(Ordering::Relaxed);
        if position == RETIRED {
            return;
        }
        inner.waiting_since = None;
        let next = if accepted {
            inner.accept()
        } else {
            inner.reject(position)
        };
        self.in_use.store(true, Ordering::Relaxed);
        self.position.store(next, Ordering::Relaxed);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Makes a generation half-open that was not accepted in the last [`TRUSTED_ROUNDS`] calls. The token may have been
    /// revoked meanwhile, and a thousand requests may come at once. A shorter pause says no more than the time between two
    /// requests, and trials would cost each build a round trip.
    pub(crate) fn expire_trust(&self) {
        if self.in_use.swap(false, Ordering::Relaxed) || !self.is_closed() {
            self.idle_rounds.store(0, Ordering::Relaxed);
        } else if self.idle_rounds.fetch_add(1, Ordering::Relaxed) + 1 >= TRUSTED_ROUNDS {
            let _inner = self.lock();
            self.position.store(HALF_OPEN, Ordering::Relaxed);
        }
    }

    /// Sends waiting requests to the newer generation.
    pub(crate) fn retire(&self) {
        let inner = self.lock();
        self.position.store(RETIRED, Ordering::Relaxed);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// True if the registry's last answer was a rejection.
    pub(crate) fn is_rejected(&self) -> bool {
        self.lock().rejections > 0
    }

    /// True if the registry has ever accepted the generation.
    pub(crate) fn was_accepted(&self) -> bool {
        self.lock().was_accepted
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for CircuitBreaker {
    fn default() -> Self {
        Self::new()
    }
}

impl Inner {
    /// Number of concurrent trials. It doubles while the registry does not answer, so that a slow or silent registry
    /// does not make requests wait for long.
    fn max_trials(&self, now: Instant) -> u32 {
        let silence = self
            .waiting_since
            .map_or(Duration::ZERO, |since| now.duration_since(since));
        let doublings = silence.as_secs() / DOUBLING_INTERVAL.as_secs();
        TRIALS << doublings.min(MAX_DOUBLINGS)
    }

    fn accept(&mut self) -> u8 {
        self.was_accepted = true;
        self.rejections = 0;
        self.cool_down = FIRST_COOL_DOWN;
        CLOSED
    }

    fn reject(&mut self, position: u8) -> u8 {
        self.rejections = self.rejections.saturating_add(1);
        if self.rejections < MAX_REJECTIONS {
            return HALF_OPEN;
        }
        // Answers to requests that were sent before the breaker opened do not prolong the cool-down.
        if position == OPEN && self.is_retrying {
            self.cool_down = (self.cool_down * 2).min(MAX_COOL_DOWN);
        }
        if position != OPEN || self.is_retrying {
            self.retry_at = Instant::now() + self.cool_down;
        }
        self.is_retrying = false;
        OPEN
    }
}

const CLOSED: u8 = 0;
const HALF_OPEN: u8 = 1;
const OPEN: u8 = 2;
const RETIRED: u8 = 3;

/// Concurrent trials of a generation that the registry has not answered yet.
const TRIALS: u32 = 3;
/// Calls of [`CircuitBreaker::expire_trust`], one a second, until trust ends: as long as idle connections stay open.
const TRUSTED_ROUNDS: u32 = 300;
/// Rejections in a row that open the breaker.
const MAX_REJECTIONS: u32 = 3;
const FIRST_COOL_DOWN: Duration = Duration::from_secs(30);
const MAX_COOL_DOWN: Duration = Duration::from_secs(600);
const DOUBLING_INTERVAL: Duration = Duration::from_secs(2);
const MAX_DOUBLINGS: u64 = 16;
const RECHECK_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    use Admission::{Allowed, Rejected, Retired, Trial};

    fn admission(breaker: &CircuitBreaker) -> Option<Admission> {
        breaker.try_admit(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn three_rejections_in_a_row_open_the_breaker() {
        let breaker = CircuitBreaker::new();
        for _ in 0..3 {
            assert_eq!(admission(&breaker), Some(Trial));
            breaker.record(false);
            breaker.end_trial();
        }
        assert_eq!(admission(&breaker), Some(Rejected));
        assert!(breaker.is_rejected());
    }

    #[tokio::test(start_paused = true)]
    async fn an_acceptance_resets_the_count_of_rejections() {
        let breaker = CircuitBreaker::new();
        for _ in 0..10 {
            breaker.record(false);
            breaker.record(false);
            breaker.record(true);
            assert_eq!(admission(&breaker), Some(Allowed));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_request_follows_each_cool_down_and_cool_downs_grow() {
        let breaker = CircuitBreaker::new();
        for _ in 0..3 {
            breaker.record(false);
        }
        for pause in [30, 60, 120, 240, 480, 600, 600] {
            tokio::time::advance(Duration::from_secs(pause - 1)).await;
            assert_eq!(admission(&breaker), Some(Rejected), "before {pause} s");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(admission(&breaker), Some(Trial), "after {pause} s");
            assert_eq!(admission(&breaker), Some(Rejected), "one at a time");
            breaker.record(false);
            breaker.end_trial();
        }
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(admission(&breaker), Some(Trial));
        breaker.record(true);
        assert_eq!(admission(&breaker), Some(Allowed), "the registry accepts it again");
        assert!(!breaker.is_rejected());
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_accepted_trial_lets_waiting_requests_pass() {
        let breaker = CircuitBreaker::new();
        for _ in 0..TRIALS {
            assert_eq!(admission(&breaker), Some(Trial));
        }
        assert_eq!(admission(&breaker), None);
        let mut waiting = std::pin::pin!(breaker.admit());
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        breaker.record(true);
        assert_eq!(waiting.await, Allowed);
        for _ in 0..TRUSTED_ROUNDS {
            breaker.expire_trust();
            assert_eq!(admission(&breaker), Some(Allowed), "it was accepted not long ago");
        }
        breaker.record(true);
        breaker.expire_trust();
        assert_eq!(
            admission(&breaker),
            Some(Allowed),
            "it was accepted since the last call"
        );
        for _ in 0..TRUSTED_ROUNDS {
            breaker.expire_trust();
        }
        assert_eq!(admission(&breaker), None, "the first trials have not ended");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_registry_makes_no_request_wait_forever() {
        let breaker = CircuitBreaker::new();
        let mut trials = 0;
        while admission(&breaker) == Some(Trial) {
            trials += 1;
        }
        assert_eq!(trials, 3);
        assert_eq!(breaker.admit().await, Trial);
        tokio::time::advance(Duration::from_secs(8)).await;
        while admission(&breaker) == Some(Trial) {
            trials += 1;
        }
        assert!(trials > 40, "{trials}");
    }

    #[tokio::test(start_paused = true)]
    async fn retirement_ends_the_wait_for_a_trial() {
        let breaker = CircuitBreaker::new();
        while admission(&breaker) == Some(Trial) {}
        let mut waiting = std::pin::pin!(breaker.admit());
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        breaker.retire();
        assert_eq!(waiting.await, Retired);
        breaker.record(true);
        assert_eq!(admission(&breaker), Some(Retired));
    }
}
