//! `remove-registry`: removes a registry and deletes its token.

use std::sync::Arc;

use regauth_shared::request::ByName;
use regauth_shared::response::RegistryRemoved;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::control::controller::Controller;
use crate::control::error::unchanged;
use crate::control::presence::Presence;
use crate::control::state::apply::close_unused;
use crate::control::state::binding::owner_in_service;
use crate::control::state::{RegistryRoutes, State, StateGuard};
use crate::control::verbs::{grants, holders_note};
use crate::proxy::routes::RegistryRoute;
use crate::registry::Source;

/// Removes a registry. The write of the configuration removes it: from then on no request gets its token, also on
/// connections that are open. A token that the store does not delete is deleted when the store opens or at the next start.
///
/// # Errors
/// `not-found` or `refused` for the request, and those of the files before the configuration is written.
pub(crate) async fn remove_registry(
    controller: &Controller,
    request: ByName,
    presence: Presence,
) -> Result<RegistryRemoved, ErrorBody> {
    let mut state = controller.lock_state().await?;
    let name = request.name;
    let route = removable(controller, &state, &name)?;
    controller.refuse_names_of_root(&state, &name, presence, "removes")?;
    let owner = owner_in_service(&state, &name);
    commit(controller, &mut state, &name).await?;
    controller.record_removed_name(&mut state, &name);
    state.registries.remove(&name);
    state.removals += 1;
    controller.publish(&state);
    let closed = close_unused(&route, &state.registries);
    closed.own_requests_ended().await;
    let mut notes = holders_note(closed.holders());
    drop(closed);
    notes.extend(grants::end_with_registry(controller, &name).await);
    if owner != name {
        controller.narrow_binding(&mut state, &owner, &name).await;
    }
    if let Err(error) = controller.delete_credential(&mut state, &name).await {
        notes.push(format!(
            "{}; its token is deleted as soon as the store opens",
            ErrorBody::from(error).message
        ));
    }
    if route
        .as_ref()
        .is_some_and(|route| !route.registry.source.is_stored() && !matches!(route.registry.source, Source::Of(_)))
    {
        notes.push("its token was not in regauth's store; delete it in its source".to_owned());
    }
    controller.forget_unused_authorities(&mut state).await;
    // The registry is gone already; the next start completes what fails here.
    let mut written = controller.write_journal(&state.journal).await;
    if written.is_ok() {
        written = controller.write_bundle(&state).await;
    }
    if let Err(error) = written {
        notes.push(format!("{}; the next start cleans up", error.message));
    }
    controller.publish(&state);
    tracing::info!(registry = %name, "removed registry");
    Ok(RegistryRemoved { name, notes })
}

/// Checks that the registry may be removed. Returns none for a registry that a person deleted from the file by hand: its
/// token is still in the store.
fn removable(
    controller: &Controller,
    state: &State,
    name: &RegistryName,
) -> Result<Option<Arc<RegistryRoute>>, ErrorBody> {
    let route = match state.registry(name) {
        Err(error) if !state.journal.registries.contains_key(name) || state.busy.contains(name) => return Err(error),
        route => route.ok(),
    };
    refuse_while_shared(&state.registries, name)?;
    if controller.persistent {
        // Errors in the file are reported before anything is changed.
        controller.read_config()?;
    }
    Ok(route)
}

fn refuse_while_shared(registries: &RegistryRoutes, name: &RegistryName) -> Result<(), ErrorBody> {
    let uses_it = |route: &&Arc<RegistryRoute>| matches!(&route.registry.source, Source::Of(owner) if owner == name);
    let users = registries.values().filter(uses_it);
    let users: Vec<&str> = users.map(|user| user.name.as_str()).collect();
    if users.is_empty() {
        return Ok(());
    }
    let message = format!("the credential of `{name}` is also that of {}", users.join(", "));
    let hint = "remove the registries that use it first, or change `credential-of` there";
    Err(ErrorBody::new(ErrorKind::Refused, message).hint(hint))
}

/// Records the name as pending, then removes it from the configuration.
async fn commit(controller: &Controller, state: &mut StateGuard<'_>, name: &RegistryName) -> Result<(), ErrorBody> {
    state.journal.pending.insert(name.clone());
    let mut committed = controller.write_journal(&state.journal).await;
    if committed.is_ok() {
        let removed = controller.edit_config(|config| {
            config.remove_registry(name);
        });
        committed = removed.await;
    }
    if committed.is_err() {
        state.journal.pending.remove(name);
        // If this write fails too, the file keeps the name; the next start finds it configured and drops it.
        let _ = controller.write_journal(&state.journal).await;
    }
    committed.map_err(|error| {
        if error.kind == ErrorKind::Failed {
            unchanged(error)
        } else {
            error
        }
    })
}
