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
use crate::credential::source::FetchError;
use crate::credential::store::{Item, StoreError};
use crate::journal::{Journal, JournalEntry, Rotation};
use crate::proxy::routes::RegistryRoute as Service;
use crate::registry::Source;

/// Replaces a registry's token. After the answer no request uses the old one.
pub(crate) async fn rotate(controller: &Controller, request: Rotate) -> Result<Rotated, ErrorBody> {
    let books = controller.books().await?;
    let service = find(&books.services, &request.name)?;
    let name = &request.name;
    match (&service.registry.source, &request.token) {
        (Source::Store, Some(token)) => rotate_stored(controller, books, &service, token.clone(), request.verify).await,
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
            drop(books);
            rotate_at_source(controller, &service, request.verify).await
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
    mut books: MutexGuard<'_, State>,
    service: &Service,
    token: Secret,
    verify: bool,
) -> Result<Rotated, ErrorBody> {
    let name = &service.name;
    let finding = if verify {
        Some(asked(controller, service, &token).await?)
    } else {
        None
    };
    let generation = books.ledger.registries.get(name).map_or(0, |record| record.generation) + 1;
    let record = JournalEntry {
        generation,
        since: OffsetDateTime::now_utc(),
    };
    store(controller, &mut books.ledger, name, &token, record).await?;
    service.credential.shared.rotate(record.value(token).into()).await;
    Ok(rotated(service, generation, finding, Vec::new()))
}

/// The store's write is the moment at which the rotation has happened. It is noted before, so that a kill leaves no doubt
/// which token is there, and after.
async fn store(
    controller: &Controller,
    ledger: &mut Journal,
    name: &RegistryName,
    token: &Secret,
    record: JournalEntry,
) -> Result<(), ErrorBody> {
    let mark = Fingerprint::of(token, record.since);
    ledger.rotations.insert(
        name.clone(),
        Rotation {
            entry: record,
            fingerprint: mark,
        },
    );
    if let Err(error) = controller.write_ledger(ledger) {
        ledger.rotations.remove(name);
        return Err(error);
    }
    let written = controller
        .store()
        .thread
        .write(&Item::Credential(name.clone()), token)
        .await;
    match &written {
        Ok(()) => {
            ledger.rotations.remove(name);
            ledger.registries.insert(name.clone(), record);
        }
        // It may still happen: the next start finds out.
        Err(StoreError::NoAnswer) => {}
        Err(_) => {
            ledger.rotations.remove(name);
        }
    }
    if let Err(error) = controller.write_ledger(ledger) {
        tracing::warn!(error = error.message, "noted at the next start");
    }
    Ok(written?)
}

/// Reads the file or runs the program again, asks the registry, swaps.
async fn rotate_at_source(controller: &Controller, service: &Service, verify: bool) -> Result<Rotated, ErrorBody> {
    let source = &service.registry.source;
    let credential = &service.credential.shared;
    let fetched = credential
        .fetch()
        .await
        .map_err(|error| source_error(service, &error))?;
    let finding = if verify {
        Some(asked(controller, service, &fetched.secret).await?)
    } else {
        None
    };
    let installed = credential.install(fetched).await;
    let note = if installed.is_new {
        format!("the token comes from {source}, which was asked again")
    } else {
        format!("the token comes from {source}, which was asked again and gives the same one as before")
    };
    Ok(rotated(service, installed.number, finding, vec![note]))
}

/// What the registry says of a new token, if it does not reject it.
async fn asked(controller: &Controller, service: &Service, token: &Secret) -> Result<probe::Finding, ErrorBody> {
    let finding = ask(controller, service, token).await;
    match finding.result {
        VerdictResult::Accepted | VerdictResult::Public => Ok(finding),
        VerdictResult::Rejected => Err(ErrorBody::new(ErrorKind::TokenRejected, finding.detail)
            .hint("nothing was changed, the old token stays in use; check the new one and repeat")),
        _ => Err(ErrorBody::new(ErrorKind::NotVerified, finding.detail)
            .hint("nothing was changed; repeat when the registry answers, or store it unasked with --no-verify")),
    }
}

fn rotated(service: &Service, generation: u64, finding: Option<probe::Finding>, mut notes: Vec<String>) -> Rotated {
    let verified = finding.as_ref().is_some_and(probe::Finding::is_accepted);
    if verified && let Some(generation) = service.credential.generation() {
        generation.breaker.record(true);
    }
    tracing::info!(registry = %service.name, generation, "rotated");
    let public = finding.filter(probe::Finding::is_public);
    let is_public = public.is_some();
    notes.extend(public.map(|finding| finding.detail));
    Rotated {
        name: service.name.clone(),
        generation,
        verified,
        public: is_public,
        notes,
    }
}

/// A source's failure as an answer.
fn source_error(service: &Service, failure: &FetchError) -> ErrorBody {
    let name = &service.name;
    ErrorBody::new(ErrorKind::Failed, failure.message.clone()).hint(match &failure.output {
        Some(output) => format!("it said: {output}"),
        None => format!("mend its source; `regauthctl show {name}` says how it is doing"),
    })
}
