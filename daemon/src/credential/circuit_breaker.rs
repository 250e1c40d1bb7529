//! Keeps a token that the registry does not want from being sent again and again: registries lock accounts for that.
//!
//! A generation is trusted while the registry keeps accepting it; then a request costs one relaxed load here. One that is
//! new, that has rested or was rejected sends scouts ahead, [`SCOUTS`] at a time, and the other requests wait for the
//! registry's word to them. After [`ENOUGH`] rejections in a row nothing is sent but one probe after a pause that grows.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// What is known of one generation of one registry.
#[derive(Debug)]
pub struct CircuitBreaker {
    stage: AtomicU8,
    /// Whether it was accepted since [`CircuitBreaker::rest`] looked last.
    in_use: AtomicBool,
    inner: Mutex<Inner>,
    changed: Notify,
}

#[derive(Debug)]
struct Inner {
    accepted: bool,
    rejections: u32,
    scouts: u32,
    /// When the first scout left that nothing was heard of.
    waiting_since: Option<Instant>,
    /// When the next probe may go.
    probe_at: Instant,
    pause: Duration,
    probing: bool,
}

/// Whether a request may carry the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// At once.
    Free,
    /// As one of a few; [`CircuitBreaker::release`] when it is over.
    Scout,
    /// Not now: the registry has said no often enough.
    Refused,
    /// Never: there is a newer generation.
    Retired,
}

impl CircuitBreaker {
    /// For a generation that the registry has not seen.
    pub fn new() -> Self {
        Self {
            stage: AtomicU8::new(CAUTIOUS),
            in_use: AtomicBool::new(false),
            inner: Mutex::new(Inner {
                accepted: false,
                rejections: 0,
                scouts: 0,
                waiting_since: None,
                probe_at: Instant::now(),
                pause: FIRST_PAUSE,
                probing: false,
            }),
            changed: Notify::new(),
        }
    }

    /// Whether requests go freely.
    pub fn is_trusted(&self) -> bool {
        self.stage.load(Ordering::Relaxed) == TRUSTED
    }

    /// Waits until a request may go, or must not.
    pub async fn admit(&self) -> Admission {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            if let Some(admission) = self.decide(Instant::now()) {
                return admission;
            }
            let _ = tokio::time::timeout(LOOK_AGAIN, changed).await;
        }
    }

    /// `None` while the scouts have not been heard.
    fn decide(&self, now: Instant) -> Option<Admission> {
        if self.is_trusted() {
            return Some(Admission::Free);
        }
        let mut inner = self.lock();
        match self.stage.load(Ordering::Relaxed) {
            TRUSTED => return Some(Admission::Free),
            RETIRED => return Some(Admission::Retired),
            BLOCKED if now < inner.probe_at => return Some(Admission::Refused),
            BLOCKED => {
                inner.probe_at = now + inner.pause;
                inner.probing = true;
            }
            _ if inner.scouts >= inner.places(now) => return None,
            _ => {}
        }
        inner.scouts += 1;
        inner.waiting_since.get_or_insert(now);
        Some(Admission::Scout)
    }

    /// A scout is back, with news or without.
    pub fn release(&self) {
        let mut inner = self.lock();
        inner.scouts = inner.scouts.saturating_sub(1);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// The registry's word to a request that carried the generation.
    pub fn note(&self, accepted: bool) {
        if accepted && self.is_trusted() {
            if !self.in_use.load(Ordering::Relaxed) {
                self.in_use.store(true, Ordering::Relaxed);
            }
            return;
        }
        let mut inner = self.lock();
        let stage = self.stage.load(Ordering::Relaxed);
        if stage == RETIRED {
            return;
        }
        inner.waiting_since = None;
        let next = if accepted {
            inner.accepted()
        } else {
            inner.rejected(stage)
        };
        self.in_use.store(true, Ordering::Relaxed);
        self.stage.store(next, Ordering::Relaxed);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Called once in a while: a generation that was not accepted lately has to prove itself again, since it may have
    /// been revoked meanwhile and the next request is perhaps one of a thousand.
    pub fn rest(&self) {
        if !self.in_use.swap(false, Ordering::Relaxed) && self.is_trusted() {
            let _inner = self.lock();
            self.stage.store(CAUTIOUS, Ordering::Relaxed);
        }
    }

    /// There is a newer generation; whoever waits here looks for that one.
    pub fn retire(&self) {
        let inner = self.lock();
        self.stage.store(RETIRED, Ordering::Relaxed);
        drop(inner);
        self.changed.notify_waiters();
    }

    /// Whether the registry's last word was no.
    pub fn is_rejected(&self) -> bool {
        self.lock().rejections > 0
    }

    /// Whether the registry has accepted it at any time.
    pub fn was_accepted(&self) -> bool {
        self.lock().accepted
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
    /// How many may be under way. A registry that is slow to answer, or does not answer at all, holds nobody up for long:
    /// the places double while nothing is heard.
    fn places(&self, now: Instant) -> u32 {
        let silence = self
            .waiting_since
            .map_or(Duration::ZERO, |since| now.duration_since(since));
        let doublings = silence.as_secs() / DOUBLED_EVERY.as_secs();
        SCOUTS << doublings.min(MOST_DOUBLINGS)
    }

    fn accepted(&mut self) -> u8 {
        self.accepted = true;
        self.rejections = 0;
        self.pause = FIRST_PAUSE;
        TRUSTED
    }

    fn rejected(&mut self, stage: u8) -> u8 {
        self.rejections = self.rejections.saturating_add(1);
        if self.rejections < ENOUGH {
            return CAUTIOUS;
        }
        // Answers to what was under way already say nothing new.
        if stage == BLOCKED && self.probing {
            self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        }
        if stage != BLOCKED || self.probing {
            self.probe_at = Instant::now() + self.pause;
        }
        self.probing = false;
        BLOCKED
    }
}

const TRUSTED: u8 = 0;
const CAUTIOUS: u8 = 1;
const BLOCKED: u8 = 2;
const RETIRED: u8 = 3;

/// How many requests try a generation that nothing is known of.
const SCOUTS: u32 = 3;
/// So many rejections in a row and it is not sent any more.
const ENOUGH: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
const DOUBLED_EVERY: Duration = Duration::from_secs(2);
const MOST_DOUBLINGS: u64 = 16;
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use super::*;

    use Admission::{Free, Refused, Retired, Scout};

    fn sent(guard: &CircuitBreaker) -> Option<Admission> {
        guard.decide(Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn three_rejections_in_a_row_are_enough() {
        let guard = CircuitBreaker::new();
        for _ in 0..3 {
            assert_eq!(sent(&guard), Some(Scout));
            guard.note(false);
            guard.release();
        }
        assert_eq!(sent(&guard), Some(Refused));
        assert!(guard.is_rejected());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejection_among_acceptances_blocks_nothing() {
        let guard = CircuitBreaker::new();
        for _ in 0..10 {
            guard.note(false);
            guard.note(false);
            guard.note(true);
            assert_eq!(sent(&guard), Some(Free));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn probes_go_one_at_a_time_and_their_pauses_grow() {
        let guard = CircuitBreaker::new();
        for _ in 0..3 {
            guard.note(false);
        }
        for pause in [30, 60, 120, 240, 480, 600, 600] {
            tokio::time::advance(Duration::from_secs(pause - 1)).await;
            assert_eq!(sent(&guard), Some(Refused), "before {pause} s");
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(sent(&guard), Some(Scout), "after {pause} s");
            assert_eq!(sent(&guard), Some(Refused), "one probe at a time");
            guard.note(false);
            guard.release();
        }
        tokio::time::advance(Duration::from_secs(600)).await;
        assert_eq!(sent(&guard), Some(Scout));
        guard.note(true);
        assert_eq!(sent(&guard), Some(Free), "the registry has changed its mind");
        assert!(!guard.is_rejected());
    }

    #[tokio::test(start_paused = true)]
    async fn scouts_go_ahead_and_the_others_follow_the_first_good_news() {
        let guard = CircuitBreaker::new();
        for _ in 0..SCOUTS {
            assert_eq!(sent(&guard), Some(Scout));
        }
        assert_eq!(sent(&guard), None);
        let mut waiting = std::pin::pin!(guard.admit());
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        guard.note(true);
        assert_eq!(waiting.await, Free);
        guard.rest();
        assert_eq!(sent(&guard), Some(Free), "it was accepted just now");
        guard.rest();
        guard.rest();
        assert_eq!(sent(&guard), None, "the scouts of before are still under way");
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_registry_holds_nobody_up_for_ever() {
        let guard = CircuitBreaker::new();
        let mut under_way = 0;
        while sent(&guard) == Some(Scout) {
            under_way += 1;
        }
        assert_eq!(under_way, 3);
        assert_eq!(guard.admit().await, Scout);
        tokio::time::advance(Duration::from_secs(8)).await;
        while sent(&guard) == Some(Scout) {
            under_way += 1;
        }
        assert!(under_way > 40, "{under_way}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_hears_of_a_newer_generation() {
        let guard = CircuitBreaker::new();
        while sent(&guard) == Some(Scout) {}
        let mut waiting = std::pin::pin!(guard.admit());
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        guard.retire();
        assert_eq!(waiting.await, Retired);
        guard.note(true);
        assert_eq!(sent(&guard), Some(Retired));
    }
}
