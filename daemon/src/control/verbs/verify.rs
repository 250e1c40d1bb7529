//! `verify` and `holds`: questions about the tokens in use.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use regauth_shared::ErrorBody;
use regauth_shared::event::{EventKind, Verification};
use regauth_shared::request::{CompareToken, Verify};
use regauth_shared::response::{TokenComparison, Verdict, VerdictResult, Verified};

use crate::control::controller::Controller;
use crate::control::probe::{ProbeResult, probe_token};
use crate::control::token_check::{self, SampleStatus};
use crate::credential::{CredentialState, Generation, circuit_breaker};
use crate::policy::Denial;
use crate::proxy::routes::RegistryRoute;

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

async fn verdict(controller: &Controller, route: &RegistryRoute) -> Verdict {
    let name = route.name.clone();
    let no_token = |detail: String| Verdict {
        name: name.clone(),
        result: VerdictResult::NoToken,
        detail,
        cause: None,
        hint: None,
    };
    let generation = match route.credential.state() {
        CredentialState::Ready(generation) => generation,
        CredentialState::Locked => return no_token("the store is locked; `regauthctl unlock` opens it".to_owned()),
        CredentialState::Missing(why) | CredentialState::Unreadable(why) => return no_token(why),
    };
    let pool = controller.upstream_pool();
    let probed = probe_token(&route.upstream, pool, &route.registry, &generation.value.secret).await;
    let (probed_failure, remedy) = (probed.failure, probed.remedy);
    let (result, detail) = match probed.verdict {
        VerdictResult::Accepted | VerdictResult::Rejected => (probed.verdict, probed.detail),
        _ => compare_with_requests(controller, route, &generation, probed).await,
    };
    match result {
        VerdictResult::Accepted => generation.breaker.record_verdict(circuit_breaker::Verdict::Accepted),
        VerdictResult::Rejected => generation.breaker.record_verdict(circuit_breaker::Verdict::Rejected),
        _ => {}
    }
    match probed_failure {
        Some(failure) => route.usage.note_failure(failure),
        None => route.usage.clear_failure(),
    }
    controller.announce(EventKind::Verification(Verification {
        registry: name.clone(),
        result,
    }));
    Verdict {
        name,
        result,
        detail,
        cause: probed_failure.map(|failure| failure.name().to_owned()),
        hint: remedy.map(str::to_owned),
    }
}

/// Turns to what the registry has answered to requests, if the probe does not tell.
async fn compare_with_requests(
    controller: &Controller,
    route: &RegistryRoute,
    generation: &Arc<Generation>,
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

/// Compares a token that `import` found elsewhere with the registry's present one.
///
/// # Errors
/// `not-found` for an unknown registry.
pub(crate) fn holds(controller: &Controller, request: &CompareToken) -> Result<TokenComparison, ErrorBody> {
    let route = controller.snapshot().registry(&request.name)?;
    let present = route.credential.shared.state();
    Ok(TokenComparison {
        name: request.name.clone(),
        same: present.value().map(|value| value.secret.is_same(&request.token)),
    })
}

/// Registries that are asked at the same time. One that is silent takes 20 s or more.
const MAX_PROBES: usize = 32;
