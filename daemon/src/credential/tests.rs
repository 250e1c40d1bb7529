use std::time::Duration;

use tokio::time::Instant;

use super::rotation::HOLDER_TIMEOUT;
use super::*;

pub(crate) fn value(number: u64) -> CredentialState {
    Value {
        number,
        since: OffsetDateTime::UNIX_EPOCH,
        secret: Secret::parse(&format!("token-{number}")).unwrap(),
        lifetime: None,
    }
    .into()
}

/// Token that was fetched now.
fn fetched(credential: &Credential, token: &str) -> Fetched {
    Fetched {
        token: FetchedToken {
            secret: Secret::parse(token).unwrap(),
            expires: None,
            ttl: Some(Duration::from_secs(60)),
        },
        changes_before: credential.lock().changes,
    }
}

async fn install(credential: &Credential, token: &str) -> Installed {
    credential.install(fetched(credential, token)).await.unwrap()
}

fn sent_by(registry: &RegistryCredential) -> (u64, String) {
    let generation = registry.generation().unwrap();
    let mut headers = http::HeaderMap::new();
    generation.header.attach(&mut headers);
    let line = headers["authorization"].to_str().unwrap().to_owned();
    (generation.value.number, line)
}

#[tokio::test(start_paused = true)]
async fn registries_that_share_a_credential_rotate_together_each_by_its_scheme() {
    let credential = Credential::fixed();
    install(&credential, "first").await;
    let [one, two] = [Scheme::Bearer, Scheme::Raw].map(|scheme| credential.attach(scheme));
    assert_eq!(sent_by(&one), (1, "Bearer first".to_owned()));
    install(&credential, "second").await;
    assert_eq!(sent_by(&one), (2, "Bearer second".to_owned()));
    assert_eq!(sent_by(&two), (2, "second".to_owned()));
    drop(two);
    install(&credential, "third").await;
    assert_eq!(sent_by(&one).0, 3);
    assert_eq!(credential.lock().registries.iter().filter_map(Weak::upgrade).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_waits_for_requests_that_hold_the_old_generation() {
    let credential = Credential::fixed();
    let registry = credential.attach(Scheme::Raw);
    credential.rotate(value(1)).await;
    let mut rotations = credential.rotations();
    let held = registry.acquire().await.unwrap();
    let mut rotation = std::pin::pin!(credential.rotate(value(2)));
    let early = tokio::time::timeout(Duration::from_millis(50), rotation.as_mut()).await;
    assert!(early.is_err(), "a request still holds generation 1");
    assert!(!rotations.take_changed(), "its connection is still in use");
    let next = registry.acquire().await.unwrap();
    assert_eq!(next.generation().value.number, 2, "new requests do not wait");
    drop(held);
    rotation.await;
    assert!(rotations.take_changed());
    assert!(!rotations.take_changed());
}

#[tokio::test(start_paused = true)]
async fn a_rotation_does_not_wait_forever() {
    let credential = Credential::fixed();
    let registry = credential.attach(Scheme::Raw);
    credential.rotate(value(1)).await;
    let _held = registry.acquire().await.unwrap();
    let begin = Instant::now();
    credential.rotate(value(2)).await;
    assert!((HOLDER_TIMEOUT..HOLDER_TIMEOUT * 2).contains(&begin.elapsed()));
}

/// Readers on other threads acquire without a pause while generations change.
#[test]
fn no_thread_acquires_a_generation_after_its_rotation() {
    use std::sync::atomic::{AtomicU64, Ordering};

    let credential = Credential::fixed();
    let registry = credential.attach(Scheme::Raw);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.unwrap();
    runtime.block_on(credential.rotate(value(1)));
    // The oldest generation that may be held.
    let oldest = AtomicU64::new(1);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                while oldest.load(Ordering::Acquire) < 200 {
                    let before = oldest.load(Ordering::Acquire);
                    let generation = registry.generation().unwrap();
                    assert!(generation.value.number >= before);
                    // Still held: no rotation away from it has returned.
                    assert!(generation.value.number >= oldest.load(Ordering::Acquire));
                }
            });
        }
        for number in 2..=200 {
            runtime.block_on(credential.rotate(value(number)));
            oldest.store(number, Ordering::Release);
        }
    });
}

#[tokio::test(start_paused = true)]
async fn an_accepted_generation_needs_no_trial_and_a_new_one_does() {
    let credential = Credential::fixed();
    let registry = credential.attach(Scheme::Raw);
    let is_trial = async || registry.acquire().await.unwrap().is_trial();
    credential.rotate(value(1)).await;
    assert!(is_trial().await);
    registry.generation().unwrap().breaker.record_acceptance();
    assert!(!is_trial().await);
    credential.rotate(value(2)).await;
    assert!(is_trial().await);
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_cannot_be_acquired_has_a_reason() {
    let credential = Credential::fixed();
    let registry = credential.attach(Scheme::Raw);
    for (state, reason) in [
        (CredentialState::Locked, Unavailable::Locked),
        (CredentialState::Missing(String::new()), Unavailable::Missing),
    ] {
        credential.rotate(state).await;
        assert_eq!(registry.acquire().await.unwrap_err(), reason);
    }
    credential.rotate(value(1)).await;
    registry
        .generation()
        .unwrap()
        .breaker
        .settle(circuit_breaker::Verdict::Rejected);
    assert_eq!(registry.acquire().await.unwrap_err(), Unavailable::Rejected);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_fetched_again_lives_longer_in_the_same_generation() {
    let credential = Credential::fixed();
    let registry = credential.attach(Scheme::Raw);
    assert!(install(&credential, "first").await.is_new);
    registry.generation().unwrap().breaker.record_acceptance();
    let mut rotations = credential.rotations();
    tokio::time::advance(Duration::from_secs(50)).await;
    let installed = install(&credential, "first").await;
    assert_eq!((installed.number, installed.is_new), (1, false));
    assert!(!rotations.take_changed(), "connections stay");
    tokio::time::advance(Duration::from_secs(50)).await;
    let lease = registry.acquire().await.unwrap();
    assert!(!lease.is_trial(), "it has not expired, and its breaker stays closed");
}

#[tokio::test(start_paused = true)]
async fn numbers_continue_after_a_restart() {
    let since = OffsetDateTime::UNIX_EPOCH;
    let fingerprint = fingerprint::Fingerprint::of(&Secret::parse("first").unwrap(), since);
    for (token, number) in [("first", 7), ("second", 8)] {
        let known = KnownGeneration {
            number: 7,
            since,
            fingerprint,
        };
        let installed = install(&Credential::new(None, Some(known)), token).await;
        assert_eq!((installed.number, installed.is_new), (number, number == 8));
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_continue_after_a_time_without_a_token() {
    let credential = Credential::fixed();
    install(&credential, "first").await;
    credential.rotate(CredentialState::Missing("gone".to_owned())).await;
    assert_eq!(install(&credential, "second").await.number, 2);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_was_fetched_before_another_was_put_in_place_is_not_used() {
    let credential = Credential::fixed();
    let older = fetched(&credential, "older");
    install(&credential, "newer").await;
    assert!(credential.install(older).await.is_none());
    assert_eq!(credential.state().value().unwrap().secret.expose(), "newer");
}

#[tokio::test(start_paused = true)]
async fn a_value_from_the_store_does_not_replace_one_in_place() {
    let credential = Credential::fixed();
    credential.load(value(3));
    credential.load(value(2));
    assert_eq!(credential.state().value().unwrap().number, 3);
}

#[tokio::test(start_paused = true)]
async fn numbers_never_go_back() {
    let credential = Credential::fixed();
    credential.rotate(value(7)).await;
    credential.rotate(value(2)).await;
    assert_eq!(credential.last_number(), 7);
    assert_eq!(install(&credential, "next").await.number, 8);
}

#[tokio::test(start_paused = true)]
async fn a_rotation_that_began_later_is_not_undone() {
    let credential = Credential::fixed();
    let [earlier, later] = [(); 2].map(|()| credential.take_ticket());
    assert!(!credential.has_passed(earlier));
    credential.replace_in_turn(later, value(2)).wait().await;
    assert!(credential.has_passed(earlier));
    assert!(!credential.has_passed(later));
}

#[tokio::test(start_paused = true)]
async fn a_closed_credential_has_no_token_for_anyone_and_takes_none() {
    let credential = Credential::fixed();
    let registry = credential.attach(Scheme::Raw);
    credential.rotate(value(1)).await;
    let mut rotations = credential.rotations();
    let held = registry.acquire().await.unwrap();
    assert_eq!(credential.close().holders(), 1, "one request still holds it");
    drop(held);
    assert!(rotations.take_changed(), "connections that carried it are closed");
    assert_eq!(registry.acquire().await.unwrap_err(), Unavailable::Missing);
    credential.rotate(value(2)).await;
    credential.load(value(3));
    assert!(credential.install(fetched(&credential, "late")).await.is_some());
    assert!(registry.generation().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_detached_registry_loses_a_token_that_others_still_send() {
    let credential = Credential::fixed();
    let [kept, gone] = [Scheme::Raw, Scheme::Bearer].map(|scheme| credential.attach(scheme));
    credential.rotate(value(1)).await;
    let held = gone.acquire().await.unwrap();
    let detached = credential.detach(&gone);
    assert_eq!(detached.holders(), 1, "one request still holds it");
    assert!(!gone.is_current(&held), "before it is sent, it takes another one");
    assert!(held.generation().breaker.is_retired());
    assert_eq!(gone.acquire().await.unwrap_err(), Unavailable::Missing);
    assert!(matches!(gone.state(), CredentialState::Missing(why) if why == ENDED));
    assert_eq!(sent_by(&kept).0, 1);
    credential.rotate(value(2)).await;
    assert_eq!(sent_by(&kept).0, 2);
    assert!(gone.generation().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_rotation_counts_the_requests_that_still_hold_the_old_token() {
    let credential = Credential::fixed();
    let [one, two] = [Scheme::Raw, Scheme::Bearer].map(|scheme| credential.attach(scheme));
    credential.rotate(value(1)).await;
    let leases = (one.acquire().await.unwrap(), two.acquire().await.unwrap());
    assert_eq!(credential.rotate(value(2)).await, 2);
    assert!(!one.is_current(&leases.0));
    drop(leases);
    assert_eq!(credential.rotate(value(3)).await, 0);
}

#[tokio::test(start_paused = true)]
async fn a_value_beyond_ascii_is_sent_by_basic_and_missing_for_other_schemes() {
    let credential = Credential::fixed();
    install(&credential, "pässwörd").await;
    let username = "me".to_owned();
    let [basic, bearer] = [Scheme::Basic { username }, Scheme::Bearer].map(|scheme| credential.attach(scheme));
    assert_eq!(sent_by(&basic), (1, "Basic bWU6cMOkc3N3w7ZyZA==".to_owned()));
    assert!(matches!(bearer.state(), CredentialState::Missing(why) if why.contains("scheme basic")));
    assert!(matches!(bearer.acquire().await, Err(Unavailable::Missing)));
    install(&credential, "password").await;
    assert_eq!(sent_by(&bearer), (2, "Bearer password".to_owned()));
}
