//! `add-scope`: adds scopes to a registry in service.

use regauth_shared::ErrorBody;
use regauth_shared::request::AddScope;
use regauth_shared::response::RegistryView;

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::new_registry::{parse_flag, push_scope};
use crate::control::state::State;
use crate::control::verbs::show;
use crate::registry::Scope;

/// Serves the registry with the added scopes, then writes the configuration; undone if the write fails.
///
/// # Errors
/// `not-found`, `invalid` or `exists` for the request, and those of the authorities and files.
pub(crate) async fn add_scope(controller: &Controller, request: &AddScope) -> Result<RegistryView, ErrorBody> {
    let mut state = controller.lock_state().await?;
    let name = &request.name;
    let present = config_in_service(controller, &state);
    let mut wider = state.registry(name)?.registry.clone();
    for text in &request.scopes {
        push_scope(&mut wider.scopes, parse_flag::<Scope>("the scope", text)?);
    }
    state.refuse_taken_scopes(name, &wider)?;
    let scopes = wider.scopes.clone();
    let mut config = present.clone();
    config.registries.insert(name.clone(), wider);
    let served = controller.apply_config(&mut state, &config).await;
    let written = served.and_then(|()| controller.edit_config(|file| file.add_scopes(name, &scopes)));
    if let Err(error) = written {
        controller.apply_config(&mut state, &present).await?;
        return Err(error);
    }
    tracing::info!(registry = %name, scopes = request.scopes.len(), "added scopes");
    state.registry(name).map(|route| show::view(&route))
}

/// The registries in service as a configuration, without edits to the file that were not read yet.
fn config_in_service(controller: &Controller, state: &State) -> Config {
    let registries = state.registries.iter();
    Config {
        registries: registries
            .map(|(name, route)| (name.clone(), route.registry.clone()))
            .collect(),
        ..controller.at_start.clone()
    }
}
