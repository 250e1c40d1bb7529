//! `rotate`: replaces the token of a registry in service.
//!
//! A rotation checks the request, gets the new token, probes the registry with it, commits it to the store and journal,
//! and replaces the credential in memory. A failure before the commit leaves the old token in use.

use std::sync::Arc;

use regauth_shared::request::Rotate;
use regauth_shared::response::Rotated;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};
use time::OffsetDateTime;

use crate::control::controller::Controller;
use crate::control::probe::{ProbeResult, probe_token};
use crate::control::state::State;
use crate::credential::fingerprint::Fingerprint;
use crate::credential::source::FetchError;
use crate::credential::store::{Item, StoreError};
use crate::journal::{Journal, JournalEntry, Rotation};
use crate::proxy::routes::RegistryRoute;
use crate::registry::Source;

/// Replaces a registry's token. Requests that begin after the answer use the new one.
///
/// # Errors
/// `not-found`, `invalid` or `refused` for the request, `token-rejected` or `not-verified` by the registry, and those of
/// the source, the store and the journal.
pub(crate) async fn rotate(controller: &Controller, request: Rotate) -> Result<Rotated, ErrorBody> {
    let mut state = controller.lock_state().await?;
    let route = state.registry(&request.name)?;
    match new_token(&route, request.token)? {
        NewToken::Given(token) => {
            check_schemes(&state, &route, &token)?;
            rotate_stored(controller, &mut state, &route, token, request.verify).await
        }
        NewToken::AtSource => {
            // A source may be slow; other verbs need not wait for it.
            drop(state);
            rotate_at_source(controller, &route, request.verify).await
        }
    }
}

/// Origin of the new token.
enum NewToken {
    /// The request has it; it goes to the store.
    Given(Secret),
    /// The registry's source has it.
    AtSource,
}

/// Checks that the request has a token if the registry needs one, and only then.
fn new_token(route: &RegistryRoute, token: Option<Secret>) -> Result<NewToken, ErrorBody> {
    let name = &route.name;
    let refused = |message: String| ErrorBody::new(ErrorKind::Refused, message);
    let elsewhere = |source| refused(format!("the token of `{name}` comes from {source}, not from the store"));
    match (&route.registry.source, token) {
        (Source::Store, Some(token)) => Ok(NewToken::Given(token)),
        (Source::Store, None) => Err(ErrorBody::new(
            ErrorKind::Invalid,
            format!("the token of `{name}` is in the store, so the request needs a new one"),
        )),
        (Source::Of(owner), _) => Err(refused(format!("`{name}` uses the credential of `{owner}`"))
            .hint(format!("`regauthctl rotate {owner}` rotates it for both"))),
        (source @ Source::Environment(_), _) => Err(elsewhere(source).hint(
            "the environment is read once: set the variable again where regauthd is started, and restart regauthd",
        )),
        (source, Some(_)) => Err(elsewhere(source).hint(format!(
            "replace it there; `regauthctl rotate {name}` without a token reads it again"
        ))),
        (Source::File(_) | Source::Command(_), None) => Ok(NewToken::AtSource),
    }
}

/// Checks that every registry that sends the credential can send the new token.
fn check_schemes(state: &State, route: &RegistryRoute, token: &Secret) -> Result<(), ErrorBody> {
    let shared = &route.credential.shared;
    let users = state.registries.values();
    let mut checked = users
        .filter(|user| Arc::ptr_eq(&user.credential.shared, shared))
        .map(|user| user.registry.scheme.check(token));
    let failed = checked.find_map(Result::err);
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Probes the registry, commits the token, replaces the credential.
async fn rotate_stored(
    controller: &Controller,
    state: &mut State,
    route: &RegistryRoute,
    token: Secret,
    verify: bool,
) -> Result<Rotated, ErrorBody> {
    let probed = probe(controller, route, &token, verify).await?;
    let last = state.journal.registries.get(&route.name);
    let entry = JournalEntry {
        generation: last.map_or(0, |entry| entry.generation) + 1,
        since: OffsetDateTime::now_utc(),
    };
    commit(controller, &mut state.journal, &route.name, &token, entry).await?;
    route.credential.shared.rotate(entry.value(token).into()).await;
    Ok(rotated(route, entry.generation, probed, Vec::new()))
}

/// Reads the file or runs the program again, probes the registry, replaces the credential.
async fn rotate_at_source(controller: &Controller, route: &RegistryRoute, verify: bool) -> Result<Rotated, ErrorBody> {
    let source = &route.registry.source;
    let credential = &route.credential.shared;
    let fetched = credential.fetch().await.map_err(|error| source_error(route, &error))?;
    route.registry.scheme.check(&fetched.secret)?;
    let probed = probe(controller, route, &fetched.secret, verify).await?;
    let installed = credential.install(fetched).await;
    let note = if installed.is_new {
        format!("the token comes from {source}, which was asked again")
    } else {
        format!("the token comes from {source}, which was asked again and gives the same one as before")
    };
    Ok(rotated(route, installed.number, probed, vec![note]))
}

/// Asks the registry about the new token, if the request wants it verified.
async fn probe(
    controller: &Controller,
    route: &RegistryRoute,
    token: &Secret,
    verify: bool,
) -> Result<Option<ProbeResult>, ErrorBody> {
    if !verify {
        return Ok(None);
    }
    let probed = probe_token(&route.upstream, controller.upstream_pool(), &route.registry, token).await;
    let if_rejected = "nothing was changed, the old token stays in use; check the new one and repeat";
    let if_unclear = "nothing was changed; repeat when the registry answers, or store the token without verification with --no-verify";
    probed.require_accepted(if_rejected, if_unclear).map(Some)
}

/// Writes the token to the store; this write is the rotation. The journal records the intent before, so that a start after
/// a kill knows which token the store has, and the result after.
async fn commit(
    controller: &Controller,
    journal: &mut Journal,
    name: &RegistryName,
    token: &Secret,
    entry: JournalEntry,
) -> Result<(), ErrorBody> {
    let fingerprint = Fingerprint::of(token, entry.since);
    journal.rotations.insert(name.clone(), Rotation { entry, fingerprint });
    if let Err(error) = controller.write_journal(journal) {
        journal.rotations.remove(name);
        return Err(error);
    }
    let item = Item::Credential(name.clone());
    let written = controller.store().thread.write(&item, token).await;
    match &written {
        Ok(()) => {
            journal.rotations.remove(name);
            journal.registries.insert(name.clone(), entry);
        }
        // The write may still take place; the next start compares the store's token with the mark.
        Err(StoreError::NoAnswer) => {}
        Err(_) => {
            journal.rotations.remove(name);
        }
    }
    if let Err(error) = controller.write_journal(journal) {
        tracing::warn!(
            registry = %name,
            error = error.message,
            "could not record the end of a rotation; the next start does"
        );
    }
    Ok(written?)
}

fn rotated(route: &RegistryRoute, generation: u64, probed: Option<ProbeResult>, mut notes: Vec<String>) -> Rotated {
    let verified = probed.as_ref().is_some_and(ProbeResult::is_accepted);
    if verified && let Some(generation) = route.credential.generation() {
        generation.breaker.record(true);
    }
    tracing::info!(registry = %route.name, generation, "rotated token");
    let public = probed.filter(ProbeResult::is_public);
    let is_public = public.is_some();
    notes.extend(public.map(|probed| probed.detail));
    Rotated {
        name: route.name.clone(),
        generation,
        verified,
        public: is_public,
        notes,
    }
}

fn source_error(route: &RegistryRoute, error: &FetchError) -> ErrorBody {
    let name = &route.name;
    ErrorBody::new(ErrorKind::Failed, error.message.clone()).hint(match &error.output {
        Some(output) => format!("its output: {output}"),
        None => format!("fix its source; `regauthctl show {name}` shows its state"),
    })
}
