//! `verify` and `holds`: questions about the tokens in use.

use std::sync::Arc;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use futures_util::{StreamExt, stream};
use regauth_shared::event::{EventKind, Verification};
use regauth_shared::request::{CompareToken, Verify};
use regauth_shared::response::{TokenComparison, Verdict, VerdictResult, Verified};
use regauth_shared::{ErrorBody, RegistryName};

use crate::control::controller::Controller;
use crate::control::probe::{ProbeResult, probe_token};
use crate::control::token_check::{self, SampleStatus};
use crate::credential::{CredentialState, Generation, circuit_breaker};
use crate::policy::Denial;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::exchange::failure_log;
use crate::proxy::routes::RegistryRoute;
use crate::proxy::trouble::Trouble;

/// Asks one registry about the token in use, or all of them at the same time.
///
/// # Errors
/// `not-found` for an unknown registry.
pub(crate) async fn verify(controller: &Controller, request: Verify) -> Result<Verified, ErrorBody> {
    let snapshot = controller.snapshot();
    let routes: Vec<Arc<RegistryRoute>> = match &request.name {
        Some(name) => vec![snapshot.registry(name)?],
        None => snapshot.registries.values().map(Arc::clone).collect(),
    };
    let verdicts: Vec<_> = routes.iter().map(|route| verdict(controller, route)).collect();
    let registries = stream::iter(verdicts).buffered(MAX_PROBES).collect();
    Ok(Verified {
        registries: controller.unless_ending(registries).await?,
    })
}

/// Asks about the token in use; again if a rotation replaces it meanwhile.
async fn verdict(controller: &Controller, route: &RegistryRoute) -> Verdict {
    let name = &route.name;
    for _ in 0..MAX_ROTATIONS {
        // A removal or a reload may have replaced the registry as well.
        let Ok(route) = controller.snapshot().registry(name) else {
            return no_token(name, "it was removed meanwhile".to_owned());
        };
        let generation = match route.credential.state() {
            CredentialState::Ready(generation) => generation,
            CredentialState::Locked => {
                return no_token(name, "the store is locked; `regauthctl unlock` opens it".to_owned());
            }
            CredentialState::Missing(why) | CredentialState::Unreadable(why) => return no_token(name, why),
        };
        let asked = ask(controller, &route, &generation);
        if let Some(verdict) = generation.breaker.retirement.unless_retired(asked).await {
            return verdict;
        }
    }
    Verdict {
        result: VerdictResult::Unclear,
        ..no_token(name, "its token was rotated again and again meanwhile".to_owned())
    }
}

fn no_token(name: &RegistryName, detail: String) -> Verdict {
    Verdict {
        name: name.clone(),
        result: VerdictResult::NoToken,
        detail,
        cause: None,
        hint: None,
    }
}

/// Asks about one generation, and records the verdict.
async fn ask(controller: &Controller, route: &Arc<RegistryRoute>, generation: &Generation) -> Verdict {
    let pool = controller.upstream_pool();
    let probed = probe_token(&route.upstream, pool, &route.registry, &generation.value.secret).await;
    let (probed_failure, remedy) = (probed.failure, probed.remedy);
    let (result, detail) = match probed.verdict {
        VerdictResult::Accepted | VerdictResult::Rejected => (probed.verdict, probed.detail),
        _ => compare_with_requests(controller, route, generation, probed).await,
    };
    match result {
        VerdictResult::Accepted => generation.breaker.record_verdict(circuit_breaker::Verdict::Accepted),
        VerdictResult::Rejected => generation.breaker.record_verdict(circuit_breaker::Verdict::Rejected),
        _ => {}
    }
    match probed_failure {
        Some(failure) => note_trouble(route, &ProxyError::Upstream(failure)),
        None if result == VerdictResult::Rejected => {
            note_trouble(route, &ProxyError::TokenRejected(route.name.clone()));
        }
        None => failure_log::registry_recovered(route, route.usage.trouble.end(false)),
    }
    controller.announce(EventKind::Verification(Verification {
        registry: route.name.clone(),
        result,
    }));
    Verdict {
        name: route.name.clone(),
        result,
        detail,
        cause: probed_failure.map(|failure| failure.name().to_owned()),
        hint: remedy.map(str::to_owned),
    }
}

/// Records what went wrong, for `show`.
fn note_trouble(route: &RegistryRoute, error: &ProxyError) {
    let host = route.registry.scopes.first().map(|scope| scope.origin.to_string());
    let trouble = Trouble::of(&route.name, host.unwrap_or_default(), error);
    trouble
        .into_iter()
        .for_each(|trouble| route.usage.trouble.begin(trouble));
}

/// Turns to what the registry has answered to requests, if the probe does not tell.
async fn compare_with_requests(
    controller: &Controller,
    route: &RegistryRoute,
    generation: &Generation,
    probed: ProbeResult,
) -> (VerdictResult, String) {
    let ProbeResult { verdict, detail, .. } = probed;
    match token_check::sample_status(controller, route, &generation.breaker).await {
        SampleStatus::Accepted => {
            let detail = format!("{detail}; the registry serves a page with the token that it refuses without");
            (VerdictResult::Accepted, detail)
        }
        SampleStatus::Denied(Denial::Clear) => {
            let detail = format!("{detail}; the registry now refuses a page that it has served with this token");
            (VerdictResult::Rejected, detail)
        }
        SampleStatus::Denied(Denial::Vague) | SampleStatus::Silent => (verdict, detail),
    }
}

/// Compares a token that `import` found elsewhere with the registry's present one, at the pace of guesses: a program can
/// ask, too.
///
/// # Errors
/// `not-found` for an unknown registry.
pub(crate) async fn holds(controller: &Controller, request: &CompareToken) -> Result<TokenComparison, ErrorBody> {
    let route = controller.snapshot().registry(&request.name)?;
    let compare = async {
        let present = route.credential.shared.state();
        let present = present.value()?;
        let (present, given) = (present.secret.expose().as_bytes(), request.token.expose().as_bytes());
        Some(verify_slices_are_equal(present, given).is_ok())
    };
    let same = controller.state.guess(compare, |same| *same == Some(false)).await;
    Ok(TokenComparison {
        name: request.name.clone(),
        same,
    })
}

/// Registries that are asked at the same time. One that is silent takes 20 s or more.
const MAX_PROBES: usize = 32;
/// Generations that are asked about while each is replaced meanwhile.
const MAX_ROTATIONS: usize = 5;
