use super::trials::TRIALS;
use super::*;

use Admission::{Allowed, Rejected, Retired, Trial};
use Denial::{Clear, Vague};

fn admission(breaker: &CircuitBreaker) -> Option<Admission> {
    breaker.try_admit(Instant::now())
}

/// A breaker whose token the registry has accepted.
fn accepted() -> CircuitBreaker {
    let breaker = CircuitBreaker::new();
    breaker.record_acceptance();
    breaker
}

async fn pass(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn denials_of_paths_do_not_open_the_breaker_of_an_accepted_token() {
    let breaker = accepted();
    for _ in 0..100 {
        if breaker.record_denial(Clear, false) == NextStep::Check {
            breaker.settle(Verdict::Accepted);
        }
        assert_eq!(admission(&breaker), Some(Allowed));
    }
    assert!(!breaker.is_rejected());
    // A check that does not tell takes nothing away either.
    pass(10).await;
    assert_eq!(breaker.record_denial(Clear, false), NextStep::Check);
    breaker.settle(Verdict::Unclear);
    assert!(!breaker.count_rejection());
    assert!(!breaker.is_rejected());
}

#[tokio::test(start_paused = true)]
async fn a_rejection_by_the_check_opens_the_breaker_at_once() {
    for breaker in [accepted(), CircuitBreaker::new()] {
        assert_eq!(breaker.record_denial(Clear, false), NextStep::Check);
        assert_eq!(breaker.record_denial(Clear, false), NextStep::Wait);
        breaker.settle(Verdict::Rejected);
        assert_eq!(admission(&breaker), Some(Rejected));
        assert!(breaker.is_rejected());
        assert_eq!(breaker.record_denial(Clear, false), NextStep::Known(Verdict::Rejected));
    }
}

#[tokio::test(start_paused = true)]
async fn three_denials_open_the_breaker_of_a_token_that_was_never_accepted_if_no_check_tells() {
    let breaker = CircuitBreaker::new();
    assert_eq!(breaker.record_denial(Clear, false), NextStep::Check);
    breaker.settle(Verdict::Unclear);
    assert!(!breaker.count_rejection());
    for opens in [false, true] {
        assert_eq!(admission(&breaker), Some(Trial));
        assert_eq!(breaker.record_denial(Clear, false), NextStep::Known(Verdict::Unclear));
        assert_eq!(breaker.count_rejection(), opens);
        breaker.end_trial();
    }
    assert_eq!(admission(&breaker), Some(Rejected));
}

/// Checks in ten minutes with ten denials a second, at a registry that accepts the token.
async fn checks_in_ten_minutes(denial: Denial) -> u32 {
    let (breaker, mut checks) = (accepted(), 0);
    for _ in 0..6000 {
        if breaker.record_denial(denial, true) == NextStep::Check {
            checks += 1;
            breaker.settle(Verdict::Accepted);
        }
        tokio::time::advance(Duration::from_millis(100)).await;
    }
    checks
}

#[tokio::test(start_paused = true)]
async fn checks_are_rare_and_rarer_for_vague_denials() {
    let clear = checks_in_ten_minutes(Clear).await;
    assert!((590..=600).contains(&clear), "{clear}");
    let vague = checks_in_ten_minutes(Vague).await;
    assert!((10..=16).contains(&vague), "{vague}");
}

#[tokio::test(start_paused = true)]
async fn a_vague_denial_of_a_token_without_a_source_is_checked_after_three_in_a_row() {
    let breaker = accepted();
    for _ in 0..10 {
        assert_eq!(breaker.record_denial(Vague, false), NextStep::Known(Verdict::Unclear));
        assert_eq!(breaker.record_denial(Vague, false), NextStep::Known(Verdict::Unclear));
        breaker.record_acceptance();
    }
    for step in [
        NextStep::Known(Verdict::Unclear),
        NextStep::Known(Verdict::Unclear),
        NextStep::Check,
    ] {
        assert_eq!(breaker.record_denial(Vague, false), step);
    }
    assert_eq!(admission(&breaker), Some(Allowed));
}

#[tokio::test(start_paused = true)]
async fn a_token_in_use_goes_on_while_the_registry_is_asked() {
    let breaker = accepted();
    assert_eq!(breaker.record_denial(Clear, false), NextStep::Check);
    assert_eq!(admission(&breaker), Some(Allowed));
    breaker.record_denial(Clear, false);
    breaker.record_denial(Clear, false);
    assert_eq!(
        admission(&breaker),
        Some(Trial),
        "three denials in a row: a few at a time"
    );
    breaker.record_acceptance();
    assert_eq!(admission(&breaker), Some(Allowed));
}

#[tokio::test(start_paused = true)]
async fn a_check_of_a_token_that_was_never_accepted_holds_the_other_requests() {
    let breaker = CircuitBreaker::new();
    assert_eq!(admission(&breaker), Some(Trial));
    breaker.record_denial(Clear, false);
    breaker.end_trial();
    assert_eq!(admission(&breaker), None);
    pass(4).await;
    assert_eq!(admission(&breaker), Some(Trial), "but not for long");
}

#[tokio::test(start_paused = true)]
async fn a_lost_check_keeps_no_request() {
    let breaker = accepted();
    assert_eq!(breaker.record_denial(Clear, true), NextStep::Check);
    assert_eq!(breaker.verdict().await, Verdict::Unclear);
    assert_eq!(breaker.record_denial(Clear, true), NextStep::Check);
    breaker.retire();
    assert_eq!(breaker.verdict().await, Verdict::Doubtful);
}

#[tokio::test(start_paused = true)]
async fn a_page_that_everybody_gets_proves_no_acceptance() {
    let breaker = accepted();
    let page = http::Uri::from_static("https://corp.example/public");
    breaker.offer_sample(Sample::new(page, false));
    assert!(!breaker.wants_sample());
    breaker.discard_sample();
    assert!(breaker.wants_sample() && !breaker.was_accepted());
}

#[tokio::test(start_paused = true)]
async fn one_request_follows_each_cool_down_and_cool_downs_grow() {
    let breaker = CircuitBreaker::new();
    breaker.settle(Verdict::Rejected);
    for pause in [30, 60, 120, 240, 480, 600, 600] {
        pass(pause - 1).await;
        assert_eq!(admission(&breaker), Some(Rejected), "before {pause} s");
        pass(1).await;
        assert_eq!(admission(&breaker), Some(Trial), "after {pause} s");
        assert_eq!(admission(&breaker), Some(Rejected), "one at a time");
        assert_eq!(breaker.record_denial(Clear, false), NextStep::Check);
        breaker.settle(Verdict::Rejected);
        breaker.end_trial();
    }
    pass(600).await;
    assert_eq!(admission(&breaker), Some(Trial));
    assert!(breaker.record_acceptance(), "it may have been for a public page");
    assert_eq!(admission(&breaker), Some(Rejected));
    breaker.settle(Verdict::Accepted);
    assert_eq!(admission(&breaker), Some(Allowed), "the registry accepts it again");
    assert!(!breaker.is_rejected());
}

#[tokio::test(start_paused = true)]
async fn an_acceptance_closes_an_open_breaker_if_no_check_tells_more() {
    for (verdict, allowed) in [(Verdict::Unclear, Allowed), (Verdict::Rejected, Rejected)] {
        let breaker = CircuitBreaker::new();
        breaker.settle(Verdict::Rejected);
        pass(30).await;
        assert_eq!(admission(&breaker), Some(Trial));
        assert!(breaker.record_acceptance());
        breaker.settle(verdict);
        assert_eq!(admission(&breaker), Some(allowed));
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_says_nothing_does_not_close_an_open_breaker() {
    let breaker = CircuitBreaker::new();
    breaker.settle(Verdict::Rejected);
    pass(30).await;
    assert_eq!(admission(&breaker), Some(Trial));
    breaker.record_neutral();
    breaker.end_trial();
    assert_eq!(admission(&breaker), Some(Rejected));
    assert!(breaker.is_rejected());
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
    breaker.record_acceptance();
    assert_eq!(waiting.await, Allowed);
    for _ in 0..TRUSTED_ROUNDS {
        breaker.expire_trust();
        assert_eq!(admission(&breaker), Some(Allowed), "it was accepted not long ago");
    }
    breaker.record_acceptance();
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
    breaker.record_acceptance();
    assert_eq!(admission(&breaker), Some(Retired));
}
