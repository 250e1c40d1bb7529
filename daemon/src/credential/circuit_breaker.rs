//! Circuit breaker for one generation at one registry: registries lock accounts that send a wrong token again and
//! again.
//!
//! While the registry accepts the token, the breaker is closed and costs a request three relaxed loads. A token that is
//! new or was not accepted lately makes it half-open: a few requests go as trials, [`trials::TRIALS`] at a time, and the others
//! wait for the registry's answer to them. Open, it sends one request after each cool-down, and the cool-down grows.
//!
//! A denial of one path says nothing about a token that is accepted elsewhere. So a denial never opens the breaker by
//! itself: it asks for a check. The control side then asks the registry about the token (`control/token_check.rs`) and
//! reports its [`Verdict`]. Only a rejection there opens the breaker, or, where no check can tell and the registry has
//! never accepted the token, [`MAX_REJECTIONS`] denials in a row.

mod check;
mod sample;
mod trials;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use check::{Check, VERDICT_TIMEOUT};
pub(crate) use check::{NextStep, Verdict};
pub(crate) use sample::Sample;

use crate::credential::retirement::Retirement;
use crate::policy::Denial;

/// A registry's answers to one generation, and whether requests may carry it.
#[derive(Debug)]
pub(crate) struct CircuitBreaker {
    position: AtomicU8,
    /// True if the token was accepted since the last [`CircuitBreaker::expire_trust`].
    in_use: AtomicBool,
    was_accepted: AtomicBool,
    /// Denials since the last acceptance.
    denials: AtomicU32,
    has_sample: AtomicBool,
    /// Calls of [`CircuitBreaker::expire_trust`] since the token was last accepted.
    idle_rounds: AtomicU32,
    inner: Mutex<Inner>,
    changed: Notify,
    /// Ends the daemon's own requests with the generation.
    pub(crate) retirement: Retirement,
}

#[derive(Debug)]
struct Inner {
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
    /// True if the registry has accepted a request since it rejected the token.
    accepted_while_open: bool,
    check: Check,
    /// True if a check has shown that the registry accepts the token, and nothing without it.
    is_proven: bool,
    sample: Option<Sample>,
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
        let now = Instant::now();
        Self {
            position: AtomicU8::new(HALF_OPEN),
            in_use: AtomicBool::new(false),
            was_accepted: AtomicBool::new(false),
            denials: AtomicU32::new(0),
            has_sample: AtomicBool::new(false),
            idle_rounds: AtomicU32::new(0),
            inner: Mutex::new(Inner {
                rejections: 0,
                trials: 0,
                waiting_since: None,
                retry_at: now,
                cool_down: FIRST_COOL_DOWN,
                is_retrying: false,
                accepted_while_open: false,
                check: Check::new(now),
                is_proven: false,
                sample: None,
            }),
            changed: Notify::new(),
            retirement: Retirement::default(),
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

    /// `None` while all trials are under way, or a check of a token that the registry has never accepted.
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
            _ if inner.check.holds_trials(now) && !self.was_accepted() => return None,
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

    /// Records that the registry accepted a request with the generation. True if the registry had rejected the token: then
    /// it is to be checked before requests carry it again, because the request may have been for a public page.
    pub(crate) fn record_acceptance(&self) -> bool {
        if self.is_closed() && self.denials.load(Ordering::Relaxed) == 0 {
            // Loads first: a store by every request would move the cache line between workers.
            for flag in [&self.in_use, &self.was_accepted] {
                if !flag.load(Ordering::Relaxed) {
                    flag.store(true, Ordering::Relaxed);
                }
            }
            return false;
        }
        let mut inner = self.lock();
        if self.position.load(Ordering::Relaxed) != OPEN {
            self.accept(&mut inner);
            return false;
        }
        inner.is_retrying = false;
        inner.accepted_while_open = true;
        inner.check.next_step(Denial::Clear, Instant::now()) == NextStep::Check
    }

    /// Records an answer that says nothing about the token, such as a redirect to a download.
    pub(crate) fn record_neutral(&self) {
        if !self.is_closed() {
            self.dismiss(&mut self.lock());
        }
    }

    /// Records that the registry denied a request with the generation. `can_refresh`: whether a source can give another
    /// token, so that even a vague denial is worth a check.
    ///
    /// After [`NextStep::Check`], the caller has the token checked; [`CircuitBreaker::settle`] ends the check.
    pub(crate) fn record_denial(&self, denial: Denial, can_refresh: bool) -> NextStep {
        let in_a_row = self.denials.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if denial == Denial::Vague && !can_refresh && in_a_row < MAX_REJECTIONS {
            self.record_neutral();
            return NextStep::Known(Verdict::Unclear);
        }
        let now = Instant::now();
        let mut inner = self.lock();
        let position = self.position.load(Ordering::Relaxed);
        if position == RETIRED {
            return NextStep::Known(Verdict::Doubtful);
        }
        let step = inner.check.next_step(denial, now);
        inner.waiting_since = None;
        if denial == Denial::Vague {
            self.dismiss(&mut inner);
        } else if position == CLOSED && in_a_row >= MAX_REJECTIONS && step != NextStep::Known(Verdict::Accepted) {
            // Few requests more, until the check tells.
            self.position.store(HALF_OPEN, Ordering::Relaxed);
        }
        step
    }

    /// Counts a denial of a token that the registry has never accepted, if no check can tell. True if the breaker is
    /// open.
    pub(crate) fn count_rejection(&self) -> bool {
        let mut inner = self.lock();
        let position = self.position.load(Ordering::Relaxed);
        if position == RETIRED || self.was_accepted() {
            return false;
        }
        let next = inner.reject(position);
        self.move_to(next);
        drop(inner);
        self.changed.notify_waiters();
        next == OPEN
    }

    /// Waits for the verdict of the check that is under way, at most [`VERDICT_TIMEOUT`].
    pub(crate) async fn verdict(&self) -> Verdict {
        let verdict = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                changed.as_mut().enable();
                if let Some(verdict) = self.try_verdict() {
                    return verdict;
                }
                changed.await;
            }
        };
        let verdict = tokio::time::timeout(VERDICT_TIMEOUT, verdict).await;
        verdict.unwrap_or(Verdict::Unclear)
    }

    /// `None` while a check is under way.
    fn try_verdict(&self) -> Option<Verdict> {
        let inner = self.lock();
        match self.position.load(Ordering::Relaxed) {
            RETIRED => Some(Verdict::Doubtful),
            _ => inner.check.verdict(),
        }
    }

    /// Ends a check with its verdict.
    pub(crate) fn settle(&self, verdict: Verdict) {
        self.lock().check.end(verdict, Instant::now());
        self.record_verdict(verdict);
    }

    /// Records what the registry says about the token, for the checks of `verify`, `rotate` and `add-registry` as well.
    pub(crate) fn record_verdict(&self, verdict: Verdict) {
        let mut inner = self.lock();
        let position = self.position.load(Ordering::Relaxed);
        match verdict {
            _ if position == RETIRED => {}
            Verdict::Accepted => {
                inner.is_proven = true;
                self.accept(&mut inner);
            }
            Verdict::Rejected => {
                inner.rejections = inner.rejections.max(MAX_REJECTIONS);
                let next = inner.reject(position);
                self.move_to(next);
            }
            Verdict::Doubtful | Verdict::Unclear if inner.accepted_while_open => self.accept(&mut inner),
            Verdict::Doubtful | Verdict::Unclear => {}
        }
        inner.accepted_while_open = false;
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

    /// Sends waiting requests to the newer generation, and ends the daemon's own requests with this one.
    pub(crate) fn retire(&self) {
        let inner = self.lock();
        self.position.store(RETIRED, Ordering::Relaxed);
        drop(inner);
        self.changed.notify_waiters();
        self.retirement.begin();
    }

    /// True if a newer generation has replaced this one.
    pub(crate) fn is_retired(&self) -> bool {
        self.position.load(Ordering::Relaxed) == RETIRED
    }

    /// True if the registry is known to reject the token, or denied all requests with it so far.
    pub(crate) fn is_rejected(&self) -> bool {
        self.lock().rejections > 0
    }

    /// True if the registry has ever accepted a request with the generation.
    pub(crate) fn was_accepted(&self) -> bool {
        self.was_accepted.load(Ordering::Relaxed)
    }

    fn accept(&self, inner: &mut Inner) {
        if self.is_retired() {
            return;
        }
        inner.waiting_since = None;
        inner.rejections = 0;
        inner.is_retrying = false;
        inner.cool_down = FIRST_COOL_DOWN;
        self.denials.store(0, Ordering::Relaxed);
        self.was_accepted.store(true, Ordering::Relaxed);
        self.move_to(CLOSED);
        self.changed.notify_waiters();
    }

    /// Ends a trial whose answer says nothing. Half-open, the registry does not object; open, the next trial is later.
    fn dismiss(&self, inner: &mut Inner) {
        inner.waiting_since = None;
        inner.is_retrying = false;
        if self.position.load(Ordering::Relaxed) == HALF_OPEN && inner.rejections == 0 {
            self.move_to(CLOSED);
            self.changed.notify_waiters();
        }
    }

    /// Changes the position after an answer.
    fn move_to(&self, position: u8) {
        self.in_use.store(true, Ordering::Relaxed);
        self.position.store(position, Ordering::Relaxed);
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

const CLOSED: u8 = 0;
const HALF_OPEN: u8 = 1;
const OPEN: u8 = 2;
const RETIRED: u8 = 3;

/// Calls of [`CircuitBreaker::expire_trust`], one a second, until trust ends: as long as idle connections stay open.
const TRUSTED_ROUNDS: u32 = 300;
/// Rejections in a row that open the breaker of a token that was never accepted.
const MAX_REJECTIONS: u32 = 3;
const FIRST_COOL_DOWN: Duration = Duration::from_secs(30);
const RECHECK_INTERVAL: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
