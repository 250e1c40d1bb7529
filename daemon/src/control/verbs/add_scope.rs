//! `add-scope`: adds scopes to a registry in service.

use regauth_shared::request::AddScope;
use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::error::unchanged;
use crate::control::new_registry::{parse_flag, push_scope};
use crate::control::state::apply::Applied;
use crate::control::state::{State, StateGuard};
use crate::control::verbs::show;
use crate::registry::{Registry, Scope};

/// Serves the registry with the added scopes, then writes the configuration; undone if the write fails.
///
/// # Errors
/// `not-found`, `invalid` or `exists` for the request, and those of the authorities and files.
pub(crate) async fn add_scope(controller: &Controller, request: &AddScope) -> Result<RegistryView, ErrorBody> {
    let mut state = controller.lock_for_change().await?;
    let name = &request.name;
    let before = state.registry(name)?.registry.clone();
    let scopes = loop {
        let mut config = config_in_service(controller, &state);
        let mut wider = state.registry(name)?.registry.clone();
        for text in &request.scopes {
            push_scope(&mut wider.scopes, parse_flag::<Scope>("the scope", text)?);
        }
        controller.check_registry(&wider)?;
        state.refuse_taken_scopes(name, &wider)?;
        let scopes = wider.scopes.clone();
        config.registries.insert(name.clone(), wider);
        // Again after each removal of a registry meanwhile; there are not endlessly many.
        let applied = controller.apply_config(&mut state, &config).await;
        if applied.map_err(unchanged)? == Applied::Published {
            break scopes;
        }
    };
    let written = controller.edit_config(|file| file.add_scopes(name, &scopes)).await;
    if let Err(error) = written {
        undo(controller, &mut state, name, &before).await?;
        return Err(if error.kind == ErrorKind::Failed {
            unchanged(error)
        } else {
            error
        });
    }
    tracing::info!(registry = %name, scopes = request.scopes.len(), "added scopes");
    state.registry(name).map(|route| show::view(&route))
}

/// Serves the registry as it was before.
async fn undo(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    name: &RegistryName,
    before: &Registry,
) -> Result<(), ErrorBody> {
    loop {
        let mut config = config_in_service(controller, state);
        if let Some(registry) = config.registries.get_mut(name) {
            registry.clone_from(before);
        }
        if controller.apply_config(state, &config).await? == Applied::Published {
            return Ok(());
        }
    }
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
