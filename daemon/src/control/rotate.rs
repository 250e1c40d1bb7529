//! `rotate`, `verify`, `allow` and `deny`: what changes or questions one registry in service.

use std::sync::Arc;
use std::time::Duration;

use regauth_shared::request::{Allow, ByName, Rotate, Verify};
use regauth_shared::response::{Rotated, Verdict, VerdictResult, Verified, WritesChanged};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};
use time::OffsetDateTime;

use super::probe;
use super::registrar::{Registrar, Services, ready, store_error};
use super::remove::not_found;
use super::show::moment;
use crate::credential::keeper::Holding;
use crate::credential::mark::Mark;
use crate::credential::{Item, StoreError};
use crate::ledger::{Ledger, Record, Rotation};
use crate::proxy::routes::Service;
use crate::registry::Source;

/// Replaces a registry's token: asks the registry, stores, swaps. After the answer no request uses the old one.
pub(crate) async fn rotate(registrar: &Registrar, request: Rotate) -> Result<Rotated, ErrorBody> {
    let mut books = registrar.books().await;
    let service = find(&books.services, &request.name)?;
    refuse_other_sources(&service)?;
    if request.verify {
        let finding = probe::ask(&service.upstream, registrar.pool(), &service.registry, &request.token).await;
        refuse_unless_accepted(&finding)?;
    }
    let generation = books
        .ledger
        .registries
        .get(&request.name)
        .map_or(0, |record| record.generation)
        + 1;
    let record = Record {
        generation,
        since: OffsetDateTime::now_utc(),
    };
    store(registrar, &mut books.ledger, &request, record).await?;
    let holding = ready(record.generation, record.since, &service.registry.scheme, request.token);
    service.credential.replace(holding).await;
    service.upstream.renew();
    tracing::info!(registry = %request.name, generation, "rotated");
    Ok(Rotated {
        name: request.name,
        generation,
        verified: request.verify,
    })
}

/// The store's write is the moment at which the rotation has happened. It is noted before, so that a kill leaves no doubt
/// which token is there, and after.
async fn store(registrar: &Registrar, ledger: &mut Ledger, request: &Rotate, record: Record) -> Result<(), ErrorBody> {
    let name = &request.name;
    let mark = Mark::of(&request.token, record.since);
    ledger.rotations.insert(name.clone(), Rotation { record, mark });
    if let Err(error) = registrar.write_ledger(ledger) {
        ledger.rotations.remove(name);
        return Err(error);
    }
    let written = registrar
        .store
        .write(&Item::Credential(name.clone()), &request.token)
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
    if let Err(error) = registrar.write_ledger(ledger) {
        tracing::warn!(error = error.message, "noted at the next start");
    }
    written.map_err(|error| store_error(&error))
}

fn refuse_other_sources(service: &Service) -> Result<(), ErrorBody> {
    if service.registry.source == Source::Store {
        return Ok(());
    }
    let source = super::show::source(service);
    Err(ErrorBody::new(
        ErrorKind::Refused,
        format!(
            "the token of `{}` comes from {source}, not from the store",
            service.name
        ),
    )
    .hint("replace it there, then `regauthctl reload`"))
}

fn refuse_unless_accepted(finding: &probe::Finding) -> Result<(), ErrorBody> {
    match finding.result {
        VerdictResult::Accepted => Ok(()),
        VerdictResult::Rejected => Err(ErrorBody::new(ErrorKind::TokenRejected, finding.detail.clone())
            .hint("nothing was changed, the old token stays in use; check the new one and repeat")),
        _ => Err(ErrorBody::new(ErrorKind::NotVerified, finding.detail.clone())
            .hint("nothing was changed; repeat when the registry answers, or store it unasked with --no-verify")),
    }
}

/// Asks registries about the tokens in use.
pub(crate) async fn verify(registrar: &Registrar, request: Verify) -> Result<Verified, ErrorBody> {
    let services = &registrar.glance().services;
    let asked: Vec<Arc<Service>> = match &request.name {
        Some(name) => vec![find(services, name)?],
        None => services.values().map(Arc::clone).collect(),
    };
    let mut registries = Vec::new();
    for service in asked {
        registries.push(verdict(registrar, &service).await);
    }
    Ok(Verified { registries })
}

async fn verdict(registrar: &Registrar, service: &Service) -> Verdict {
    let name = service.name.clone();
    let generation = match &*service.credential.load() {
        Holding::Ready(generation) => Arc::clone(generation),
        Holding::Locked => {
            let detail = "the store is locked; `regauthctl unlock` opens it".to_owned();
            return Verdict {
                name,
                result: VerdictResult::NoToken,
                detail,
            };
        }
        Holding::Missing(why) => {
            return Verdict {
                name,
                result: VerdictResult::NoToken,
                detail: why.clone(),
            };
        }
    };
    let finding = probe::ask(
        &service.upstream,
        registrar.pool(),
        &service.registry,
        generation.secret(),
    )
    .await;
    match finding.result {
        VerdictResult::Accepted => generation.note(true),
        VerdictResult::Rejected => generation.note(false),
        _ => {}
    }
    Verdict {
        name,
        result: finding.result,
        detail: finding.detail,
    }
}

/// Opens writes for a while.
pub(crate) fn allow(registrar: &Registrar, request: Allow) -> Result<WritesChanged, ErrorBody> {
    let service = find(&registrar.glance().services, &request.name)?;
    if request.seconds == 0 || request.seconds > LONGEST.as_secs() {
        return Err(ErrorBody::new(
            ErrorKind::Invalid,
            "writes are opened for between 1 second and 24 hours",
        )
        .hint("`writes = \"allow\"` in config.toml keeps them open"));
    }
    let until = OffsetDateTime::now_utc() + Duration::from_secs(request.seconds);
    service.usage.open_writes(Some(until));
    tracing::info!(registry = %request.name, seconds = request.seconds, "writes are open");
    Ok(WritesChanged {
        name: request.name,
        open_until: Some(moment(until)),
    })
}

/// Closes writes at once.
pub(crate) fn deny(registrar: &Registrar, request: ByName) -> Result<WritesChanged, ErrorBody> {
    let service = find(&registrar.glance().services, &request.name)?;
    service.usage.open_writes(None);
    if service.writes_are_open() {
        return Err(ErrorBody::new(
            ErrorKind::Refused,
            format!(
                "writes of `{}` stay open: the configuration says writes = \"allow\"",
                request.name
            ),
        )
        .hint("change it to \"deny\" in config.toml, then `regauthctl reload`"));
    }
    tracing::info!(registry = %request.name, "writes are closed");
    Ok(WritesChanged {
        name: request.name,
        open_until: None,
    })
}

fn find(services: &Services, name: &RegistryName) -> Result<Arc<Service>, ErrorBody> {
    services
        .get(name)
        .map(Arc::clone)
        .ok_or_else(|| not_found(services, name))
}

const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);
