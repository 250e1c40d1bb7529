//! `add-scope`: adds scopes to a registry in service.

use regauth_shared::request::AddScope;
use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::control::controller::Controller;
use crate::control::error::unchanged;
use crate::control::new_registry::{parse_flag, push_scope};
use crate::control::presence::Presence;
use crate::control::state::apply::Applied;
use crate::control::state::{State, StateGuard};
use crate::control::verbs::show;
use crate::control::widening::Widening;
use crate::registry::{Registry, Scope};

/// Serves the registry with the added scopes, then writes the configuration; undone if the write fails.
///
/// # Errors
/// `not-found`, `invalid` or `exists` for the request, those of the permission to send the token there, and those of the
/// authorities and files.
pub(crate) async fn add_scope(
    controller: &Controller,
    request: &AddScope,
    presence: Presence,
) -> Result<RegistryView, ErrorBody> {
    let permitted = {
        let state = controller.lock_state().await?;
        let before = state.registry(&request.name)?;
        let wider = with_scopes(&state, before.configured(), request)?;
        Widening::of(&state, &request.name, Some(before.configured()), &wider)
    };
    if let Some(widening) = &permitted {
        widening.permit(controller, presence, request.proof.as_ref()).await?;
    }
    let mut state = controller.lock_for_change().await?;
    let before = state.registry(&request.name)?.configured().clone();
    let wider = with_scopes(&state, &before, request)?;
    controller.check_registry(&wider)?;
    let Some(widening) = Widening::of(&state, &request.name, Some(&before), &wider) else {
        return serve(controller, &mut state, request, &before).await;
    };
    widening.refuse_beyond(permitted.as_ref())?;
    let bindings = state.bindings.clone();
    widening.record(controller, &mut state).await?;
    let served = serve(controller, &mut state, request, &before).await;
    if served.is_err() {
        widening.restore(controller, &mut state, &bindings).await;
    }
    served
}

/// The registry with the scopes of the request.
fn with_scopes(state: &State, registry: &Registry, request: &AddScope) -> Result<Registry, ErrorBody> {
    let mut wider = registry.clone();
    for text in &request.scopes {
        push_scope(&mut wider.scopes, parse_flag::<Scope>("the scope", text)?);
    }
    state.refuse_taken_scopes(&request.name, &wider)?;
    Ok(wider)
}

async fn serve(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    request: &AddScope,
    before: &Registry,
) -> Result<RegistryView, ErrorBody> {
    let name = &request.name;
    let scopes = loop {
        let mut config = controller.config_in_service(state);
        let wider = with_scopes(state, state.registry(name)?.configured(), request)?;
        let scopes = wider.scopes.clone();
        config.registries.insert(name.clone(), wider);
        // Again after each removal of a registry meanwhile; there are not endlessly many.
        let applied = controller.apply_config(state, &config).await;
        if applied.map_err(unchanged)? == Applied::Published {
            break scopes;
        }
    };
    let written = controller.edit_config(|file| file.add_scopes(name, &scopes)).await;
    if let Err(error) = written {
        undo(controller, state, name, before).await?;
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
        let mut config = controller.config_in_service(state);
        if let Some(registry) = config.registries.get_mut(name) {
            registry.clone_from(before);
        }
        if controller.apply_config(state, &config).await? == Applied::Published {
            return Ok(());
        }
    }
}
