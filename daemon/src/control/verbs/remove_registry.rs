//! `remove-registry`: forget the registry, delete its secret.

use std::sync::Arc;

use regauth_shared::request::ByName;
use regauth_shared::response::RegistryRemoved;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::control::controller::Controller;
use crate::control::error::not_found;
use crate::control::state::{RegistryRoutes, State};
use crate::control::verbs::grants;
use crate::proxy::routes::Service;
use crate::registry::Source;

/// Removes a registry. From the configuration's write on it does not exist; a secret that the store would not delete is
/// deleted at the next start.
pub(crate) async fn remove_registry(controller: &Controller, request: ByName) -> Result<RegistryRemoved, ErrorBody> {
    let mut state = controller.lock_state().await?;
    let name = request.name;
    let route = removable(controller, &state, &name)?;
    state.journal.pending.insert(name.clone());
    let forgotten = controller.write_journal(&state.journal).and_then(|()| {
        controller.edit_config(|config| {
            config.remove_registry(&name);
        })
    });
    if let Err(error) = forgotten {
        state.journal.pending.remove(&name);
        // What stays noted on a full disk, the next start finds to be nothing.
        let _ = controller.write_journal(&state.journal);
        return Err(error);
    }
    state.registries.remove(&name);
    state.share_credentials();
    controller.publish(&state);
    let mut notes = Vec::new();
    if let Err(error) = controller.delete_credential(&mut state, &name).await {
        notes.push(format!(
            "{}; its token is deleted as soon as the store opens",
            ErrorBody::from(error).message
        ));
    }
    if route.is_some_and(|route| !matches!(route.registry.source, Source::Store | Source::Of(_))) {
        notes.push("its token was not in regauth's store; delete it where it came from".to_owned());
    }
    notes.extend(grants::end_with(controller, &name));
    controller.forget_unused_authorities(&mut state).await;
    // It is gone already; what cannot be tidied up now is at the next start.
    let tidied = controller
        .write_journal(&state.journal)
        .and_then(|()| controller.write_bundle(&state));
    if let Err(error) = tidied {
        notes.push(format!("{}; the next start tidies up", error.message));
    }
    controller.publish(&state);
    tracing::info!(registry = %name, "removed");
    Ok(RegistryRemoved { name, notes })
}

/// The registry, unless something speaks against its removal. There is none where somebody has taken it out of the file by
/// hand; its token is here still.
fn removable(controller: &Controller, state: &State, name: &RegistryName) -> Result<Option<Arc<Service>>, ErrorBody> {
    let route = state.registries.get(name).map(Arc::clone);
    if route.is_none() && !state.journal.registries.contains_key(name) {
        return Err(not_found(&state.registries, name));
    }
    refuse_while_shared(&state.registries, name)?;
    if controller.persistent {
        // A file that could not be written to in the end is told before anything is begun.
        controller.read_config()?;
    }
    Ok(route)
}

fn refuse_while_shared(registries: &RegistryRoutes, name: &RegistryName) -> Result<(), ErrorBody> {
    let uses_it = |route: &&Arc<Service>| matches!(&route.registry.source, Source::Of(owner) if owner == name);
    let users = registries.values().filter(uses_it);
    let users: Vec<&str> = users.map(|user| user.name.as_str()).collect();
    if users.is_empty() {
        return Ok(());
    }
    Err(ErrorBody::new(
        ErrorKind::Refused,
        format!("the credential of `{name}` is also that of {}", users.join(", ")),
    )
    .hint("remove what uses it first, or change `credential-of` there"))
}
