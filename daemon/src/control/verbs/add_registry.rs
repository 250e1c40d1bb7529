//! `add-registry`: adds a registry and serves it at once.
//!
//! The verb checks the request, gets the initial token, probes the registry with it, and commits: journal, store,
//! authority, bundle, configuration. The write of the configuration decides; a failure before it is undone, here or at the
//! next start.

use std::sync::Arc;

use regauth_shared::index::{AUTH_REQUIRED, IndexConfig};
use regauth_shared::request::AddRegistry;
use regauth_shared::response::{RegistryAdded, VerdictResult};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::control::controller::Controller;
use crate::control::new_registry::{InitialToken, definition, initial_token, push_scope};
use crate::control::probe::{ProbeResult, probe_token};
use crate::control::state::State;
use crate::control::verbs::show;
use crate::credential::store::Item;
use crate::host::Host;
use crate::journal::JournalEntry;
use crate::proxy::routes::RegistryRoute;
use crate::registry::{Index, Registry, Scope, Source};

/// Adds a registry.
///
/// # Errors
/// `exists` or `invalid` for the request, `token-rejected` or `not-verified` by the registry, and those of the source, the
/// store and the files. Nothing is left behind.
pub(crate) async fn add_registry(controller: &Controller, request: AddRegistry) -> Result<RegistryAdded, ErrorBody> {
    let mut state = controller.lock_state().await?;
    refuse_taken_name(&state, &request.name)?;
    refuse_unread_changes(controller, &request.name)?;
    let NewRegistry { route, verdict, notes } = prepare(controller, &state, &request).await?;
    let name = request.name.clone();
    insert(&mut state, &route);
    if let Err(error) = commit(controller, &mut state, &request, &route.registry).await {
        undo(controller, &mut state, &name).await;
        controller.publish(&state);
        return Err(error);
    }
    state.journal.pending.remove(&name);
    if let Err(error) = controller.write_journal(&state.journal) {
        tracing::warn!(
            registry = %name,
            error = error.message,
            "could not record the end of an addition; the next start does"
        );
    }
    let verified = verdict == Some(VerdictResult::Accepted);
    if verified && let Some(generation) = route.credential.generation() {
        generation.breaker.record(true);
    }
    controller.publish(&state);
    tracing::info!(registry = %name, "added registry");
    Ok(RegistryAdded {
        registry: show::view(&route),
        verified,
        public: verdict == Some(VerdictResult::Public),
        notes,
        bundle: controller.folders.bundle().display().to_string(),
        proxy: show::proxy_url(controller),
    })
}

fn refuse_taken_name(state: &State, name: &RegistryName) -> Result<(), ErrorBody> {
    if !state.registries.contains_key(name) {
        return Ok(());
    }
    let error = ErrorBody::new(ErrorKind::Exists, format!("there is a registry `{name}` already"));
    Err(error.hint(format!(
        "`regauthctl rotate {name}` replaces its token; `regauthctl remove-registry {name}` removes it"
    )))
}

/// Refuses before the registry is asked if the commit would fail: the file has errors, or a person has added a registry of
/// this name by hand.
fn refuse_unread_changes(controller: &Controller, name: &RegistryName) -> Result<(), ErrorBody> {
    if !controller.persistent || !controller.read_config()?.registries.contains_key(name) {
        return Ok(());
    }
    let file = controller.config_file.display();
    let message = format!("{file} has a registry `{name}` that the daemon has not read yet");
    Err(ErrorBody::new(ErrorKind::Exists, message).hint("run `regauthctl reload` to read it"))
}

/// A registry that can be added.
struct NewRegistry {
    route: Arc<RegistryRoute>,
    /// The registry's verdict on the token, if it was asked.
    verdict: Option<VerdictResult>,
    notes: Vec<String>,
}

/// Checks the definition, gets the initial token, probes the registry. Changes nothing.
async fn prepare(controller: &Controller, state: &State, request: &AddRegistry) -> Result<NewRegistry, ErrorBody> {
    let name = &request.name;
    let mut registry = definition(request)?;
    state.refuse_taken_scopes(name, &registry)?;
    let upstream = Arc::new(controller.upstream(name, &registry)?);
    let InitialToken { credential, first } = initial_token(controller, state, &registry, request).await?;
    if let Ok(token) = &first {
        registry.scheme.check(token)?;
    }
    let probed = match &first {
        Ok(token) if request.verify => {
            let probed = probe_token(&upstream, controller.upstream_pool(), &registry, token).await;
            Some(require_accepted(probed, name)?)
        }
        _ => None,
    };
    let index = probed.as_ref().and_then(|probed| probed.index.as_ref());
    let mut notes = cover_index(&mut registry, index, name);
    let verdict = probed.as_ref().map(|probed| probed.verdict);
    notes.extend(probed.filter(ProbeResult::is_public).map(|probed| probed.detail));
    notes.extend(first.err().map(|why| format!("there is no token yet: {why}")));
    state.refuse_taken_scopes(name, &registry)?;
    let route = RegistryRoute {
        name: name.clone(),
        credential: credential.attach(registry.scheme.clone()),
        registry,
        upstream: Arc::new(upstream.with_rotations(credential.rotations())),
        trouble: None,
        usage: Arc::default(),
    };
    Ok(NewRegistry {
        route: Arc::new(route),
        verdict,
        notes,
    })
}

fn require_accepted(probed: ProbeResult, name: &RegistryName) -> Result<ProbeResult, ErrorBody> {
    let if_rejected = format!("nothing was stored; check the token, --scheme and --username, then add `{name}` again");
    let if_unclear = "nothing was stored; fix the cause and repeat, or add it without verification with --no-verify";
    probed.require_accepted(&if_rejected, if_unclear)
}

/// Adds the scopes of downloads and of the API, which the index names, if they are on the index's own host. Another host
/// gets the token only when a person says so. Returns notes for the person.
fn cover_index(registry: &mut Registry, config: Option<&IndexConfig>, name: &RegistryName) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(home) = registry.index.as_ref().and_then(|index| index.scope().ok()) else {
        return notes;
    };
    if matches!(registry.index, Some(Index::Git(_))) {
        // regauthctl reads a git index itself, with git.
        return notes;
    }
    let Some(config) = config else {
        notes.push(format!(
            "the index was not read, so the URLs of downloads and of the API are unknown; if they are outside {home}, \
             run `regauthctl add-scope {name} URL`"
        ));
        return notes;
    };
    for location in config.locations::<Scope>() {
        let scope = &location.url;
        if registry.scopes.iter().any(|covered| covered.covers(scope)) {
            continue;
        }
        if scope.origin == home.origin && scope.plain == home.plain {
            push_scope(&mut registry.scopes, location.url);
        } else {
            notes.push(location.other_host_note(name));
        }
    }
    if config.auth_required {
        notes.push(AUTH_REQUIRED.to_owned());
    }
    notes
}

/// Adds the registry to the state, pending.
fn insert(state: &mut State, route: &Arc<RegistryRoute>) {
    let name = &route.name;
    state.journal.pending.insert(name.clone());
    if route.registry.source == Source::Store {
        let current = route.credential.shared.state();
        let record = current
            .value()
            .map_or_else(JournalEntry::first, |value| JournalEntry::of(value));
        state.journal.registries.insert(name.clone(), record);
    }
    state.registries.insert(name.clone(), Arc::clone(route));
}

/// Writes the journal, the token, the authorities, the bundle and, last, the configuration.
async fn commit(
    controller: &Controller,
    state: &mut State,
    request: &AddRegistry,
    registry: &Registry,
) -> Result<(), ErrorBody> {
    controller.write_journal(&state.journal)?;
    if let Some(token) = &request.token {
        let item = Item::Credential(request.name.clone());
        controller.store().thread.write(&item, token).await?;
    }
    controller.ensure_authorities(state).await?;
    let has_no_authority = |host: &Host| !state.identities.contains_key(host);
    if let Some(error) = &state.store_error
        && registry.hosts().any(has_no_authority)
    {
        return Err(error.clone().into());
    }
    controller.write_bundle(state)?;
    controller.edit_config(|config| config.add_registry(&request.name, registry))
}

async fn undo(controller: &Controller, state: &mut State, name: &RegistryName) {
    state.registries.remove(name);
    if let Err(error) = controller.delete_credential(state, name).await {
        tracing::warn!(
            registry = %name,
            %error,
            "could not delete the token of a registry that was not added; it is deleted when the store opens"
        );
    }
    controller.forget_unused_authorities(state).await;
    let undone = controller.write_journal(&state.journal);
    if let Err(error) = undone.and_then(|()| controller.write_bundle(state)) {
        tracing::warn!(
            registry = %name,
            error = error.message,
            "could not undo an addition completely; the next start does"
        );
    }
}
