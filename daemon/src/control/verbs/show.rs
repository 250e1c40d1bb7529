//! `list`, `show` and `status`: what is configured and how it is doing, never a secret.

use std::sync::Arc;
use std::time::Duration;

use regauth_shared::request::ByName;
use regauth_shared::response::{
    CredentialState, CredentialView, Problem, RegistryList, RegistryView, SourceFailure, Status, StoreView,
};
use regauth_shared::{ErrorBody, version};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::Clients;
use crate::control::controller::Controller;
use crate::control::state::cleanup::left_over;
use crate::control::state::{RegistryRoutes, find};
use crate::credential::slot::Holding;
use crate::credential::store::{StoreError, select};
use crate::proxy::routes::Service;
use crate::registry::Source;

/// All registries.
pub(crate) fn list(controller: &Controller) -> RegistryList {
    let snapshot = controller.snapshot();
    RegistryList {
        registries: snapshot.registries.values().map(|route| view(route)).collect(),
    }
}

/// One registry.
pub(crate) fn show(controller: &Controller, request: &ByName) -> Result<RegistryView, ErrorBody> {
    find(&controller.snapshot().registries, &request.name).map(|route| view(&route))
}

/// What the daemon is doing.
pub(crate) async fn status(controller: &Controller) -> Status {
    let trouble = store_trouble(controller).await;
    let snapshot = controller.snapshot();
    let proxy = &controller.proxy;
    Status {
        version: version::PROGRAM.to_owned(),
        pid: std::process::id(),
        started: moment(controller.started),
        listen: proxy.listen.to_string(),
        sockets: controller.sockets,
        proxy: proxy_url(controller),
        bundle: controller.folders.bundle().display().to_string(),
        config: controller.config_file.display().to_string(),
        store: store_view(controller, trouble.as_ref()),
        registries: snapshot.registries.len(),
        problems: problems(controller, &snapshot.registries, trouble.as_ref()),
        clients: proxy.clients.as_str().to_owned(),
        connections: proxy.counters.connections(),
        requests: proxy.counters.requests(),
    }
}

/// A registry as it is shown.
pub(crate) fn view(route: &Service) -> RegistryView {
    let registry = &route.registry;
    RegistryView {
        name: route.name.clone(),
        kind: registry.kind.as_str().to_owned(),
        index: registry.index.as_ref().map(ToString::to_string),
        scopes: registry.scopes.iter().map(ToString::to_string).collect(),
        scheme: registry.scheme.to_string(),
        username: registry.scheme.username().map(str::to_owned),
        source: registry.source.to_string(),
        credential_of: match &registry.source {
            Source::Of(owner) => Some(owner.clone()),
            _ => None,
        },
        writes: registry.writes.as_str().to_owned(),
        writes_open_until: route.usage.writes_open_until().map(moment),
        credential: credential(route),
        last_used: route.usage.last_used().map(moment),
        last_status: route.usage.last_status(),
        requests: route.usage.requests(),
        trouble: route.trouble.clone(),
    }
}

/// The store and its health at this moment.
pub(crate) async fn present_store(controller: &Controller) -> StoreView {
    let trouble = store_trouble(controller).await;
    store_view(controller, trouble.as_ref())
}

/// The store is asked, shortly: it may have been closed or ended since it was last used.
async fn store_trouble(controller: &Controller) -> Option<StoreError> {
    let store = controller.store();
    match tokio::time::timeout(PATIENCE, store.thread.check()).await {
        Ok(Ok(())) => controller.snapshot().store_trouble.clone(),
        Ok(Err(trouble)) => Some(trouble),
        Err(_) => Some(StoreError::NoAnswer),
    }
}

/// The store and its health.
pub(crate) fn store_view(controller: &Controller, trouble: Option<&StoreError>) -> StoreView {
    let state = match trouble {
        None => "open",
        Some(StoreError::Locked | StoreError::WrongPassphrase) => "locked",
        Some(_) => "unavailable",
    };
    let kind = controller.store().kind;
    StoreView {
        kind: kind.as_str().to_owned(),
        protection: select::protection(&controller.folders, kind),
        state: state.to_owned(),
    }
}

/// The proxy's URL for clients.
pub(crate) fn proxy_url(controller: &Controller) -> String {
    format!(
        "http://{}",
        crate::control::verbs::grants::address(controller.proxy.listen)
    )
}

/// A moment in RFC 3339, in UTC, to the second.
pub(crate) fn moment(moment: OffsetDateTime) -> String {
    let whole = moment.replace_nanosecond(0).unwrap_or(moment);
    whole
        .to_offset(time::UtcOffset::UTC)
        .format(&Rfc3339)
        .unwrap_or_default()
}

fn credential(route: &Service) -> CredentialView {
    let (state, generation) = match &*route.credential.load() {
        Holding::Ready(generation) => {
            let state = if generation.is_over() {
                CredentialState::Expired
            } else if generation.guard().is_rejected() {
                CredentialState::Rejected
            } else {
                CredentialState::Ready
            };
            (state, Some(Arc::clone(generation)))
        }
        Holding::Locked => (CredentialState::Locked, None),
        Holding::Missing(_) => (CredentialState::Missing, None),
    };
    let news = route.keeper.news();
    let lifetime = generation.as_ref().and_then(|generation| generation.lifetime);
    CredentialView {
        state,
        generation: generation.as_ref().map_or(0, |generation| generation.number),
        since: generation.map(|generation| moment(generation.since)),
        expires: lifetime.map(|lifetime| moment(lifetime.expires())),
        renews: news.renews.map(moment),
        failure: news.failure.map(|(failure, at)| SourceFailure {
            message: failure.message,
            output: failure.output,
            at: moment(at),
        }),
    }
}

fn problems(controller: &Controller, registries: &RegistryRoutes, trouble: Option<&StoreError>) -> Vec<Problem> {
    let proxy = &controller.proxy;
    let mut problems = Vec::new();
    if proxy.clients == Clients::SameUser
        && let Some(why) = proxy.peers.without_proof()
    {
        problems.push(Problem {
            message: format!("every client needs a grant: {why}"),
            hint:
                "`regauthctl grant` prints a proxy URL for a client; `clients = \"grants\"` in config.toml says that \
                this is meant"
                    .to_owned(),
        });
    }
    if let Some(trouble) = trouble {
        let error = ErrorBody::from(trouble.clone());
        problems.push(Problem {
            message: error.message,
            hint: error.hint.unwrap_or_default(),
        });
    }
    if let Some(other) = controller.stores.other() {
        problems.push(Problem {
            message: left_over(other.kind),
            hint: format!(
                "`regauthctl store move {}` tries at once, and asks for a passphrase where there is one",
                controller.store().kind.as_str()
            ),
        });
    }
    problems.extend(registries.values().filter_map(|route| untrusted(route)));
    problems.extend(registries.values().filter_map(|route| problem(route)));
    problems
}

fn untrusted(route: &Service) -> Option<Problem> {
    let message = route.trouble.clone()?;
    let hint = "mend the file, then `regauthctl reload`; until then nothing is sent to the registry, unless its \
                certificates were read before";
    Some(Problem {
        message,
        hint: hint.to_owned(),
    })
}

fn problem(route: &Service) -> Option<Problem> {
    let name = &route.name;
    let failure = route.keeper.news().failure;
    let message = match (&*route.credential.load(), failure) {
        (Holding::Ready(generation), _) if generation.guard().is_rejected() => {
            format!("the registry `{name}` rejects its token")
        }
        (Holding::Ready(generation), failure) if generation.is_over() => {
            let why = failure.map_or_else(String::new, |(failure, _)| format!(": {}", failure.message));
            format!("the token of the registry `{name}` has expired{why}")
        }
        (Holding::Ready(_), Some((failure, _))) => {
            format!(
                "the token of the registry `{name}` cannot be renewed: {}",
                failure.message
            )
        }
        (Holding::Missing(why), _) => format!("the registry `{name}` has no token: {why}"),
        (Holding::Ready(_) | Holding::Locked, _) => return None,
    };
    let hint = match &route.registry.source {
        Source::Store => format!("`regauthctl rotate {name}` gives it a new one"),
        Source::Environment(_) => "set the variable where regauthd is started, and start it again".to_owned(),
        Source::File(_) | Source::Command(_) => {
            format!("mend its source; it is asked again by itself, and at once by `regauthctl rotate {name}`")
        }
        Source::Of(owner) => format!("`regauthctl rotate {owner}` gives both a new one"),
    };
    Some(Problem { message, hint })
}

/// How long `status` waits for the store.
const PATIENCE: Duration = Duration::from_secs(1);
