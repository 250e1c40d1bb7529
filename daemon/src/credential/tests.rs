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

fn fetched(token: &str, ttl: u64) -> FetchedToken {
    FetchedToken {
        secret: Secret::parse(token).unwrap(),
        expires: None,
        ttl: Some(Duration::from_secs(ttl)),
    }
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
    credential.install(fetched("first", 60)).await;
    let [one, two] = [Scheme::Bearer, Scheme::Raw].map(|scheme| credential.attach(scheme));
    assert_eq!(sent_by(&one), (1, "Bearer first".to_owned()));
    credential.install(fetched("second", 60)).await;
    assert_eq!(sent_by(&one), (2, "Bearer second".to_owned()));
    assert_eq!(sent_by(&two), (2, "second".to_owned()));
    drop(two);
    credential.install(fetched("third", 60)).await;
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
    registry.generation().unwrap().breaker.record(true);
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
    (0..3).for_each(|_| registry.generation().unwrap().breaker.record(false));
    assert_eq!(registry.acquire().await.unwrap_err(), Unavailable::Rejected);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_is_fetched_again_lives_longer_in_the_same_generation() {
    let credential = Credential::fixed();
    let registry = credential.attach(Scheme::Raw);
    assert!(credential.install(fetched("first", 60)).await.is_new);
    registry.generation().unwrap().breaker.record(true);
    let mut rotations = credential.rotations();
    tokio::time::advance(Duration::from_secs(50)).await;
    let installed = credential.install(fetched("first", 60)).await;
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
        let installed = Credential::new(None, Some(known)).install(fetched(token, 60)).await;
        assert_eq!((installed.number, installed.is_new), (number, number == 8));
    }
}

#[tokio::test(start_paused = true)]
async fn numbers_continue_after_a_time_without_a_token() {
    let credential = Credential::fixed();
    credential.install(fetched("first", 60)).await;
    credential.rotate(CredentialState::Missing("gone".to_owned())).await;
    assert_eq!(credential.install(fetched("second", 60)).await.number, 2);
}

#[tokio::test(start_paused = true)]
async fn a_value_beyond_ascii_is_sent_by_basic_and_missing_for_other_schemes() {
    let credential = Credential::fixed();
    credential.install(fetched("pässwörd", 60)).await;
    let username = "me".to_owned();
    let [basic, bearer] = [Scheme::Basic { username }, Scheme::Bearer].map(|scheme| credential.attach(scheme));
    assert_eq!(sent_by(&basic), (1, "Basic bWU6cMOkc3N3w7ZyZA==".to_owned()));
    assert!(matches!(bearer.state(), CredentialState::Missing(why) if why.contains("scheme basic")));
    assert!(matches!(bearer.acquire().await, Err(Unavailable::Missing)));
    credential.install(fetched("password", 60)).await;
    assert_eq!(sent_by(&bearer), (2, "Bearer password".to_owned()));
}
