//! Steps that put an addition into the files and the store, and those that take them back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regauth_shared::request::AddRegistry;
use regauth_shared::{ErrorBody, RegistryName};

use super::refuse_changes;
use crate::config::serialize::source_record;
use crate::control::controller::Controller;
use crate::control::state::binding::token_use;
use crate::control::state::{State, StateGuard};
use crate::control::widening::Widening;
use crate::credential::store::Item;
use crate::host::Host;
use crate::journal::{Definer, JournalEntry};
use crate::policy::binding::Binding;
use crate::proxy::routes::RegistryRoute;
use crate::registry::Source;

/// Records in the journal that the addition has begun.
pub(super) fn record(state: &mut State, route: &Arc<RegistryRoute>) {
    let name = &route.name;
    state.journal.pending.insert(name.clone());
    state.busy.insert(name.clone());
    if route.registry.source == Source::Store {
        let current = route.credential.shared.state();
        let entry = current
            .value()
            .map_or_else(JournalEntry::first, |value| JournalEntry::of(value));
        state.journal.registries.insert(name.clone(), entry);
    }
}

/// Writes the journal, the token, the authorities, the bundle and, last, the configuration. The lock is released for the
/// store, so the last part checks again.
pub(super) async fn commit(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    request: &AddRegistry,
    route: &Arc<RegistryRoute>,
    widening: Option<&Widening>,
) -> Result<(), ErrorBody> {
    controller.write_journal(&state.journal).await?;
    if route.registry.source.is_stored() {
        let binding = Binding {
            source: source_record(&route.registry.source),
            uses: [(request.name.clone(), token_use(&route.registry))].into(),
        };
        controller.record_binding(state, &request.name, binding).await?;
    }
    if let Some(widening) = widening {
        widening.record(controller, state).await?;
    }
    if let Some(token) = &request.token {
        let item = Item::Credential(request.name.clone());
        state.unlocked(controller.store().thread.write(&item, token)).await?;
    }
    let hosts: BTreeSet<Host> = route.registry.hosts().cloned().collect();
    controller.ensure_authorities(state, hosts.clone()).await?;
    let has_no_authority = |host: &Host| !state.identities.contains_key(host);
    if let Some(error) = &state.store_error
        && hosts.iter().any(has_no_authority)
    {
        return Err(error.clone().into());
    }
    refuse_changes(state, route)?;
    state.registries.insert(request.name.clone(), Arc::clone(route));
    state.busy.remove(&request.name);
    controller.write_bundle(state).await?;
    let add = controller.edit_config(|config| config.add_registry(&request.name, &route.registry));
    add.await
}

/// Records in the journal that the addition is complete.
pub(super) async fn record_end(controller: &Controller, state: &mut State, name: &RegistryName) {
    state.journal.pending.remove(name);
    if let Err(error) = controller.write_journal(&state.journal).await {
        tracing::warn!(
            registry = %name,
            error = error.message,
            "could not record the end of an addition; the next start does"
        );
    }
}

/// Takes back the use of a token that the registry would have shared.
pub(super) async fn restore(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    widening: Option<&Widening>,
    bindings: &BTreeMap<RegistryName, Binding>,
) {
    if let Some(widening) = widening {
        widening.restore(controller, state, bindings).await;
    }
}

/// Removes what the addition has left. `definer` is the one before it.
pub(super) async fn undo(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    name: &RegistryName,
    definer: Option<Definer>,
) {
    state.journal.definers.remove(name);
    state
        .journal
        .definers
        .extend(definer.map(|definer| (name.clone(), definer)));
    state.registries.remove(name);
    state.reserved_hosts.clear();
    if let Err(error) = controller.delete_credential(state, name).await {
        tracing::warn!(
            registry = %name,
            %error,
            "could not delete the token of a registry that was not added; it is deleted when the store opens"
        );
    }
    controller.forget_unused_authorities(state).await;
    let mut undone = controller.write_journal(&state.journal).await;
    if undone.is_ok() {
        undone = controller.write_bundle(state).await;
    }
    if let Err(error) = undone {
        tracing::warn!(
            registry = %name,
            error = error.message,
            "could not undo an addition completely; the next start does"
        );
    }
}
