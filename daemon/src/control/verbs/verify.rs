//! `verify` and `holds`: questions about the tokens in use.

use std::sync::Arc;

use regauth_shared::ErrorBody;
use regauth_shared::request::{CompareToken, Verify};
use regauth_shared::response::{TokenComparison, Verdict, VerdictResult, Verified};

use crate::control::controller::Controller;
use crate::control::probe::probe_token;
use crate::credential::CredentialState;
use crate::proxy::routes::RegistryRoute;

/// Asks one registry or all of them about the token in use.
///
/// # Errors
/// `not-found` for an unknown registry.
pub(crate) async fn verify(controller: &Controller, request: Verify) -> Result<Verified, ErrorBody> {
    let snapshot = controller.snapshot();
    let routes: Vec<Arc<RegistryRoute>> = match &request.name {
        Some(name) => vec![snapshot.registry(name)?],
        None => snapshot.registries.values().map(Arc::clone).collect(),
    };
    let mut registries = Vec::new();
    for route in routes {
        registries.push(verdict(controller, &route).await);
    }
    Ok(Verified { registries })
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
    match probed.verdict {
        VerdictResult::Accepted => generation.breaker.record(true),
        VerdictResult::Rejected => generation.breaker.record(false),
        _ => {}
    }
    match probed.failure {
        Some(failure) => route.usage.note_failure(failure),
        None => route.usage.clear_failure(),
    }
    Verdict {
        name,
        result: probed.verdict,
        detail: probed.detail,
        cause: probed.failure.map(|failure| failure.name().to_owned()),
        hint: probed.remedy.map(str::to_owned),
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
