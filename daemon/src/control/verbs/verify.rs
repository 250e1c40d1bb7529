//! `verify` and `holds`: questions about the tokens in use.

use std::sync::Arc;

use regauth_shared::request::{Holds, Verify};
use regauth_shared::response::{Held, Verdict, VerdictResult, Verified};
use regauth_shared::{ErrorBody, Secret};

use crate::control::controller::Controller;
use crate::control::probe;
use crate::control::state::find;
use crate::credential::slot::Holding;
use crate::proxy::routes::Service;

/// Asks registries about the tokens in use.
pub(crate) async fn verify(controller: &Controller, request: Verify) -> Result<Verified, ErrorBody> {
    let registries = &controller.snapshot().registries;
    let asked: Vec<Arc<Service>> = match &request.name {
        Some(name) => vec![find(registries, name)?],
        None => registries.values().map(Arc::clone).collect(),
    };
    let mut registries = Vec::new();
    for route in asked {
        registries.push(verdict(controller, &route).await);
    }
    Ok(Verified { registries })
}

async fn verdict(controller: &Controller, route: &Service) -> Verdict {
    let name = route.name.clone();
    let generation = match &*route.credential.load() {
        Holding::Ready(generation) => Arc::clone(generation),
        Holding::Locked => {
            let detail = "the store is locked; `regauthctl unlock` opens it".to_owned();
            return Verdict {
                name,
                result: VerdictResult::NoToken,
                detail,
            };
        }
        Holding::Missing(why) => {
            return Verdict {
                name,
                result: VerdictResult::NoToken,
                detail: why.clone(),
            };
        }
    };
    let probed = ask(controller, route, generation.secret()).await;
    match probed.result {
        VerdictResult::Accepted => generation.guard().note(true),
        VerdictResult::Rejected => generation.guard().note(false),
        _ => {}
    }
    Verdict {
        name,
        result: probed.result,
        detail: probed.detail,
    }
}

/// What a registry says of a token for it.
pub(in crate::control) async fn ask(controller: &Controller, route: &Service, token: &Secret) -> probe::ProbeResult {
    probe::ask(&route.upstream, controller.pool(), &route.registry, token).await
}

/// Whether a registry's present token is the one that somebody has found elsewhere.
pub(crate) fn holds(controller: &Controller, request: &Holds) -> Result<Held, ErrorBody> {
    let route = find(&controller.snapshot().registries, &request.name)?;
    let present = route.keeper.present();
    Ok(Held {
        name: request.name.clone(),
        same: present.value().map(|value| value.secret.is_same(&request.token)),
    })
}
