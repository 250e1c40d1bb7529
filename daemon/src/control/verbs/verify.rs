//! `verify` and `holds`: questions about the tokens in use.

use std::sync::Arc;

use regauth_shared::request::{CompareToken, Verify};
use regauth_shared::response::{TokenComparison, Verdict, VerdictResult, Verified};
use regauth_shared::{ErrorBody, Secret};

use crate::control::controller::Controller;
use crate::control::probe;
use crate::control::state::find;
use crate::credential::CredentialState;
use crate::proxy::routes::RegistryRoute as Service;

/// Asks registries about the tokens in use.
pub(crate) async fn verify(controller: &Controller, request: Verify) -> Result<Verified, ErrorBody> {
    let services = &controller.glance().services;
    let asked: Vec<Arc<Service>> = match &request.name {
        Some(name) => vec![find(services, name)?],
        None => services.values().map(Arc::clone).collect(),
    };
    let mut registries = Vec::new();
    for service in asked {
        registries.push(verdict(controller, &service).await);
    }
    Ok(Verified { registries })
}

async fn verdict(controller: &Controller, service: &Service) -> Verdict {
    let name = service.name.clone();
    let generation = match service.credential.state() {
        CredentialState::Ready(generation) => generation,
        CredentialState::Locked => {
            let detail = "the store is locked; `regauthctl unlock` opens it".to_owned();
            return Verdict {
                name,
                result: VerdictResult::NoToken,
                detail,
            };
        }
        CredentialState::Missing(why) => {
            return Verdict {
                name,
                result: VerdictResult::NoToken,
                detail: why,
            };
        }
    };
    let finding = ask(controller, service, &generation.value.secret).await;
    match finding.result {
        VerdictResult::Accepted => generation.breaker.record(true),
        VerdictResult::Rejected => generation.breaker.record(false),
        _ => {}
    }
    Verdict {
        name,
        result: finding.result,
        detail: finding.detail,
    }
}

/// What a registry says of a token for it.
pub(in crate::control) async fn ask(controller: &Controller, service: &Service, token: &Secret) -> probe::Finding {
    probe::ask(&service.upstream, controller.pool(), &service.registry, token).await
}

/// Whether a registry's present token is the one that somebody has found elsewhere.
pub(crate) fn holds(controller: &Controller, request: &CompareToken) -> Result<TokenComparison, ErrorBody> {
    let service = find(&controller.glance().services, &request.name)?;
    let present = service.credential.shared.state();
    Ok(TokenComparison {
        name: request.name.clone(),
        same: present.value().map(|value| value.secret.is_same(&request.token)),
    })
}
