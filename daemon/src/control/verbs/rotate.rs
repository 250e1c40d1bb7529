//! `rotate`: replaces the token of a registry in service.
//!
//! A rotation checks the request, gets the new token, probes the registry with it, commits it to the store and journal,
//! replaces the credential in memory, and waits for the holders of the old token. A failure before the commit
//! leaves the old token in use. The verb holds no lock while it waits for the registry, the source or the requests. A change
//! of the registry meanwhile is a conflict: an older token never replaces a newer one.

use std::sync::Arc;

use regauth_shared::event::{self, EventKind};
use regauth_shared::request::Rotate;
use regauth_shared::response::Rotated;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};
use time::OffsetDateTime;

use crate::control::controller::Controller;
use crate::control::error::unchanged;
use crate::control::probe::{ProbeResult, probe_token};
use crate::control::state::{State, StateGuard};
use crate::control::verbs::holders_note;
use crate::credential::Installed;
use crate::credential::circuit_breaker::Verdict;
use crate::credential::fingerprint::Fingerprint;
use crate::credential::refresher::Fetched;
use crate::credential::source::FetchError;
use crate::credential::store::{Item, StoreError};
use crate::journal::{JournalEntry, Rotation};
use crate::proxy::routes::RegistryRoute;
use crate::registry::Source;

/// Replaces a registry's token. What is sent to the registry after the answer carries the new one. Requests that were sent
/// before and have no response yet hold the old one; the rotation waits for them for 10 s, then a note counts them.
///
/// # Errors
/// `not-found`, `invalid` or `refused` for the request, `token-rejected` or `not-verified` by the registry, `failed` when
/// the registry was changed meanwhile, and those of the source, the store and the journal.
pub(crate) async fn rotate(controller: &Controller, request: Rotate) -> Result<Rotated, ErrorBody> {
    let route = controller.snapshot().registry(&request.name)?;
    match new_token(&route, request.token)? {
        NewToken::Given(token) => {
            check_schemes(&*controller.lock_state().await?, &route, &token)?;
            rotate_stored(controller, &route, token, request.verify).await
        }
        NewToken::AtSource => rotate_at_source(controller, &route, request.verify).await,
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
            .hint(format!("`regauthctl login {owner}` replaces it for both"))),
        (source @ Source::Environment(_), _) => Err(elsewhere(source).hint(
            "the environment is read once: set the variable again where regauthd is started, and restart regauthd",
        )),
        (source, Some(_)) => Err(elsewhere(source).hint(format!(
            "replace it there; `regauthctl rotate {name}` without a token reads it again"
        ))),
        (Source::File(_) | Source::Command(_) | Source::Minted(_), None) => Ok(NewToken::AtSource),
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
    route: &RegistryRoute,
    token: Secret,
    verify: bool,
) -> Result<Rotated, ErrorBody> {
    let ticket = route.credential.shared.take_ticket();
    let probed = probe(controller, route, &token, verify).await?;
    let turn = route.credential.shared.rotation_turn().await;
    let mut state = controller.lock_state().await?;
    refuse_conflict(&state, route, ticket)?;
    let recorded = state.journal.registries.get(&route.name);
    let entry = JournalEntry {
        generation: recorded
            .map_or(0, |entry| entry.generation)
            .max(route.credential.shared.last_number())
            + 1,
        since: OffsetDateTime::now_utc(),
    };
    commit(controller, &mut state, route, &token, entry).await?;
    let bound = controller.bind_new_token(&mut state, &route.name).await;
    let replaced = route
        .credential
        .shared
        .replace_in_turn(ticket, entry.value(token).into());
    drop((state, turn));
    let mut notes = holders_note(replaced.wait().await);
    match bound {
        Ok(true) => controller.apply_again(&mut controller.lock_for_change().await?).await?,
        Ok(false) => {}
        Err(error) => notes.push(format!(
            "what the token is for could not be recorded: {}",
            error.message
        )),
    }
    notes.extend(controller.unconfirmed_note(&route.name));
    Ok(rotated(controller, route, entry.generation, probed, notes))
}

/// Refuses a rotation if the registry was changed while it was asked about the new token, or if a rotation that began
/// later has ended before: its token is the newer one.
fn refuse_conflict(state: &State, route: &RegistryRoute, ticket: u64) -> Result<(), ErrorBody> {
    let name = &route.name;
    let present = state.registry(name)?;
    let conflict = |what: String| {
        let hint = format!(
            "the token of this command was not stored; `regauthctl show {name}` shows what is in use, then repeat"
        );
        Err(ErrorBody::new(ErrorKind::Failed, what).hint(hint))
    };
    let credential = &present.credential.shared;
    if present.registry != route.registry || !Arc::ptr_eq(credential, &route.credential.shared) {
        return conflict(format!(
            "`{name}` was changed while the registry was asked about the new token"
        ));
    }
    if credential.has_passed(ticket) {
        return conflict(format!(
            "a later command has rotated `{name}` to generation {} while the registry was asked about this token",
            credential.last_number()
        ));
    }
    Ok(())
}

/// Reads the file or runs the program again, probes the registry, replaces the credential. If the source gives another
/// token meanwhile, that one is newer: it is asked about instead.
pub(super) async fn rotate_at_source(
    controller: &Controller,
    route: &RegistryRoute,
    verify: bool,
) -> Result<Rotated, ErrorBody> {
    let source = &route.registry.source;
    let credential = &route.credential.shared;
    for _ in 0..MAX_FETCHES {
        let fetched = controller.unless_ending(credential.fetch()).await?;
        let fetched: Fetched = fetched.map_err(|error| source_error(route, &error))?;
        check_schemes(&*controller.lock_state().await?, route, &fetched.token.secret)?;
        let probed = probe(controller, route, &fetched.token.secret, verify).await?;
        let Some(Installed {
            number,
            is_new,
            holders,
        }) = credential.install(fetched).await
        else {
            continue;
        };
        controller.snapshot().registry(&route.name)?;
        let mut notes = vec![if is_new {
            format!("the token comes from {source}, which was asked again")
        } else {
            format!("the token comes from {source}, which was asked again and gives the same one as before")
        }];
        notes.extend(holders_note(holders));
        return Ok(rotated(controller, route, number, probed, notes));
    }
    controller.snapshot().registry(&route.name)?;
    let note =
        format!("{source} gave newer tokens while the registry was asked; the newest is in use and was not verified");
    Ok(rotated(controller, route, credential.last_number(), None, vec![note]))
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
    let probed = probe_token(&route.upstream, controller.upstream_pool(), &route.registry, token);
    let probed = controller.unless_ending(probed).await?;
    let if_rejected = "nothing was changed, the old token stays in use; check the new one and repeat";
    let if_unclear = "nothing was changed; repeat when the registry answers, or store the token without verification with --no-verify";
    probed.require_accepted(if_rejected, if_unclear).map(Some)
}

/// Writes the token to the store; this write is the rotation. The journal records the intent before, so that a start after
/// a kill knows which token the store has, and the result after.
///
/// The state is released while the store writes. If the registry is removed meanwhile, the removal deletes the token: the
/// store carries out its calls in order.
///
/// # Errors
/// Those of the store and the journal; `not-found` or `failed` when the registry was removed or replaced meanwhile.
async fn commit(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    route: &RegistryRoute,
    token: &Secret,
    entry: JournalEntry,
) -> Result<(), ErrorBody> {
    let name = &route.name;
    let fingerprint = Fingerprint::of(token, entry.since);
    let intent = Rotation { entry, fingerprint };
    state.journal.rotations.insert(name.clone(), intent);
    if let Err(error) = controller.write_journal(&state.journal).await {
        state.journal.rotations.remove(name);
        return Err(unchanged(error));
    }
    state.rotating.insert(name.clone());
    let written = write_to_store(controller, state, route, token).await;
    state.rotating.remove(name);
    // The write may still take place then; the next start compares the store's token with the fingerprint.
    if written != Err(StoreError::NoAnswer) {
        state.journal.rotations.remove(name);
    }
    let unreplaced = refuse_replaced(state, route);
    if written.is_ok() && unreplaced.is_ok() {
        state.journal.registries.insert(name.clone(), entry);
    }
    if let Err(error) = controller.write_journal(&state.journal).await {
        tracing::warn!(
            registry = %name,
            error = error.message,
            "could not record the end of a rotation; the next start does"
        );
    }
    written?;
    if unreplaced.is_err() {
        delete_orphan(controller, state, name).await;
    }
    unreplaced
}

/// Writes to the store in use, and again if a migration has replaced the store meanwhile.
pub(super) async fn write_to_store(
    controller: &Controller,
    state: &mut StateGuard<'_>,
    route: &RegistryRoute,
    token: &Secret,
) -> Result<(), StoreError> {
    let item = Item::Credential(route.name.clone());
    loop {
        let store = controller.store();
        state.unlocked(store.thread.write(&item, token)).await?;
        if Arc::ptr_eq(&store, &controller.store()) || refuse_replaced(state, route).is_err() {
            return Ok(());
        }
    }
}

/// Checks that a verb which released the state still deals with the same registry: another one of its name would get, or
/// lose, a token that it never had.
///
/// # Errors
/// `not-found` when the registry was removed, `failed` when it was replaced.
pub(super) fn refuse_replaced(state: &State, route: &RegistryRoute) -> Result<(), ErrorBody> {
    let name = &route.name;
    if Arc::ptr_eq(&state.registry(name)?.credential.shared, &route.credential.shared) {
        return Ok(());
    }
    let error = ErrorBody::new(ErrorKind::Failed, format!("`{name}` was replaced meanwhile"));
    Err(error.hint(format!(
        "`regauthctl show {name}` shows what is in use; repeat the command if it is meant for that"
    )))
}

/// Deletes the token that a rotation has stored, if the registry that has its name now keeps none in the store.
async fn delete_orphan(controller: &Controller, state: &mut StateGuard<'_>, name: &RegistryName) {
    let Ok(present) = state.registry(name) else {
        return;
    };
    if present.registry.source != Source::Store
        && let Err(error) = controller.delete_item(state, &Item::Credential(name.clone())).await
    {
        tracing::warn!(registry = %name, %error, "could not delete the token of a registry that was replaced");
    }
}

fn rotated(
    controller: &Controller,
    route: &RegistryRoute,
    generation: u64,
    probed: Option<ProbeResult>,
    mut notes: Vec<String>,
) -> Rotated {
    let verified = probed.as_ref().is_some_and(ProbeResult::is_accepted);
    if verified && let Some(generation) = route.credential.generation() {
        generation.breaker.record_verdict(Verdict::Accepted);
    }
    tracing::info!(registry = %route.name, generation, "rotated token");
    controller.announce(EventKind::Rotation(event::Rotation {
        registry: route.name.clone(),
        generation,
        verified,
    }));
    let unproven = probed.filter(ProbeResult::is_unproven);
    let public = unproven.is_some();
    notes.extend(unproven.map(|probed| probed.detail));
    Rotated {
        name: route.name.clone(),
        generation,
        verified,
        public,
        notes,
    }
}

pub(super) fn source_error(route: &RegistryRoute, error: &FetchError) -> ErrorBody {
    let name = &route.name;
    ErrorBody::new(ErrorKind::Failed, error.message.clone()).hint(match &error.output {
        Some(output) => format!("its output: {output}"),
        None if let Some(hint) = &error.hint => hint.clone(),
        None => format!("fix its source; `regauthctl show {name}` shows its state"),
    })
}

/// Tokens that a rotation fetches while the source replaces each during the registry's probe.
const MAX_FETCHES: usize = 3;
