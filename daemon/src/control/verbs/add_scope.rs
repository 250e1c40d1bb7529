//! `add-scope`: a registry that is in service covers more.

use regauth_shared::ErrorBody;
use regauth_shared::request::AddScope;
use regauth_shared::response::RegistryView;

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::description::{push_uncovered, read};
use crate::control::state::{State, find};
use crate::control::verbs::add_registry::refuse_taken_scopes;
use crate::control::verbs::show;
use crate::registry::Scope;

/// Serves the wider registry, then writes it down; what cannot be written is not served.
pub(crate) async fn add_scope(controller: &Controller, request: &AddScope) -> Result<RegistryView, ErrorBody> {
    let mut state = controller.lock_state().await?;
    let name = &request.name;
    let present = in_service(controller, &state);
    let mut wider = find(&state.registries, name)?.registry.clone();
    for text in &request.scopes {
        push_uncovered(&mut wider.scopes, read::<Scope>("the scope", text)?);
    }
    refuse_taken_scopes(&state, name, &wider)?;
    let scopes = wider.scopes.clone();
    let mut config = present.clone();
    config.registries.insert(name.clone(), wider);
    let served = controller.apply_config(&mut state, &config).await;
    let written = served.and_then(|()| controller.edit_config(|file| file.cover(name, &scopes)));
    if let Err(error) = written {
        controller.apply_config(&mut state, &present).await?;
        return Err(error);
    }
    tracing::info!(registry = %name, "covers more");
    find(&state.registries, name).map(|route| show::view(&route))
}

/// What is served now, as a configuration; a person's edits that were not read yet are not in it.
fn in_service(controller: &Controller, state: &State) -> Config {
    let registries = state.registries.iter();
    Config {
        registries: registries
            .map(|(name, route)| (name.clone(), route.registry.clone()))
            .collect(),
        ..controller.at_start.clone()
    }
}
