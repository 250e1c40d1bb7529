//! Problems: everything that a person should fix, each with the next command. For `status`, `list` and notifications.

use std::time::Duration;

use regauth_shared::response::Problem;
use time::OffsetDateTime;

use crate::config::Clients;
use crate::control::certificate_files::UnusableFiles;
use crate::control::controller::Controller;
use crate::control::state::RegistryRoutes;
use crate::control::state::cleanup::leftover_message;
use crate::control::verbs::show::rfc3339;
use crate::control::verbs::store;
use crate::control::workload_trust;
use crate::credential::CredentialState;
use crate::credential::store::StoreError;
use crate::proxy::routes::RegistryRoute;
use crate::registry::Source;

/// Everything that a person should fix, each with the next command.
pub(super) fn all(
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
pub(super) fn ending_problem(route: &RegistryRoute, warn_before: Duration) -> Option<Problem> {
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
        Source::Of(owner) => format!("`regauthctl login {owner}` gives it a new one"),
        _ => format!("`regauthctl login {name}` gives it a new one"),
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
pub(super) fn credential_problem(route: &RegistryRoute) -> Option<Problem> {
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
        Source::Store => format!("`regauthctl login {name}` gives it a new one"),
        source if source.needs_login() => format!("`regauthctl login {name}` logs you in"),
        Source::Environment(_) => "set the variable where regauthd is started, and start it again".to_owned(),
        Source::File(_) | Source::Command(_) | Source::Minted(_) => {
            format!("fix its source; regauthd asks it again by itself, and at once by `regauthctl rotate {name}`")
        }
        Source::Of(owner) => format!("`regauthctl login {owner}` gives both a new one"),
    };
    Some(Problem { message, hint })
}
