//! `add-registry`: check, ask the registry, store, serve.

use std::sync::Arc;

use regauth_shared::index::{AUTH_REQUIRED, IndexConfig};
use regauth_shared::request::AddRegistry;
use regauth_shared::response::{RegistryAdded, VerdictResult};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};

use crate::control::controller::Controller;
use crate::control::description::{self, push_uncovered};
use crate::control::initial_token::{self, InitialToken};
use crate::control::probe::{self, Finding};
use crate::control::state::State;
use crate::control::verbs::show;
use crate::credential::store::Item;
use crate::host::Host;
use crate::journal::JournalEntry;
use crate::proxy::routes::RegistryRoute as Service;
use crate::proxy::upstream::Upstream;
use crate::registry::{Index, Registry, Scope, Source};

/// Adds a registry. The configuration's write is the moment it exists; before it, everything is undone on failure or
/// at the next start.
pub(crate) async fn add_registry(controller: &Controller, request: AddRegistry) -> Result<RegistryAdded, ErrorBody> {
    let mut books = controller.books().await?;
    refuse_taken_name(&books, &request.name)?;
    refuse_unread_changes(controller, &request.name)?;
    let NewRegistry {
        service,
        verdict,
        notes,
    } = newcomer(controller, &books, &request).await?;
    let name = request.name.clone();
    books.ledger.pending.insert(name.clone());
    if service.registry.source == Source::Store {
        let state = service.credential.shared.state();
        let record = state
            .value()
            .map_or_else(JournalEntry::first, |value| JournalEntry::of(value));
        books.ledger.registries.insert(name.clone(), record);
    }
    books.services.insert(name.clone(), Arc::clone(&service));
    if let Err(error) = commit(controller, &mut books, &request, &service.registry).await {
        undo(controller, &mut books, &name).await;
        controller.publish(&books);
        return Err(error);
    }
    books.ledger.pending.remove(&name);
    if let Err(error) = controller.write_ledger(&books.ledger) {
        tracing::warn!(error = error.message, "added, and noted as such at the next start");
    }
    let verified = verdict == Some(VerdictResult::Accepted);
    if verified && let Some(generation) = service.credential.generation() {
        generation.breaker.record(true);
    }
    controller.publish(&books);
    tracing::info!(registry = %name, "added");
    Ok(RegistryAdded {
        registry: show::view(&service),
        verified,
        public: verdict == Some(VerdictResult::Public),
        notes,
        bundle: controller.folders.bundle().display().to_string(),
        proxy: show::proxy_url(controller),
    })
}

/// A registry that could be added.
struct NewRegistry {
    service: Arc<Service>,
    /// What the registry said of the token, if it was asked.
    verdict: Option<VerdictResult>,
    notes: Vec<String>,
}

/// Checks the request, gets the token, asks the registry about it and about itself.
async fn newcomer(controller: &Controller, books: &State, request: &AddRegistry) -> Result<NewRegistry, ErrorBody> {
    let name = &request.name;
    let mut registry = description::registry(request)?;
    refuse_taken_scopes(books, name, &registry)?;
    let upstream = Arc::new(controller.upstream(name, &registry)?);
    let InitialToken { credential, first } = initial_token::fetch(controller, books, &registry, request).await?;
    let finding = match &first {
        Ok(secret) if request.verify => Some(asked(&upstream, controller, &registry, name, secret).await?),
        _ => None,
    };
    let index = finding.as_ref().and_then(|finding| finding.index.as_ref());
    let mut notes = take_in_places(&mut registry, index, request);
    let verdict = finding.as_ref().map(|finding| finding.result);
    notes.extend(finding.filter(Finding::is_public).map(|finding| finding.detail));
    notes.extend(first.err().map(|why| format!("there is no token yet: {why}")));
    refuse_taken_scopes(books, name, &registry)?;
    let service = Service {
        name: name.clone(),
        credential: credential.attach(registry.scheme.clone()),
        registry,
        upstream: Arc::new(upstream.with_rotations(credential.rotations())),
        trouble: None,
        usage: Arc::default(),
    };
    Ok(NewRegistry {
        service: Arc::new(service),
        verdict,
        notes,
    })
}

async fn commit(
    controller: &Controller,
    books: &mut State,
    request: &AddRegistry,
    registry: &Registry,
) -> Result<(), ErrorBody> {
    controller.write_ledger(&books.ledger)?;
    if let Some(token) = &request.token {
        let item = Item::Credential(request.name.clone());
        controller.store().thread.write(&item, token).await?;
    }
    controller.ensure_authorities(books).await?;
    let is_unknown = |host: &Host| !books.identities.contains_key(host);
    if let Some(trouble) = &books.store_trouble
        && registry.hosts().any(is_unknown)
    {
        return Err(trouble.clone().into());
    }
    controller.write_bundle(books)?;
    controller.edit_config(|config| config.add_registry(&request.name, registry))
}

async fn undo(controller: &Controller, books: &mut State, name: &RegistryName) {
    books.services.remove(name);
    if let Err(error) = controller.delete_credential(books, name).await {
        tracing::warn!(registry = %name, %error, "its token is deleted when the store opens, if it got there at all");
    }
    controller.forget_unused_authorities(books).await;
    if let Err(error) = controller
        .write_ledger(&books.ledger)
        .and_then(|()| controller.write_bundle(books))
    {
        tracing::warn!(error = error.message, "undoing is completed at the next start");
    }
}

fn refuse_taken_name(books: &State, name: &RegistryName) -> Result<(), ErrorBody> {
    if !books.services.contains_key(name) {
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
    books: &State,
    name: &RegistryName,
    registry: &Registry,
) -> Result<(), ErrorBody> {
    let others = books.services.iter().filter(|(other, _)| *other != name);
    for (other, service) in others {
        if let Some(scope) = registry
            .scopes
            .iter()
            .find(|scope| service.registry.scopes.contains(scope))
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
) -> Result<Finding, ErrorBody> {
    let finding = probe::ask(upstream, controller.pool(), registry, secret).await;
    match finding.result {
        VerdictResult::Accepted | VerdictResult::Public => Ok(finding),
        VerdictResult::Rejected => Err(ErrorBody::new(ErrorKind::TokenRejected, finding.detail).hint(format!(
            "nothing was stored; check the token, --scheme and --username, then add `{name}` again"
        ))),
        _ => Err(ErrorBody::new(ErrorKind::NotVerified, finding.detail)
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
    for place in config.locations::<Scope>() {
        let scope = &place.url;
        if registry.scopes.iter().any(|covered| covered.covers(scope)) {
            continue;
        }
        if scope.origin == home.origin && scope.plain == home.plain {
            push_uncovered(&mut registry.scopes, place.url);
        } else {
            notes.push(place.other_host_note(&request.name));
        }
    }
    if config.auth_required {
        notes.push(AUTH_REQUIRED.to_owned());
    }
    notes
}
