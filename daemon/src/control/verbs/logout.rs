//! `logout`: forgets the token of a registry and keeps the registry, so that a new token continues where the old one ended.

use regauth_shared::event::{EventKind, RegistryChange};
use regauth_shared::request::ByName;
use regauth_shared::response::LoggedOut;
use regauth_shared::{ErrorBody, ErrorKind};

use crate::control::controller::Controller;
use crate::control::state::State;
use crate::control::verbs::holders_note;
use crate::control::verbs::rotate::refuse_replaced;
use crate::credential::CredentialState;
use crate::credential::store::Item;
use crate::proxy::routes::RegistryRoute;
use crate::registry::Source;

/// Deletes a registry's token from the store, then from memory. Requests fail until `rotate` gives another token.
///
/// # Errors
/// `not-found` or `refused` for the request, `failed` when the registry was replaced meanwhile, and those of the store and
/// the journal, which leave the token in use.
pub(crate) async fn logout(controller: &Controller, request: ByName) -> Result<LoggedOut, ErrorBody> {
    let name = request.name;
    let route = controller.snapshot().registry(&name)?;
    refuse_other_sources(&route)?;
    let credential = &route.credential.shared;
    let ticket = credential.take_ticket();
    let turn = credential.rotation_turn().await;
    let mut state = controller.lock_state().await?;
    refuse_replaced(&state, &route)?;
    let store = controller.store();
    let item = Item::Credential(name.clone());
    // A migration waits for it, and copies again.
    state.rotating.insert(name.clone());
    let deleted = state.unlocked(store.thread.delete(&item)).await;
    state.rotating.remove(&name);
    state.removals += 1;
    deleted?;
    refuse_replaced(&state, &route)?;
    // A rotation that a kill interrupted cannot be settled any more. The generation stays, so that numbers never go back.
    if state.journal.rotations.remove(&name).is_some() {
        controller.write_journal(&state.journal).await?;
    }
    let next = match route.registry.source.needs_login() {
        true => format!("`regauthctl login {name}` logs in again"),
        false => format!("`regauthctl login {name}` takes a new token"),
    };
    let missing = CredentialState::Missing(format!("logged out; {next}"));
    let replaced = credential.replace_in_turn(ticket, missing);
    controller.publish(&state);
    let mut notes = users_of(&state, &route);
    drop((state, turn));
    tracing::info!(registry = %name, "deleted token");
    controller.announce(EventKind::Logout(RegistryChange { registry: name.clone() }));
    notes.extend(holders_note(replaced.wait().await));
    Ok(LoggedOut { notes, name })
}

fn refuse_other_sources(route: &RegistryRoute) -> Result<(), ErrorBody> {
    let name = &route.name;
    let (message, hint) = match &route.registry.source {
        source if source.is_stored() => return Ok(()),
        Source::Of(owner) => (
            format!("`{name}` uses the credential of `{owner}`"),
            format!("log `{owner}` out, which ends it for both, or `regauthctl remove-registry {name}`"),
        ),
        source => (
            format!("the token of `{name}` comes from {source}, not from the store"),
            format!("delete it there, or `regauthctl remove-registry {name}`"),
        ),
    };
    Err(ErrorBody::new(ErrorKind::Refused, message).hint(hint))
}

/// Notes on the other registries that send the same token.
fn users_of(state: &State, route: &RegistryRoute) -> Vec<String> {
    let uses_it = |source: &Source| matches!(source, Source::Of(owner) if *owner == route.name);
    let users = state.registries.values().filter(|user| uses_it(&user.registry.source));
    users
        .map(|user| format!("{} used the same token, and has none now", user.name))
        .collect()
}
