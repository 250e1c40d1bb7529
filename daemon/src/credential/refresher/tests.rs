//! The refresher's tests. A source tells what it was told to, and time stands still until a test lets it pass.

use super::*;
use crate::credential::keeper::{Keeper, tests::outlet};
use crate::credential::lifetime::tests::CLOCK_ERROR;
use crate::credential::slot::{Slot, Unavailable};
use crate::credential::source::scripted::ScriptedSource;
use crate::registry::Scheme;

/// A source, its keeper, and one registry that uses it.
struct Scene {
    told: ScriptedSource,
    keeper: Keeper,
    slot: Arc<Slot>,
}

impl Scene {
    fn new(answers: &[Option<u64>]) -> Self {
        CLOCK_ERROR.set(time::Duration::ZERO);
        let told = ScriptedSource::new(answers);
        let keeper = Keeper::renewing(Origin::ScriptedSource(told.clone()), None, None, &TaskTracker::new());
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
