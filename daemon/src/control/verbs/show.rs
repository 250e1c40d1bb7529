//! `list`, `show` and `status`: configuration and state of the registries and of the daemon, never a secret.

use std::time::Duration;

use regauth_shared::request::ByName;
use regauth_shared::response::{
    CredentialView, Problem, RegistryList, RegistryView, RequestFailure, SourceFailure, Status, UpstreamProxy,
};
use regauth_shared::{ErrorBody, response, version};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::config::Clients;
use crate::control::certificate_files::UnusableFiles;
use crate::control::controller::Controller;
use crate::control::presence;
use crate::control::server::ControlClients;
use crate::control::state::RegistryRoutes;
use crate::control::state::cleanup::leftover_message;
use crate::control::verbs::store;
use crate::control::workload_trust;
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
        problems: problems(controller, &snapshot.registries, store_error.as_ref(), &unusable),
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

/// Everything that a person should fix, each with the next command.
fn problems(
    controller: &Controller,
    registries: &RegistryRoutes,
    store_error: Option<&StoreError>,
    unusable: &UnusableFiles,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    problems.extend(clients_problem(controller));
    problems.extend(configuration_problem(controller));
    problems.extend(unusable.company_roots_problem(controller));
    problems.extend(controller.proxy.audit.problem());
    problems.extend(controller.metrics.problem());
    problems.extend(tls_problem(controller));
    problems.extend(revocation_problem(controller));
    problems.extend(workload_trust::problems(controller, registries));
    problems.extend(store_error.map(store::problem));
    problems.extend(controller.stores.leftover().map(|leftover| Problem {
        message: leftover_message(leftover.kind),
        hint: format!(
            "`regauthctl store move {}` tries at once, and asks for a passphrase where there is one",
            controller.store().kind.as_str()
        ),
    }));
    problems.extend(
        registries
            .values()
            .filter_map(|route| certificate_problem(route, unusable)),
    );
    problems.extend(registries.values().filter_map(|route| unconfirmed_problem(route)));
    problems.extend(registries.values().filter_map(|route| credential_problem(route)));
    let warn_before = controller.at_start.warn_before;
    problems.extend(
        registries
            .values()
            .filter_map(|route| ending_problem(route, warn_before)),
    );
    problems.extend(registries.values().filter_map(|route| request_problem(route)));
    problems
}

/// The file may have been edited since it was read: the next start would refuse it, or a gateway could not reload it.
fn configuration_problem(controller: &Controller) -> Option<Problem> {
    if let Some(error) = controller.persistent.then(|| controller.read_config())?.err() {
        return Some(Problem {
            message: error.message,
            hint: error.hint.unwrap_or_default(),
        });
    }
    let error = controller.reload_error.load_full()?;
    Some(Problem {
        message: format!("config.toml has changed and is not in service: {}", error.message),
        hint: error.hint.clone().unwrap_or_default(),
    })
}

fn clients_problem(controller: &Controller) -> Option<Problem> {
    if controller.proxy.clients != Clients::SameUser {
        return None;
    }
    let why = controller.proxy.peers.unavailable()?;
    let hint = "`regauthctl grant` prints a proxy URL for a client; `clients = \"grants\"` in config.toml says that this is \
                meant";
    Some(Problem {
        message: format!("every client needs a grant: {why}"),
        hint: hint.to_owned(),
    })
}

fn revocation_problem(controller: &Controller) -> Option<Problem> {
    let signed = controller.proxy.signed_grants.as_ref()?;
    let error = signed.problem()?;
    Some(Problem {
        message: format!(
            "cannot read all of the list of revoked grants, {}: {error}",
            signed.file().display()
        ),
        hint: "the grants that were revoked before stay so; write the file again, it is read when it changes"
            .to_owned(),
    })
}

/// Files of `listen-tls` that changed and cannot be used.
fn tls_problem(controller: &Controller) -> Option<Problem> {
    let message = controller.proxy.certificate.as_ref()?.problem()?;
    Some(Problem {
        message: format!("the proxy serves its previous TLS certificate: {message}"),
        hint: "write the certificate and its key again; they are read when they change".to_owned(),
    })
}

fn certificate_problem(route: &RegistryRoute, unusable: &UnusableFiles) -> Option<Problem> {
    let message = unusable.of(route)?;
    let hint = "fix the file, then `regauthctl reload`; until then nothing is sent to the registry, unless its \
                certificates were read before";
    Some(Problem {
        message,
        hint: hint.to_owned(),
    })
}

/// A configuration that goes beyond what the stored token was given for.
fn unconfirmed_problem(route: &RegistryRoute) -> Option<Problem> {
    let name = &route.name;
    let changes: Vec<String> = route
        .unconfirmed
        .as_ref()?
        .changes
        .iter()
        .map(ToString::to_string)
        .collect();
    Some(Problem {
        message: format!("{name} has changed, and this is not served: {}", changes.join("; ")),
        hint: format!(
            "`regauthctl confirm {name}` takes it in; otherwise change config.toml back and `regauthctl reload`"
        ),
    })
}

/// A token that ends soon and that nothing renews.
pub(in crate::control) fn ending_problem(route: &RegistryRoute, warn_before: Duration) -> Option<Problem> {
    let state = route.credential.state();
    let generation = state.value()?;
    let is_renewed = route.credential.shared.refresh_status().next.is_some();
    let ends = generation.value.ends()?;
    // Expired ones are reported with their cause.
    if is_renewed || generation.value.has_expired() || generation.breaker.is_rejected() {
        return None;
    }
    if ends - OffsetDateTime::now_utc() > warn_before {
        return None;
    }
    let name = &route.name;
    let verb = if ends < OffsetDateTime::now_utc() {
        "ended"
    } else {
        "ends"
    };
    let hint = match &route.registry.source {
        Source::Of(owner) => format!("`regauthctl rotate {owner}` gives it a new one"),
        _ => format!("`regauthctl rotate {name}` gives it a new one"),
    };
    Some(Problem {
        message: format!("the token of the registry `{name}` {verb} at {}", rfc3339(ends)),
        hint,
    })
}

/// A registry that gives no answer. One that rejects its token is the credential's problem.
fn request_problem(route: &RegistryRoute) -> Option<Problem> {
    let trouble = route.usage.trouble.last()?;
    let is_current = !trouble.is_over && !trouble.is_rejection();
    let worked = route.usage.last_worked().map_or_else(
        || "it has not worked since the daemon started".to_owned(),
        |at| format!("it last worked at {}", rfc3339(at)),
    );
    is_current.then(|| Problem {
        message: format!(
            "the registry `{}` gives no answer: {}; {worked}",
            route.name, trouble.message
        ),
        hint: trouble.hint,
    })
}

/// A token that the registry rejects, that has expired, or that the source does not give.
pub(in crate::control) fn credential_problem(route: &RegistryRoute) -> Option<Problem> {
    if route.is_withheld() {
        return None;
    }
    let name = &route.name;
    let failure = route.credential.shared.refresh_status().failure;
    let message = match (route.credential.state(), failure) {
        (CredentialState::Ready(generation), _) if generation.breaker.is_rejected() => {
            format!("the registry `{name}` rejects its token")
        }
        (CredentialState::Ready(generation), failure) if generation.value.has_expired() => {
            let why = failure.map_or_else(String::new, |(failure, _)| format!(": {}", failure.message));
            format!("the token of the registry `{name}` has expired{why}")
        }
        (CredentialState::Ready(_), Some((failure, _))) => {
            format!(
                "the token of the registry `{name}` cannot be renewed: {}",
                failure.message
            )
        }
        (CredentialState::Missing(why), _) => format!("the registry `{name}` has no token: {why}"),
        // The store's own problem is the cause.
        (CredentialState::Ready(_) | CredentialState::Locked | CredentialState::Unreadable(_), _) => return None,
    };
    let hint = match &route.registry.source {
        Source::Store => format!("`regauthctl rotate {name}` gives it a new one"),
        source if source.needs_login() => format!("`regauthctl login {name}` logs you in"),
        Source::Environment(_) => "set the variable where regauthd is started, and start it again".to_owned(),
        Source::File(_) | Source::Command(_) | Source::Minted(_) => {
            format!("fix its source; regauthd asks it again by itself, and at once by `regauthctl rotate {name}`")
        }
        Source::Of(owner) => format!("`regauthctl rotate {owner}` gives both a new one"),
    };
    Some(Problem { message, hint })
}
