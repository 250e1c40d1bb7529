//! Checks of tokens that the data path asks for, after a registry has denied or accepted a request.
//!
//! A check asks for a URL that the registry has accepted with this token, then for the probe's. It runs without the lock
//! on the state, and requests wait for it only as long as they choose.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use regauth_shared::event::{EventKind, Verification};
use regauth_shared::response::VerdictResult;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::control::controller::Controller;
use crate::control::probe::{probe_token, status_of};
use crate::credential::Generation;
use crate::credential::circuit_breaker::{CircuitBreaker, Sample, Verdict};
use crate::policy::{Denial, Rejections};
use crate::proxy::routes::RegistryRoute;
use crate::proxy::state::TokenCheck;

/// Makes the checks that the data path requests, until `end` is cancelled.
pub(crate) async fn serve(controller: Arc<Controller>, end: CancellationToken) {
    let checks = TaskTracker::new();
    loop {
        let check = tokio::select! {
            () = end.cancelled() => return,
            check = controller.proxy.token_checks.next() => check,
        };
        checks.spawn(run(Arc::clone(&controller), check));
    }
}

async fn run(controller: Arc<Controller>, check: TokenCheck) {
    let TokenCheck { registry, breaker } = check;
    let verdict = tokio::time::timeout(CHECK_TIMEOUT, verdict(&controller, &registry, &breaker));
    let verdict = breaker.retirement.unless_retired(verdict).await;
    let verdict = verdict.and_then(Result::ok).unwrap_or(Verdict::Unclear);
    match verdict {
        Verdict::Rejected => tracing::warn!(registry = %registry.name, "the registry rejected its token"),
        verdict => tracing::debug!(registry = %registry.name, ?verdict, "checked a token after a denied request"),
    }
    let result = match verdict {
        Verdict::Accepted => VerdictResult::Accepted,
        Verdict::Rejected => VerdictResult::Rejected,
        Verdict::Doubtful | Verdict::Unclear => VerdictResult::Unclear,
    };
    controller.announce(EventKind::Verification(Verification {
        registry: registry.name.clone(),
        result,
    }));
    breaker.settle(verdict);
}

async fn verdict(controller: &Controller, route: &RegistryRoute, breaker: &Arc<CircuitBreaker>) -> Verdict {
    let sample = sample_status(controller, route, breaker).await;
    if sample == SampleStatus::Accepted {
        return Verdict::Accepted;
    }
    let Some((route, generation)) = current(controller, route, breaker) else {
        return Verdict::Unclear;
    };
    let pool = controller.upstream_pool();
    let probed = probe_token(&route.upstream, pool, &route.registry, &generation.value.secret).await;
    match (probed.verdict, sample) {
        (VerdictResult::Accepted, _) => Verdict::Accepted,
        (VerdictResult::Rejected, _) | (_, SampleStatus::Denied(Denial::Clear)) => Verdict::Rejected,
        (_, SampleStatus::Denied(Denial::Vague)) => Verdict::Doubtful,
        (_, SampleStatus::Accepted | SampleStatus::Silent) => Verdict::Unclear,
    }
}

/// The registry's present answer for a URL that it has accepted before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SampleStatus {
    /// It serves the URL with the token, and not without.
    Accepted,
    /// It does not serve the URL any more.
    Denied(Denial),
    /// Nothing about the token.
    Silent,
}

/// Asks again for the URL that the registry has accepted, if there is one.
pub(super) async fn sample_status(
    controller: &Controller,
    route: &RegistryRoute,
    breaker: &Arc<CircuitBreaker>,
) -> SampleStatus {
    let Some(sample) = breaker.sample() else {
        return SampleStatus::Silent;
    };
    let present = current(controller, route, breaker);
    let Some((route, generation)) = present.filter(|(route, _)| route.covers(&sample.uri)) else {
        return SampleStatus::Silent;
    };
    let pool = controller.upstream_pool();
    let with_token = status_of(&route.upstream, pool, &sample.uri, Some(&generation.header)).await;
    drop(generation);
    let status = match with_token {
        Some(status) if is_served(status) => status,
        Some(status) => return refused_status(breaker, &sample, status, &route.registry.rejected_by),
        None => return SampleStatus::Silent,
    };
    if sample.is_private {
        return SampleStatus::Accepted;
    }
    match status_of(&route.upstream, pool, &sample.uri, None).await {
        Some(without) if is_served(without) => {
            breaker.discard_sample();
            tracing::debug!(registry = %route.name, status = status.as_u16(), "a page that was accepted is public");
            SampleStatus::Silent
        }
        Some(without) if without.is_server_error() || without == StatusCode::TOO_MANY_REQUESTS => SampleStatus::Silent,
        Some(_) => {
            breaker.confirm_sample();
            SampleStatus::Accepted
        }
        None => SampleStatus::Silent,
    }
}

/// Meaning of a status other than success for a URL that the registry has served before.
fn refused_status(
    breaker: &CircuitBreaker,
    sample: &Sample,
    status: StatusCode,
    rejections: &Rejections,
) -> SampleStatus {
    let Some(denial) = Denial::of_served_page(status, rejections) else {
        return SampleStatus::Silent;
    };
    if sample.is_of_bearer {
        // The bearer may have deleted or closed the page. The next page that a bearer reads takes its place.
        breaker.forget_sample();
        return SampleStatus::Silent;
    }
    SampleStatus::Denied(denial)
}

fn is_served(status: StatusCode) -> bool {
    status.is_success() || status == StatusCode::NOT_MODIFIED
}

/// The generation to check and the registry's present route, unless another one or another registry has replaced them.
fn current(
    controller: &Controller,
    route: &RegistryRoute,
    breaker: &Arc<CircuitBreaker>,
) -> Option<(Arc<RegistryRoute>, Arc<Generation>)> {
    let present = controller.snapshot().registry(&route.name).ok()?;
    if !Arc::ptr_eq(&present.credential, &route.credential) {
        return None;
    }
    let generation = present.credential.generation()?;
    Arc::ptr_eq(&generation.breaker, breaker).then_some((present, generation))
}

/// Longest time of a check. Requests wait a little longer for its verdict.
const CHECK_TIMEOUT: Duration = Duration::from_secs(10);
