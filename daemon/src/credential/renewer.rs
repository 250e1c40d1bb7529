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

use super::keeper::{Ask, Cause, Present, Shelf};
use super::lifetime::Moment;
use super::origin::{Failure, Minted, Origin};

/// One source and what is known of it.
#[derive(Debug)]
pub(super) struct Renewer {
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

impl Renewer {
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

    fn take(&mut self, minted: Minted) {
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
    async fn fetch_for(&mut self, done: oneshot::Sender<Result<Minted, Failure>>) {
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
mod tests {
    use super::*;
    use crate::credential::keeper::{Keeper, tests::outlet};
    use crate::credential::lifetime::tests::CLOCK_ERROR;
    use crate::credential::slot::{Slot, Unavailable};
    use crate::credential::told::Told;
    use crate::registry::Scheme;

    /// A source, its keeper, and one registry that uses it.
    struct Scene {
        told: Told,
        keeper: Keeper,
        slot: Arc<Slot>,
    }

    impl Scene {
        fn new(answers: &[Option<u64>]) -> Self {
            CLOCK_ERROR.set(time::Duration::ZERO);
            let told = Told::new(answers);
            let keeper = Keeper::renewing(Origin::Told(told.clone()), None, None, &TaskTracker::new());
            let outlet = outlet(Scheme::Raw);
            let slot = Arc::clone(&outlet.slot);
            keeper.serve(vec![outlet]);
            Self { told, keeper, slot }
        }

        async fn request(&self) -> Result<u64, Unavailable> {
            let lease = match self.slot.ready() {
                Some(lease) => lease,
                None => self.slot.lease(&self.keeper).await?,
            };
            lease.generation().guard().note(true);
            Ok(lease.generation().number)
        }

        async fn reject(&self, number: u64) -> bool {
            self.keeper.renew(number, Cause::Rejected).await
        }
    }

    async fn pass(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn however_many_wait_the_source_is_asked_once() {
        let scene = Scene::new(&[Some(3600)]);
        let all = futures_util::future::join_all((0..1000).map(|_| scene.request())).await;
        assert!(all.iter().all(|got| *got == Ok(1)));
        assert_eq!(scene.told.runs(), 1);
        let all = futures_util::future::join_all((0..1000).map(|_| scene.reject(1))).await;
        assert!(all.iter().all(|renewed| *renewed));
        assert_eq!(scene.told.runs(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_renewed_before_it_ends_and_no_request_waits() {
        let scene = Scene::new(&[Some(10)]);
        scene.request().await.unwrap();
        for _ in 0..100 {
            pass(1).await;
            assert!(scene.slot.generation().is_some_and(|generation| !generation.is_over()));
        }
        // Each takes 0.2 s and is due after 8.
        assert!((12..=14).contains(&scene.told.runs()), "{}", scene.told.runs());
    }

    #[tokio::test(start_paused = true)]
    async fn while_the_source_fails_the_old_token_serves_as_long_as_it_lives() {
        let scene = Scene::new(&[Some(100), None]);
        assert_eq!(scene.request().await, Ok(1));
        pass(99).await;
        assert_eq!(scene.request().await, Ok(1));
        assert!(scene.keeper.news().failure.is_some());
        pass(2).await;
        assert_eq!(scene.request().await, Err(Unavailable::Missing));
        let runs = scene.told.runs();
        assert!((4..=9).contains(&runs), "{runs}: pauses grow");
        for _ in 0..100 {
            assert_eq!(scene.request().await, Err(Unavailable::Missing));
        }
        assert!(
            scene.told.runs() <= runs + 1,
            "requests don't hurry a source that fails"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_works_again_is_noticed() {
        let scene = Scene::new(&[None, None, Some(3600)]);
        assert_eq!(scene.request().await, Err(Unavailable::Missing));
        pass(10).await;
        assert_eq!(scene.request().await, Ok(1));
        assert!(scene.keeper.news().failure.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_set_forward_costs_one_renewal() {
        let scene = Scene::new(&[Some(3600)]);
        assert_eq!(scene.request().await, Ok(1));
        CLOCK_ERROR.set(time::Duration::days(1));
        assert_eq!(scene.request().await, Ok(2));
        pass(60).await;
        assert_eq!((scene.request().await, scene.told.runs()), (Ok(2), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_set_back_makes_no_token_live_longer() {
        let scene = Scene::new(&[Some(3600)]);
        assert_eq!(scene.request().await, Ok(1));
        CLOCK_ERROR.set(-time::Duration::days(1));
        pass(2900).await;
        assert_eq!((scene.request().await, scene.told.runs()), (Ok(2), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_that_rejects_every_token_does_not_keep_the_source_running() {
        let scene = Scene::new(&[Some(36_000)]);
        assert_eq!(scene.request().await, Ok(1));
        assert!(scene.reject(1).await, "the first was good once");
        for _ in 0..600 {
            let number = scene.slot.generation().unwrap().number;
            scene.reject(number).await;
            pass(1).await;
        }
        assert!((4..=7).contains(&scene.told.runs()), "{}", scene.told.runs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_was_accepted_is_renewed_at_once_when_it_is_rejected() {
        let scene = Scene::new(&[Some(36_000)]);
        for number in 1..=20 {
            assert_eq!(scene.request().await, Ok(number));
            pass(2).await;
            assert!(scene.reject(number).await, "{number}");
        }
    }

    #[test]
    fn pauses_double_and_half_of_each_is_left_to_chance() {
        for (failures, least, most) in [
            (1, 500, 1000),
            (2, 1000, 2000),
            (5, 8000, 16_000),
            (40, 150_000, 300_000),
        ] {
            let [least, most] = [least, most].map(Duration::from_millis);
            assert_eq!([back_off(failures, 0.0), back_off(failures, 1.0)], [least, most]);
        }
    }
}
