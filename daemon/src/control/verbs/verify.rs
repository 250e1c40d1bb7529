//! `verify` and `holds`: questions about the tokens in use.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use regauth_shared::ErrorBody;
use regauth_shared::request::{CompareToken, Verify};
use regauth_shared::response::{TokenComparison, Verdict, VerdictResult, Verified};

use crate::control::controller::Controller;
use crate::control::probe::probe_token;
use crate::credential::CredentialState;
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
    };
    let generation = match route.credential.state() {
        CredentialState::Ready(generation) => generation,
        CredentialState::Locked => return no_token("the store is locked; `regauthctl unlock` opens it".to_owned()),
        CredentialState::Missing(why) => return no_token(why),
    };
    let pool = controller.upstream_pool();
    let probed = probe_token(&route.upstream, pool, &route.registry, &generation.value.secret).await;
    match probed.verdict {
        VerdictResult::Accepted => generation.breaker.record(true),
        VerdictResult::Rejected => generation.breaker.record(false),
        _ => {}
    }
    Verdict {
        name,
        result: probed.verdict,
        detail: probed.detail,
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
