//! Tests of the refresher. The source is scripted, and time stands still until a test lets it pass.

use super::*;
use crate::credential::lifetime::tests::CLOCK_ERROR;
use crate::credential::source::scripted::ScriptedSource;
use crate::credential::{RegistryCredential, Unavailable};
use crate::registry::Scheme;

/// A source, its credential, and a registry that sends it.
struct Scene {
    source: ScriptedSource,
    registry: Arc<RegistryCredential>,
}

impl Scene {
    fn new(answers: &[Option<u64>]) -> Self {
        CLOCK_ERROR.set(time::Duration::ZERO);
        let source = ScriptedSource::new(answers);
        let scripted = TokenSource::Scripted(source.clone());
        let events = Arc::new(Events::new(1));
        let owner = "corp".parse().unwrap();
        let credential = Credential::refreshing(owner, scripted, None, None, &TaskTracker::new(), &events);
        let registry = credential.attach(Scheme::Raw);
        Self { source, registry }
    }

    /// Sends a request that the registry accepts.
    async fn request(&self) -> Result<u64, Unavailable> {
        let lease = self.registry.acquire().await?;
        lease.generation().breaker.record_acceptance();
        Ok(lease.generation().value.number)
    }

    /// Reports a rejection, and returns whether there is a newer token.
    async fn reject(&self, number: u64) -> bool {
        self.registry.shared.refresh(number, RefreshReason::Rejected).await
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn a_task_that_waits_is_small() {
    fn size<F>(_: impl FnOnce(Refresher) -> F) -> usize {
        size_of::<F>()
    }
    assert!(size(Refresher::run) <= 4096, "{}", size(Refresher::run));
}

#[tokio::test(start_paused = true)]
async fn a_thousand_requests_cause_one_fetch() {
    let scene = Scene::new(&[Some(3600)]);
    let numbers = futures_util::future::join_all((0..1000).map(|_| scene.request())).await;
    assert!(numbers.iter().all(|number| *number == Ok(1)));
    assert_eq!(scene.source.runs(), 1);
    let refreshed = futures_util::future::join_all((0..1000).map(|_| scene.reject(1))).await;
    assert!(refreshed.iter().all(|refreshed| *refreshed));
    assert_eq!(scene.source.runs(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_is_refreshed_before_it_expires_and_no_request_waits() {
    let scene = Scene::new(&[Some(10)]);
    scene.request().await.unwrap();
    for _ in 0..100 {
        pass(1).await;
        assert!(
            scene
                .registry
                .generation()
                .is_some_and(|generation| !generation.value.has_expired())
        );
    }
    // Each fetch takes 0.2 s, and each token is due after 5 to 5.5 s.
    assert!((17..=20).contains(&scene.source.runs()), "{}", scene.source.runs());
}

#[tokio::test(start_paused = true)]
async fn the_old_token_is_used_until_it_expires_while_the_source_fails() {
    let scene = Scene::new(&[Some(100), None]);
    assert_eq!(scene.request().await, Ok(1));
    pass(99).await;
    assert_eq!(scene.request().await, Ok(1));
    assert!(scene.registry.shared.refresh_status().failure.is_some());
    pass(2).await;
    assert_eq!(scene.request().await, Err(Unavailable::Missing));
    let runs = scene.source.runs();
    assert!((4..=9).contains(&runs), "{runs} fetches: pauses grow");
    for _ in 0..100 {
        assert_eq!(scene.request().await, Err(Unavailable::Missing));
    }
    assert!(
        scene.source.runs() <= runs + 1,
        "requests cause no fetch from a source that fails"
    );
}

#[tokio::test(start_paused = true)]
async fn a_source_that_works_again_gives_a_token() {
    let scene = Scene::new(&[None, None, Some(3600)]);
    assert_eq!(scene.request().await, Err(Unavailable::Missing));
    pass(10).await;
    assert_eq!(scene.request().await, Ok(1));
    assert!(scene.registry.shared.refresh_status().failure.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_forward_costs_one_refresh() {
    let scene = Scene::new(&[Some(3600)]);
    assert_eq!(scene.request().await, Ok(1));
    CLOCK_ERROR.set(time::Duration::days(1));
    assert_eq!(scene.request().await, Ok(2));
    pass(60).await;
    assert_eq!((scene.request().await, scene.source.runs()), (Ok(2), 2));
}

#[tokio::test(start_paused = true)]
async fn a_clock_set_back_prolongs_no_lifetime() {
    let scene = Scene::new(&[Some(3600)]);
    assert_eq!(scene.request().await, Ok(1));
    CLOCK_ERROR.set(-time::Duration::days(1));
    pass(3200).await;
    assert_eq!((scene.request().await, scene.source.runs()), (Ok(2), 2));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_rejects_every_token_causes_few_fetches() {
    let scene = Scene::new(&[Some(36_000)]);
    assert_eq!(scene.request().await, Ok(1));
    assert!(scene.reject(1).await, "the registry had accepted the first token");
    for _ in 0..600 {
        let number = scene.registry.generation().unwrap().value.number;
        scene.reject(number).await;
        pass(1).await;
    }
    assert!((4..=7).contains(&scene.source.runs()), "{}", scene.source.runs());
}

#[tokio::test(start_paused = true)]
async fn an_accepted_token_is_refreshed_at_once_when_it_is_rejected() {
    let scene = Scene::new(&[Some(36_000)]);
    for number in 1..=20 {
        assert_eq!(scene.request().await, Ok(number));
        pass(2).await;
        assert!(scene.reject(number).await, "{number}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_from_before_a_logout_or_a_rotation_is_dropped() {
    let scene = Scene::new(&[Some(3600)]);
    assert_eq!(scene.request().await, Ok(1));
    let credential = &scene.registry.shared;
    let change = async {
        // A fetch takes 0.2 s.
        tokio::time::sleep(Duration::from_millis(100)).await;
        credential
            .rotate(CredentialState::Missing("logged out".to_owned()))
            .await;
    };
    let token = || {
        scene
            .registry
            .generation()
            .map(|one| one.value.secret.expose().to_owned())
    };
    let (refreshed, ()) = tokio::join!(scene.reject(1), change);
    assert!(refreshed);
    assert_eq!(token().as_deref(), Some("token-3"), "the second answer was dropped");
    let change = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        credential
            .rotate(CredentialState::Missing("logged out".to_owned()))
            .await;
    };
    let (fetched, ()) = tokio::join!(credential.fetch(), change);
    assert_eq!(credential.install(fetched.unwrap()).await, None);
    assert_eq!(token(), None);
}

#[test]
fn backoff_doubles_and_half_of_it_is_random() {
    for (failures, least, most) in [(1, 500, 1000), (2, 1000, 2000), (5, 8000, 16_000), (40, 30_000, 60_000)] {
        let [least, most] = [least, most].map(Duration::from_millis);
        assert_eq!([backoff(failures, 0.0), backoff(failures, 1.0)], [least, most]);
    }
}
