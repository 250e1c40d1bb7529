//! `list`, `show` and `status`: configuration and state of the registries and of the daemon, never a secret.

use regauth_shared::request::ByName;
use regauth_shared::response::{
    CredentialView, RegistryList, RegistryView, RequestFailure, SourceFailure, Status, UpstreamProxy,
};
use regauth_shared::{ErrorBody, response, version};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::control::certificate_files::UnusableFiles;
use crate::control::controller::Controller;
use crate::control::presence;
use crate::control::problems;
use crate::control::server::ControlClients;
use crate::control::verbs::store;
use crate::credential::CredentialState;
use crate::credential::store::StoreError;
use crate::proxy::routes::RegistryRoute;
use crate::proxy::trouble::Trouble;
use crate::proxy::upstream::proxy_rules::{CorporateProxy, ProxyRules};
use crate::registry::Source;

/// All registries.
pub(crate) async fn list(controller: &Controller) -> RegistryList {
    let snapshot = controller.snapshot();
    let unusable = UnusableFiles::find(controller, snapshot.registries.values()).await;
    let views = snapshot.registries.values().map(|route| RegistryView {
        trouble: unusable.of(route),
        ..view(route)
    });
    RegistryList {
        registries: views.collect(),
    }
}

/// One registry.
///
/// # Errors
/// `not-found` for an unknown registry.
pub(crate) async fn show(controller: &Controller, request: &ByName) -> Result<RegistryView, ErrorBody> {
    let route = controller.snapshot().registry(&request.name)?;
    let unusable = UnusableFiles::find(controller, [&route].into_iter()).await;
    Ok(RegistryView {
        trouble: unusable.of(&route),
        ..view(&route)
    })
}

/// The daemon's addresses, files, store, counters and problems.
pub(crate) async fn status(controller: &Controller) -> Status {
    let store_error = store::check(controller).await;
    let audit = controller.proxy.audit.view().await;
    let snapshot = controller.snapshot();
    let unusable = UnusableFiles::find(controller, snapshot.registries.values()).await;
    let proxy = &controller.proxy;
    Status {
        version: version::PROGRAM.to_owned(),
        pid: std::process::id(),
        started: rfc3339(controller.started),
        listen: proxy.listen.to_string(),
        listen_tls: proxy.listen_tls.map(|address| address.to_string()),
        sockets: controller.sockets,
        proxy: proxy_url(controller),
        bundle: controller.folders.bundle().display().to_string(),
        bundle_folder: (controller.shared_bundle_folder()).map(|folder| folder.display().to_string()),
        config: controller.config_file.display().to_string(),
        store: store::view(controller, store_error.as_ref()),
        registries: snapshot.registries.len(),
        problems: problems::all(controller, &snapshot.registries, store_error.as_ref(), &unusable),
        mode: mode(controller).to_owned(),
        users: proxy.served.ids().to_vec(),
        presence: presence::mode(controller).as_str().to_owned(),
        clients: proxy.clients.as_str().to_owned(),
        upstream_proxies: upstream_proxies(proxy.dialer.proxies()),
        ca_file: (controller.company_roots.load().file.as_ref()).map(|file| file.display().to_string()),
        audit: Some(audit),
        metrics: controller.metrics.url(),
        connections: proxy.counters.connections(),
        requests: proxy.counters.requests(),
    }
}

fn mode(controller: &Controller) -> &'static str {
    match controller.control_clients {
        ControlClients::Owner => "user",
        ControlClients::Group => "machine",
        ControlClients::Served(_) => "guarded",
    }
}

fn upstream_proxies(rules: &ProxyRules) -> Vec<UpstreamProxy> {
    let view = |proxy: &CorporateProxy| UpstreamProxy {
        url: proxy.url.to_string(),
        set_by: proxy.setting.to_string(),
        used_for: [("http", true), ("https", false)]
            .into_iter()
            .filter(|(_, plain)| rules.uses(proxy, *plain))
            .map(|(scheme, _)| scheme.to_owned())
            .collect(),
    };
    rules.proxies().into_iter().map(view).collect()
}

/// A registry as the protocol shows it.
pub(in crate::control) fn view(route: &RegistryRoute) -> RegistryView {
    let registry = route.configured();
    let outside = route.usage.outside(&route.registry.scopes);
    let trouble = route.usage.trouble.last();
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
        token_service: registry.token_service.as_ref().map(ToString::to_string),
        writes: registry.writes.as_str().to_owned(),
        writes_open_until: route.usage.writes_open_until().map(rfc3339),
        programs: registry.programs.iter().map(ToString::to_string).collect(),
        rejected_by: registry.rejected_by.iter().collect(),
        ca_file: registry.ca_file.as_ref().map(|file| file.display().to_string()),
        credential: credential_view(route),
        last_used: route.usage.last_used().map(rfc3339),
        last_status: route.usage.last_status(),
        last_worked: route.usage.last_worked().map(rfc3339),
        last_failure: trouble.clone().filter(|trouble| !trouble.is_over).map(failure_view),
        past_failure: trouble.filter(|trouble| trouble.is_over).map(failure_view),
        requests: route.usage.requests(),
        refused_outside: outside.requests,
        wider_scope: outside.covering.map(|scope| scope.to_string()),
        trouble: route.trouble.clone(),
        changes: route.unconfirmed.as_ref().map_or_else(Vec::new, |unconfirmed| {
            unconfirmed.changes.iter().map(ToString::to_string).collect()
        }),
    }
}

fn failure_view(trouble: Trouble) -> RequestFailure {
    RequestFailure {
        cause: trouble.cause.to_owned(),
        message: trouble.message,
        hint: trouble.hint,
        at: rfc3339(trouble.at),
    }
}

fn credential_view(route: &RegistryRoute) -> CredentialView {
    let current = route.credential.state();
    let state = match &current {
        CredentialState::Ready(generation) if generation.value.has_expired() => response::CredentialState::Expired,
        CredentialState::Ready(generation) if generation.breaker.is_rejected() => response::CredentialState::Rejected,
        CredentialState::Ready(_) => response::CredentialState::Ready,
        CredentialState::Locked => response::CredentialState::Locked,
        CredentialState::Unreadable(_) => response::CredentialState::Unreadable,
        CredentialState::Missing(_) => response::CredentialState::Missing,
    };
    let reason = match &current {
        CredentialState::Ready(_) => None,
        CredentialState::Locked => Some(StoreError::Locked.to_string()),
        CredentialState::Unreadable(why) | CredentialState::Missing(why) => Some(why.clone()),
    };
    let value = current.value().map(|generation| &generation.value);
    let refresh = route.credential.shared.refresh_status();
    CredentialView {
        state,
        generation: value.map_or(0, |value| value.number),
        accepted: current
            .value()
            .is_some_and(|generation| generation.breaker.was_accepted()),
        since: value.map(|value| rfc3339(value.since)),
        expires: value.and_then(|value| value.ends()).map(rfc3339),
        renews: refresh.next.map(rfc3339),
        failure: refresh.failure.map(|(failure, at)| SourceFailure {
            message: failure.message,
            output: failure.output,
            hint: failure.hint,
            at: rfc3339(at),
        }),
        reason,
    }
}

/// The proxy's URL for clients on this machine.
pub(in crate::control) fn proxy_url(controller: &Controller) -> String {
    format!("http://{}", controller.proxy_address())
}

/// A time in RFC 3339, in UTC, to the second.
pub(in crate::control) fn rfc3339(time: OffsetDateTime) -> String {
    let seconds = time.replace_nanosecond(0).unwrap_or(time);
    seconds
        .to_offset(time::UtcOffset::UTC)
        .format(&Rfc3339)
        .unwrap_or_default()
}
