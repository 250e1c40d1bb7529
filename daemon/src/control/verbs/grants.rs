//! `grant`, `grants` and `revoke`: who else may connect.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use regauth_shared::request;
use regauth_shared::response::{GrantList, GrantUrl, GrantView, Granted, Revoked};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};
use time::OffsetDateTime;

use crate::control::controller::Controller;
use crate::control::state::find;
use crate::control::verbs::show::moment;
use crate::grant::{Grant, Grants};

/// Makes a grant. It counts once it is on the disk.
pub(crate) async fn grant(controller: &Controller, request: request::Grant) -> Result<Granted, ErrorBody> {
    // One verb at a time: the file is rewritten whole.
    let state = controller.lock_state().await?;
    for name in &request.registries {
        find(&state.registries, name)?;
    }
    if request.seconds == 0 || request.seconds > LONGEST.as_secs() {
        return Err(ErrorBody::new(
            ErrorKind::Invalid,
            "a grant lasts between 1 second and 30 days",
        ));
    }
    let grants = controller.proxy.grants.load();
    if grants.alive().count() >= MOST {
        return Err(
            ErrorBody::new(ErrorKind::Refused, format!("there are {MOST} grants already"))
                .hint("`regauthctl grants` lists them; `regauthctl revoke ID` ends one"),
        );
    }
    let registries: BTreeSet<_> = request.registries.into_iter().collect();
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
    keep(controller, grants.with(Arc::clone(&grant)))?;
    tracing::info!(
        grant = grant.terms.id,
        seconds = request.seconds,
        write = request.write,
        "granted"
    );
    Ok(Granted {
        grant: view(&grant),
        proxy: GrantUrl(format!("http://regauth:{token}@{}", address(controller.proxy.listen))),
    })
}

/// All grants that have not ended.
pub(crate) fn grants(controller: &Controller) -> GrantList {
    GrantList {
        grants: controller
            .proxy
            .grants
            .load()
            .alive()
            .map(|grant| view(grant))
            .collect(),
    }
}

/// Ends a grant: its bearers are cut off, whatever they are doing.
pub(crate) async fn revoke(controller: &Controller, request: request::Revoke) -> Result<Revoked, ErrorBody> {
    let _books = controller.lock_state().await?;
    let grants = controller.proxy.grants.load();
    let Some(grant) = grants.alive().find(|grant| grant.terms.id == request.id).cloned() else {
        return Err(
            ErrorBody::new(ErrorKind::NotFound, "there is no such grant").hint("`regauthctl grants` lists them")
        );
    };
    let kept = keep(controller, grants.without(&request.id));
    // Even if the file could not be written: what is over is over now.
    grant.revoke();
    kept?;
    tracing::info!(grant = grant.terms.id, "revoked");
    Ok(Revoked { grant: view(&grant) })
}

/// Ends the grants that name a registry which is gone, lest they open another of its name one day; what a person should know
/// of it. The caller holds the books.
pub(in crate::control) fn end_with(controller: &Controller, name: &RegistryName) -> Option<String> {
    let grants = controller.proxy.grants.load();
    let ended: Vec<Arc<Grant>> = grants.alive().filter(|grant| grant.names(name)).cloned().collect();
    if ended.is_empty() {
        return None;
    }
    let ids: Vec<&str> = ended.iter().map(|grant| grant.terms.id.as_str()).collect();
    let kept = keep(
        controller,
        ids.iter().fold(Grants::clone(&grants), |rest, id| rest.without(id)),
    );
    ended.iter().for_each(|grant| grant.revoke());
    let what = if ids.len() == 1 { "the grant" } else { "the grants" };
    let mut note = format!("{what} {} named it and ended with it", ids.join(", "));
    if let Err(error) = kept {
        note += &format!(
            "; {}, and until another grant is made or revoked, a restart brings it back",
            error.message
        );
    }
    Some(note)
}

fn keep(controller: &Controller, grants: Grants) -> Result<(), ErrorBody> {
    if controller.persistent {
        let file = controller.folders.grants();
        grants.write(&file).map_err(|error| {
            ErrorBody::new(ErrorKind::Failed, format!("cannot write {}: {error}", file.display()))
                .hint("make room or mend the folder's permissions, then repeat")
        })?;
    }
    controller.proxy.grants.store(Arc::new(grants));
    Ok(())
}

fn view(grant: &Grant) -> GrantView {
    let terms = &grant.terms;
    GrantView {
        id: terms.id.clone(),
        registries: terms.registries.iter().flatten().cloned().collect(),
        write: terms.write,
        created: moment(terms.created),
        expires: moment(terms.expires),
        last_used: grant.last_used().map(moment),
    }
}

/// Where clients on this machine find us, when we listen everywhere.
pub(crate) fn address(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

const LONGEST: Duration = Duration::from_secs(30 * 24 * 60 * 60);
const MOST: usize = 1000;
