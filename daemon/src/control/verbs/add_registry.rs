//! `add-registry`: check, ask the registry, store, serve.

use std::sync::Arc;

use regauth_shared::index::{AUTH_REQUIRED, IndexConfig};
use regauth_shared::request::AddRegistry;
use regauth_shared::response::{RegistryAdded, VerdictResult};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};

use crate::control::controller::Controller;
use crate::control::description::{self, push_uncovered};
use crate::control::initial_token::{self, InitialToken};
use crate::control::probe::{self, ProbeResult};
use crate::control::state::State;
use crate::control::verbs::show;
use crate::credential::store::Item;
use crate::host::Host;
use crate::journal::JournalEntry;
use crate::proxy::routes::Service;
use crate::proxy::upstream::Upstream;
use crate::registry::{Index, Registry, Scope, Source};

/// Adds a registry. The configuration's write is the moment it exists; before it, everything is undone on failure or
/// at the next start.
pub(crate) async fn add_registry(controller: &Controller, request: AddRegistry) -> Result<RegistryAdded, ErrorBody> {
    let mut state = controller.lock_state().await?;
    refuse_taken_name(&state, &request.name)?;
    refuse_unread_changes(controller, &request.name)?;
    let NewRegistry {
        route,
        verdict,
        notes,
    } = newcomer(controller, &state, &request).await?;
    let name = request.name.clone();
    state.journal.pending.insert(name.clone());
    if route.registry.source == Source::Store {
        let record = route
            .keeper
            .present()
            .value()
            .map_or_else(JournalEntry::first, JournalEntry::of);
        state.journal.registries.insert(name.clone(), record);
    }
    state.registries.insert(name.clone(), Arc::clone(&route));
    state.share_credentials();
    if let Err(error) = commit(controller, &mut state, &request, &route.registry).await {
        undo(controller, &mut state, &name).await;
        controller.publish(&state);
        return Err(error);
    }
    state.journal.pending.remove(&name);
    if let Err(error) = controller.write_journal(&state.journal) {
        tracing::warn!(error = error.message, "added, and noted as such at the next start");
    }
    let verified = verdict == Some(VerdictResult::Accepted);
    if verified && let Some(generation) = route.credential.generation() {
        generation.guard().note(true);
    }
    controller.publish(&state);
    tracing::info!(registry = %name, "added");
    Ok(RegistryAdded {
        registry: show::view(&route),
        verified,
        public: verdict == Some(VerdictResult::Public),
        notes,
        bundle: controller.folders.bundle().display().to_string(),
        proxy: show::proxy_url(controller),
    })
}

/// A registry that could be added.
struct NewRegistry {
    route: Arc<Service>,
    /// What the registry said of the token, if it was asked.
    verdict: Option<VerdictResult>,
    notes: Vec<String>,
}

/// Checks the request, gets the token, asks the registry about it and about itself.
async fn newcomer(controller: &Controller, state: &State, request: &AddRegistry) -> Result<NewRegistry, ErrorBody> {
    let name = &request.name;
    let mut registry = description::registry(request)?;
    refuse_taken_scopes(state, name, &registry)?;
    let upstream = Arc::new(controller.upstream(name, &registry)?);
    let InitialToken { keeper, first } = initial_token::fetch(controller, state, &registry, request).await?;
    let probed = match &first {
        Ok(secret) if request.verify => Some(asked(&upstream, controller, &registry, name, secret).await?),
        _ => None,
    };
    let index = probed.as_ref().and_then(|probed| probed.index.as_ref());
    let mut notes = take_in_places(&mut registry, index, request);
    let verdict = probed.as_ref().map(|probed| probed.result);
    notes.extend(probed.filter(ProbeResult::is_public).map(|probed| probed.detail));
    notes.extend(first.err().map(|why| format!("there is no token yet: {why}")));
    refuse_taken_scopes(state, name, &registry)?;
    let route = Service {
        name: name.clone(),
        registry,
        credential: Arc::default(),
        keeper,
        upstream,
        trouble: None,
        usage: Arc::default(),
    };
    Ok(NewRegistry {
        route: Arc::new(route),
        verdict,
        notes,
    })
}

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
    let is_unknown = |host: &Host| !state.identities.contains_key(host);
    if let Some(trouble) = &state.store_trouble
        && registry.hosts().any(is_unknown)
    {
        return Err(trouble.clone().into());
    }
    controller.write_bundle(state)?;
    controller.edit_config(|config| config.add_registry(&request.name, registry))
}

async fn undo(controller: &Controller, state: &mut State, name: &RegistryName) {
    state.registries.remove(name);
    state.share_credentials();
    if let Err(error) = controller.delete_credential(state, name).await {
        tracing::warn!(registry = %name, %error, "its token is deleted when the store opens, if it got there at all");
    }
    controller.forget_unused_authorities(state).await;
    if let Err(error) = controller
        .write_journal(&state.journal)
        .and_then(|()| controller.write_bundle(state))
    {
        tracing::warn!(error = error.message, "undoing is completed at the next start");
    }
}

fn refuse_taken_name(state: &State, name: &RegistryName) -> Result<(), ErrorBody> {
    if !state.registries.contains_key(name) {
        return Ok(());
    }
    let error = ErrorBody::new(ErrorKind::Exists, format!("there is a registry `{name}` already"));
    Err(error.hint(format!(
        "`regauthctl rotate {name}` gives it a new token; `regauthctl remove-registry {name}` makes room"
    )))
}

/// A file that could not be written to in the end is told before the registry is asked, and what a person has written
/// there by hand is not written over.
fn refuse_unread_changes(controller: &Controller, name: &RegistryName) -> Result<(), ErrorBody> {
    if !controller.persistent || !controller.read_config()?.registries.contains_key(name) {
        return Ok(());
    }
    let message = format!(
        "{} has a registry `{name}` that the daemon has not read yet",
        controller.config_file.display()
    );
    Err(ErrorBody::new(ErrorKind::Exists, message).hint("`regauthctl reload` takes it in"))
}

pub(in crate::control) fn refuse_taken_scopes(
    state: &State,
    name: &RegistryName,
    registry: &Registry,
) -> Result<(), ErrorBody> {
    let others = state.registries.iter().filter(|(other, _)| *other != name);
    for (other, route) in others {
        if let Some(scope) = registry
            .scopes
            .iter()
            .find(|scope| route.registry.scopes.contains(scope))
        {
            return Err(ErrorBody::new(
                ErrorKind::Exists,
                format!("the registry `{other}` covers {scope} already"),
            )
            .hint(format!(
                "give a longer path, or `regauthctl remove-registry {other}` first"
            )));
        }
    }
    Ok(())
}

/// What the registry says of the token and of itself, if it does not reject the token.
async fn asked(
    upstream: &Arc<Upstream>,
    controller: &Controller,
    registry: &Registry,
    name: &RegistryName,
    secret: &Secret,
) -> Result<ProbeResult, ErrorBody> {
    let probed = probe::ask(upstream, controller.pool(), registry, secret).await;
    match probed.result {
        VerdictResult::Accepted | VerdictResult::Public => Ok(probed),
        VerdictResult::Rejected => Err(ErrorBody::new(ErrorKind::TokenRejected, probed.detail).hint(format!(
            "nothing was stored; check the token, --scheme and --username, then add `{name}` again"
        ))),
        _ => Err(ErrorBody::new(ErrorKind::NotVerified, probed.detail)
            .hint("nothing was stored; correct what is wrong and repeat, or add it unasked with --no-verify")),
    }
}

/// The index says where downloads and the API are. Places on the index's own host belong to the registry; one on another
/// host gets the token only when a person says so.
fn take_in_places(registry: &mut Registry, config: Option<&IndexConfig>, request: &AddRegistry) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(home) = registry.index.as_ref().and_then(|index| index.scope().ok()) else {
        return notes;
    };
    if matches!(registry.index, Some(Index::Git(_))) {
        // Who asked can ask git, and will.
        return notes;
    }
    let Some(config) = config else {
        notes.push(format!(
            "the places of downloads and of the API are not known from here; if they lie outside {home}: \
             `regauthctl add-scope {} URL`",
            request.name
        ));
        return notes;
    };
    for place in config.places::<Scope>() {
        let scope = &place.url;
        if registry.scopes.iter().any(|covered| covered.covers(scope)) {
            continue;
        }
        if scope.origin == home.origin && scope.plain == home.plain {
            push_uncovered(&mut registry.scopes, place.url);
        } else {
            notes.push(place.elsewhere(&request.name));
        }
    }
    if config.auth_required {
        notes.push(AUTH_REQUIRED.to_owned());
    }
    notes
}
