//! `rotate`: another token in the place of one that is in use.

use regauth_shared::request::Rotate;
use regauth_shared::response::{Rotated, VerdictResult};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};
use time::OffsetDateTime;
use tokio::sync::MutexGuard;

use crate::control::controller::Controller;
use crate::control::probe;
use crate::control::state::{State, find};
use crate::control::verbs::verify::ask;
use crate::credential::fingerprint::Fingerprint;
use crate::credential::shelf::Present;
use crate::credential::source::Failure;
use crate::credential::store::{Item, StoreError};
use crate::journal::{Journal, JournalEntry, Rotation};
use crate::proxy::routes::Service;
use crate::registry::Source;

/// Replaces a registry's token. After the answer no request uses the old one.
pub(crate) async fn rotate(controller: &Controller, request: Rotate) -> Result<Rotated, ErrorBody> {
    let state = controller.lock_state().await?;
    let route = find(&state.registries, &request.name)?;
    let name = &request.name;
    match (&route.registry.source, &request.token) {
        (Source::Store, Some(token)) => rotate_stored(controller, state, &route, token.clone(), request.verify).await,
        (Source::Store, None) => Err(ErrorBody::new(
            ErrorKind::Invalid,
            format!("the token of `{name}` is in the store, so a new one has to be given"),
        )),
        (Source::Of(owner), _) => Err(ErrorBody::new(
            ErrorKind::Refused,
            format!("`{name}` uses the credential of `{owner}`"),
        )
        .hint(format!("`regauthctl rotate {owner}` rotates it for both"))),
        (source @ Source::Environment(_), _) => Err(comes_from(name, source)
            .hint("the environment is read once: set the variable anew where regauthd is started, and start it again")),
        (source, Some(_)) => Err(comes_from(name, source).hint(format!(
            "replace it there; `regauthctl rotate {name}` alone asks for it"
        ))),
        (Source::File(_) | Source::Command(_), None) => {
            // Prober may take long, and other verbs need not wait for it.
            drop(state);
            rotate_at_source(controller, &route, request.verify).await
        }
    }
}

fn comes_from(name: &RegistryName, source: &Source) -> ErrorBody {
    ErrorBody::new(
        ErrorKind::Refused,
        format!("the token of `{name}` comes from {source}, not from the store"),
    )
}

/// Asks the registry, stores, swaps.
async fn rotate_stored(
    controller: &Controller,
    mut state: MutexGuard<'_, State>,
    route: &Service,
    token: Secret,
    verify: bool,
) -> Result<Rotated, ErrorBody> {
    let name = &route.name;
    let probed = if verify {
        Some(asked(controller, route, &token).await?)
    } else {
        None
    };
    let generation = state.journal.registries.get(name).map_or(0, |record| record.generation) + 1;
    let record = JournalEntry {
        generation,
        since: OffsetDateTime::now_utc(),
    };
    store(controller, &mut state.journal, name, &token, record).await?;
    route.keeper.replace(Present::Ready(record.value(token))).await;
    Ok(rotated(route, generation, probed, Vec::new()))
}

/// The store's write is the moment at which the rotation has happened. It is noted before, so that a kill leaves no doubt
/// which token is there, and after.
async fn store(
    controller: &Controller,
    journal: &mut Journal,
    name: &RegistryName,
    token: &Secret,
    record: JournalEntry,
) -> Result<(), ErrorBody> {
    let mark = Fingerprint::of(token, record.since);
    journal.rotations.insert(name.clone(), Rotation { record, mark });
    if let Err(error) = controller.write_journal(journal) {
        journal.rotations.remove(name);
        return Err(error);
    }
    let written = controller
        .store()
        .thread
        .write(&Item::Credential(name.clone()), token)
        .await;
    match &written {
        Ok(()) => {
            journal.rotations.remove(name);
            journal.registries.insert(name.clone(), record);
        }
        // It may still happen: the next start finds out.
        Err(StoreError::NoAnswer) => {}
        Err(_) => {
            journal.rotations.remove(name);
        }
    }
    if let Err(error) = controller.write_journal(journal) {
        tracing::warn!(error = error.message, "noted at the next start");
    }
    Ok(written?)
}

/// Reads the file or runs the program again, asks the registry, swaps.
async fn rotate_at_source(controller: &Controller, route: &Service, verify: bool) -> Result<Rotated, ErrorBody> {
    let source = &route.registry.source;
    let minted = route
        .keeper
        .fetch()
        .await
        .map_err(|failure| source_error(route, &failure))?;
    let probed = if verify {
        Some(asked(controller, route, &minted.secret).await?)
    } else {
        None
    };
    let taken = route.keeper.take(minted).await;
    let note = if taken.is_new {
        format!("the token comes from {source}, which was asked again")
    } else {
        format!("the token comes from {source}, which was asked again and gives the same one as before")
    };
    Ok(rotated(route, taken.number, probed, vec![note]))
}

/// What the registry says of a new token, if it does not reject it.
async fn asked(controller: &Controller, route: &Service, token: &Secret) -> Result<probe::ProbeResult, ErrorBody> {
    let probed = ask(controller, route, token).await;
    match probed.result {
        VerdictResult::Accepted | VerdictResult::Public => Ok(probed),
        VerdictResult::Rejected => Err(ErrorBody::new(ErrorKind::TokenRejected, probed.detail)
            .hint("nothing was changed, the old token stays in use; check the new one and repeat")),
        _ => Err(ErrorBody::new(ErrorKind::NotVerified, probed.detail)
            .hint("nothing was changed; repeat when the registry answers, or store it unasked with --no-verify")),
    }
}

fn rotated(route: &Service, generation: u64, probed: Option<probe::ProbeResult>, mut notes: Vec<String>) -> Rotated {
    let verified = probed.as_ref().is_some_and(probe::ProbeResult::is_accepted);
    if verified && let Some(generation) = route.credential.generation() {
        generation.guard().note(true);
    }
    tracing::info!(registry = %route.name, generation, "rotated");
    let public = probed.filter(probe::ProbeResult::is_public);
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

/// A source's failure as an answer.
fn source_error(route: &Service, failure: &Failure) -> ErrorBody {
    let name = &route.name;
    ErrorBody::new(ErrorKind::Failed, failure.message.clone()).hint(match &failure.output {
        Some(output) => format!("it said: {output}"),
        None => format!("mend its source; `regauthctl show {name}` says how it is doing"),
    })
}
