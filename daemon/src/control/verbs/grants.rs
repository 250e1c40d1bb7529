//! `grant`, `grants` and `revoke`: who else may use the proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use regauth_shared::event::{EventKind, GrantChange, GrantCreated};
use regauth_shared::request;
use regauth_shared::response::{GrantList, GrantUrl, GrantView, Granted, Revoked};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};
use time::OffsetDateTime;

use crate::config::Clients;
use crate::control::controller::Controller;
use crate::control::verbs::show::rfc3339;
use crate::grant::{Grant, Grants};
use crate::proxy::downstream::entrance::ServerCertificate;
use crate::signed_grant::SignedGrants;

/// Creates a grant. It is valid once it is on disk.
///
/// # Errors
/// `not-found`, `invalid` or `refused` for the request; `failed` when the file cannot be written.
pub(crate) async fn grant(controller: &Controller, request: request::Grant) -> Result<Granted, ErrorBody> {
    let _grants = controller.state.lock_grants().await?;
    // Under the lock: a removal takes it after it has published that the registry is gone.
    let snapshot = controller.snapshot();
    let mut registries = BTreeMap::new();
    for name in &request.registries {
        registries.insert(name.clone(), snapshot.registry(name)?.registry.digest());
    }
    if request.seconds == 0 || request.seconds > MAX_LIFETIME.as_secs() {
        return Err(ErrorBody::new(
            ErrorKind::Invalid,
            "a grant lasts between 1 second and 30 days",
        ));
    }
    if request.signed {
        return signed_grant(controller, &request, registries);
    }
    let grants = controller.proxy.grants.load();
    if grants.valid().count() >= MAX_GRANTS {
        let message = format!("there are {MAX_GRANTS} grants already");
        return Err(ErrorBody::new(ErrorKind::Refused, message)
            .hint("`regauthctl grants` lists them; `regauthctl revoke ID` ends one"));
    }
    let registries: BTreeSet<_> = registries.into_keys().collect();
    let now = OffsetDateTime::now_utc();
    let expires = now + Duration::from_secs(request.seconds);
    let (grant, token) = Grant::create(
        Some(registries).filter(|set| !set.is_empty()),
        request.write,
        now,
        expires,
    )
    .map_err(|error| ErrorBody::new(ErrorKind::Failed, error.to_string()))?;
    let grant = Arc::new(grant);
    replace_grants(controller, grants.with(Arc::clone(&grant))).await?;
    tracing::info!(
        grant = grant.terms.id,
        seconds = request.seconds,
        write = request.write,
        "created grant"
    );
    Ok(announce_created(controller, &grant, &token))
}

/// Creates a grant that every daemon with the same key accepts. No file has it.
fn signed_grant(
    controller: &Controller,
    request: &request::Grant,
    registries: BTreeMap<RegistryName, String>,
) -> Result<Granted, ErrorBody> {
    let Some(signed) = &controller.proxy.signed_grants else {
        let message = "this daemon has no key for signed grants";
        let hint = "set signed-grants = { key = \"…\", revoked = \"…\" } in config.toml and restart regauthd, or leave out \
                    --signed";
        return Err(ErrorBody::new(ErrorKind::Refused, message).hint(hint));
    };
    let now = OffsetDateTime::now_utc();
    let expires = now + Duration::from_secs(request.seconds);
    let registries = Some(registries).filter(|map| !map.is_empty());
    let created = signed.create(registries, request.write, now, expires);
    let (grant, token) = created.map_err(|error| ErrorBody::new(ErrorKind::Failed, error.to_string()))?;
    tracing::info!(
        grant = grant.terms.id,
        seconds = request.seconds,
        write = request.write,
        "created signed grant"
    );
    Ok(announce_created(controller, &grant, &token))
}

fn announce_created(controller: &Controller, grant: &Grant, token: &str) -> Granted {
    let view = view(grant);
    controller.announce(EventKind::GrantCreated(GrantCreated {
        grant: view.id.clone(),
        registries: view.registries.clone(),
        write: view.write,
        expires: view.expires.clone(),
    }));
    Granted {
        grant: view,
        proxy: GrantUrl(proxy_url(controller, token)),
    }
}

/// URL of the proxy with a grant. A gateway's clients are on other machines and speak TLS to the name in its certificate.
fn proxy_url(controller: &Controller, token: &str) -> String {
    let proxy = &controller.proxy;
    let host = proxy.certificate.as_ref().and_then(ServerCertificate::host);
    match (proxy.clients, proxy.listen_tls, host) {
        (Clients::Gateway, Some(address), Some(host)) => format!("https://regauth:{token}@{host}:{}", address.port()),
        _ => format!("http://regauth:{token}@{}", controller.proxy_address()),
    }
}

/// All grants that are valid.
pub(crate) fn grants(controller: &Controller) -> GrantList {
    let grants = controller.proxy.grants.load();
    GrantList {
        grants: grants.valid().map(|grant| view(grant)).collect(),
    }
}

/// Ends a grant and cuts the connections of its bearers: at once and before any wait. Then removes it from the file.
///
/// # Errors
/// `not-found`; `failed` when the file cannot be written: the grant has ended, but a restart brings it back.
pub(crate) async fn revoke(controller: &Controller, request: request::Revoke) -> Result<Revoked, ErrorBody> {
    if let Some(signed) = &controller.proxy.signed_grants
        && let Some(id) = SignedGrants::parse_id(&request.id)
    {
        return revoke_signed(controller, signed, &id);
    }
    let grants = controller.proxy.grants.load();
    let Some(grant) = grants.valid().find(|grant| grant.terms.id == request.id).cloned() else {
        return Err(
            ErrorBody::new(ErrorKind::NotFound, "there is no such grant").hint("`regauthctl grants` lists them")
        );
    };
    end(controller, &grant);
    tracing::info!(grant = grant.terms.id, "revoked grant");
    let _grants = controller.state.lock_grants().await?;
    let remaining = controller.proxy.grants.load().without(&request.id);
    replace_grants(controller, remaining).await.map_err(still_in_file)?;
    Ok(Revoked { grant: view(&grant) })
}

/// Adds a signed grant to the list of revoked ones. It may be unknown here: another daemon may have made it.
fn revoke_signed(controller: &Controller, signed: &SignedGrants, id: &str) -> Result<Revoked, ErrorBody> {
    signed.revoke(id).map_err(|error| {
        let file = signed.file().display();
        let hint =
            format!("add the line `{id}` to that file where it comes from; every daemon reads it when it changes");
        ErrorBody::new(ErrorKind::Failed, format!("cannot write {file}: {error}")).hint(hint)
    })?;
    tracing::info!(grant = id, "revoked signed grant");
    let grant = id.to_owned();
    controller.announce(EventKind::GrantRevoked(GrantChange { grant }));
    let now = OffsetDateTime::now_utc();
    Ok(Revoked {
        grant: view(&Grant::signed(id.to_owned(), None, false, now, now)),
    })
}

/// Ends the grants that name a removed registry, so that they never open a later registry of that name. Returns a note for
/// the person. The caller has published that the registry is gone.
pub(in crate::control) async fn end_with_registry(controller: &Controller, name: &RegistryName) -> Option<String> {
    // An error means that the daemon is ending: then the file cannot be written.
    let _grants = controller.state.lock_grants().await;
    let grants = controller.proxy.grants.load();
    let ended: Vec<Arc<Grant>> = grants.valid().filter(|grant| grant.names(name)).cloned().collect();
    if ended.is_empty() {
        return None;
    }
    let ids: Vec<&str> = ended.iter().map(|grant| grant.terms.id.as_str()).collect();
    let remaining = ids.iter().fold(Grants::clone(&grants), |rest, id| rest.without(id));
    ended.iter().for_each(|grant| end(controller, grant));
    let written = replace_grants(controller, remaining).await;
    let subject = if ids.len() == 1 { "the grant" } else { "the grants" };
    let mut note = format!("{subject} {} named it and ended with it", ids.join(", "));
    if let Err(error) = written {
        note += &format!(
            "; {}, and until another grant is made or revoked, a restart brings it back",
            error.message
        );
    }
    Some(note)
}

fn end(controller: &Controller, grant: &Grant) {
    grant.revoke();
    let grant = grant.terms.id.clone();
    controller.announce(EventKind::GrantRevoked(GrantChange { grant }));
}

/// Announces the grants that have expired since the last call.
pub(in crate::control) fn announce_expired(controller: &Controller) {
    for expired in controller.proxy.grants.load().take_expired() {
        let grant = expired.terms.id.clone();
        controller.announce(EventKind::GrantExpired(GrantChange { grant }));
    }
}

/// Writes the grants' file, then publishes the grants to the workers. Expired ones are dropped. The caller holds the lock of the grants.
async fn replace_grants(controller: &Controller, grants: Grants) -> Result<(), ErrorBody> {
    announce_expired(controller);
    let grants = Arc::new(grants);
    if controller.persistent {
        let (file, written) = (controller.folders.grants(), Arc::clone(&grants));
        let write = move || written.write(&file);
        controller.write(&controller.folders.grants(), write).await?;
    }
    controller.proxy.grants.store(grants);
    Ok(())
}

fn still_in_file(error: ErrorBody) -> ErrorBody {
    let hint = "the grant has ended, and a restart brings it back: free disk space or fix the folder's permissions, then make \
                and revoke another grant";
    ErrorBody::new(error.kind, error.message).hint(hint)
}

fn view(grant: &Grant) -> GrantView {
    let terms = &grant.terms;
    GrantView {
        id: terms.id.clone(),
        registries: terms.registries.iter().flatten().cloned().collect(),
        write: terms.write,
        created: rfc3339(terms.created),
        expires: rfc3339(terms.expires),
        last_used: grant.last_used().map(rfc3339),
    }
}

/// Longest lifetime of a grant.
const MAX_LIFETIME: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MAX_GRANTS: usize = 1000;
