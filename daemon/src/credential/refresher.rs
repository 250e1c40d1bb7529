//! The task that asks one source for tokens: before the present one ends, when a request needs another, when a file has
//! changed.
//!
//! It alone asks, so however many requests wait, a program runs once; what it gives goes to the shelf and with that to
//! every registry that uses the credential. A source that fails is asked again after pauses that grow, while the present
//! token serves as long as it lives.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::credential::keeper::{Ask, Cause};
use crate::credential::lifetime::Moment;
use crate::credential::shelf::{Present, Shelf};
use crate::credential::source::{Failure, FetchedToken, Origin};

/// One source and what is known of it.
#[derive(Debug)]
pub(super) struct Refresher {
    origin: Origin,
    shelf: Arc<Shelf>,
    asks: mpsc::UnboundedReceiver<Ask>,
    /// How often it has failed in a row.
    failures: u32,
    /// When a source that failed is asked again.
    again: Option<Instant>,
    /// What a rejection may ask for.
    patience: Patience,
    /// Waits for the requests that still hold a token that was replaced.
    farewells: TaskTracker,
}

/// Keeps rejections from making a source run again and again, when what the registry does not like is not the token's age.
#[derive(Debug)]
struct Patience {
    not_before: Instant,
    pause: Duration,
}

impl Refresher {
    pub(super) fn new(
        origin: Origin,
        shelf: Arc<Shelf>,
        asks: mpsc::UnboundedReceiver<Ask>,
        farewells: TaskTracker,
    ) -> Self {
        Self {
            origin,
            shelf,
            asks,
            failures: 0,
            again: None,
            patience: Patience::new(),
            farewells,
        }
    }

    /// Runs until the keeper is gone.
    pub(super) async fn run(mut self) {
        if self.shelf.lock().present.value().is_none() {
            self.renew().await;
        }
        self.tell_when();
        loop {
            let pause = self.look_in();
            tokio::select! {
                ask = self.asks.recv() => match ask {
                    Some(ask) => self.answer(ask).await,
                    None => return,
                },
                () = tokio::time::sleep(pause) => self.look().await,
            }
        }
    }

    async fn answer(&mut self, ask: Ask) {
        match ask {
            // Whoever asked has gone: the next who needs it asks again.
            Ask::Renew { done, .. } if done.is_closed() => {}
            Ask::Renew { than, cause, done } => {
                let renewed = self.has(than, cause) || (self.may_ask(cause) && self.renew_because(than, cause).await);
                let _ = done.send(renewed);
            }
            Ask::Fetch { done } => self.fetch_for(done).await,
            Ask::LookAgain => self.tell_when(),
        }
    }

    /// Whether what is there will do. The same number with a longer life is enough for whom it was over, and useless to
    /// whom it was rejected.
    fn has(&self, than: u64, cause: Cause) -> bool {
        let inner = self.shelf.lock();
        let value = inner.present.value();
        value.is_some_and(|value| {
            let is_other = value.number > than || (value.number == than && cause == Cause::Missing);
            is_other && !value.lifetime.is_some_and(|lifetime| lifetime.is_over(Moment::now()))
        })
    }

    fn may_ask(&self, cause: Cause) -> bool {
        let now = Instant::now();
        let rested = self.again.is_none_or(|again| now >= again);
        let patient = || now >= self.patience.not_before || self.shelf.was_accepted();
        self.origin.is_cheap() || (rested && (cause == Cause::Missing || patient()))
    }

    async fn renew_because(&mut self, than: u64, cause: Cause) -> bool {
        if cause == Cause::Rejected {
            self.patience.spend(self.shelf.was_accepted());
        }
        self.renew().await;
        self.has(than, cause)
    }

    /// Asks the source and puts what it gives in place.
    async fn renew(&mut self) {
        match self.origin.fetch().await {
            Ok(minted) => self.take(minted),
            Err(failure) => self.fail(failure),
        }
        self.tell_when();
    }

    fn take(&mut self, minted: FetchedToken) {
        self.failures = 0;
        self.again = None;
        let (taken, replaced) = self.shelf.take(minted, Moment::now());
        // Nobody who waits for the new one waits for that.
        self.farewells.spawn(replaced.leave());
        if taken.is_new {
            tracing::info!(generation = taken.number, "a source gave a new token");
        } else {
            // It may give the same until that has ended: not asked again at once.
            self.again = Some(Instant::now() + SHORTEST);
        }
    }

    fn fail(&mut self, failure: Failure) {
        self.failures = self.failures.saturating_add(1);
        self.again = Some(Instant::now() + back_off(self.failures, fastrand::f64()));
        let mut inner = self.shelf.lock();
        let before = inner.news.failure.replace((failure.clone(), Moment::now().wall));
        if before.is_none_or(|(before, _)| before.message != failure.message) {
            tracing::warn!(failure = failure.message, "a source gave no token");
        }
        let has_none = inner.present.value().is_none();
        drop(inner);
        if has_none {
            self.shelf.put(Present::Missing(failure.message));
        }
    }

    /// For someone who verifies the token before it is put in place.
    async fn fetch_for(&mut self, done: oneshot::Sender<Result<FetchedToken, Failure>>) {
        let fetched = self.origin.fetch().await;
        if let Err(failure) = &fetched {
            self.fail(failure.clone());
        }
        let _ = done.send(fetched);
        self.tell_when();
    }

    /// How long until there may be something to do. Never long: a clock that is set, or a machine that slept, is noticed.
    fn look_in(&self) -> Duration {
        match self.due_in() {
            Some(due) => due.min(SLICE),
            None => IDLE,
        }
    }

    async fn look(&mut self) {
        let is_due = self.due_in().is_some_and(|due| due.is_zero());
        let wants = match &self.origin {
            Origin::File(_) => self.origin.has_changed().await,
            _ => is_due,
        };
        if wants {
            self.renew().await;
        }
    }

    /// How long until the source should be asked; `None` when nothing but a request will want that.
    fn due_in(&self) -> Option<Duration> {
        if let Origin::File(_) = self.origin {
            return Some(POLL);
        }
        let now = Moment::now();
        let rest = self.again.map(|again| again.saturating_duration_since(now.steady));
        let inner = self.shelf.lock();
        let due = match inner.present.value() {
            None => Some(Duration::ZERO),
            Some(value) => value.lifetime.map(|lifetime| lifetime.due_in(now)),
        };
        match (due, rest) {
            // A failure with a token that does not end is not tried again by itself.
            (None, _) => None,
            (Some(due), rest) => Some(due.max(rest.unwrap_or_default())),
        }
    }

    fn tell_when(&self) {
        let due = match self.origin {
            Origin::File(_) => None,
            _ => self.due_in(),
        };
        let wall = Moment::now().wall;
        self.shelf.lock().news.renews = due.and_then(|due| wall.checked_add(due.try_into().ok()?));
    }
}

impl Patience {
    fn new() -> Self {
        Self {
            not_before: Instant::now(),
            pause: FIRST_PATIENCE,
        }
    }

    /// `was_accepted`: whether the token that is rejected now was good before.
    fn spend(&mut self, was_accepted: bool) {
        let now = Instant::now();
        if was_accepted {
            self.pause = FIRST_PATIENCE;
        }
        self.not_before = now + self.pause;
        self.pause = (self.pause * 2).min(LONGEST_PATIENCE);
    }
}

/// 1 s, doubled with every failure, at most 5 min; of that, half is left to chance (`luck`, 0 to 1), so that many
/// daemons don't ask at the same moment.
fn back_off(failures: u32, luck: f64) -> Duration {
    let doubled = FIRST_BACK_OFF * 2_u32.pow(failures.saturating_sub(1).min(16));
    doubled.min(LONGEST_BACK_OFF).mul_f64(0.5 + luck / 2.0)
}

const POLL: Duration = Duration::from_secs(1);
/// At the longest.
const SLICE: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(60 * 60);
const SHORTEST: Duration = Duration::from_secs(1);
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(300);
const FIRST_PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_PATIENCE: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
