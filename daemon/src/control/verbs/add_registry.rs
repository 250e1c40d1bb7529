//! `add-registry`: adds a registry and serves it at once.
//!
//! The verb checks the request, gets the initial token and probes the registry with it. It holds no lock while it waits.
//! Then it checks again, under the lock, and commits: journal, store, authority, bundle, configuration. The write of the configuration
//! decides; a failure before it is undone, here or at the next start.

mod commit;
mod index_locations;

use std::sync::Arc;

use regauth_shared::request::AddRegistry;
use regauth_shared::response::{OfferedLocation, RegistryAdded, VerdictResult};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::control::archives::uncovered_archives;
use crate::control::controller::Controller;
use crate::control::error::unchanged;
use crate::control::new_registry::{InitialToken, definition, initial_token};
use crate::control::presence::Presence;
use crate::control::probe::{ProbeResult, probe_token};
use crate::control::state::State;
use crate::control::state::binding::token_use;
use crate::control::token_service;
use crate::control::verbs::show;
use crate::control::widening::Widening;
use crate::credential::Credential;
use crate::credential::circuit_breaker::Verdict;
use crate::proxy::exchange::token_flow::TokenFlow;
use crate::proxy::read_ahead::ReadAhead;
use crate::proxy::routes::RegistryRoute;
use crate::proxy::upstream::Upstream;
use crate::registry::{Registry, Source};
use commit::{commit, record, record_end, restore, undo};
use index_locations::{Located, Widens, locate};

/// Adds a registry.
///
/// # Errors
/// `exists` or `invalid` for the request, `token-rejected` or `not-verified` by the registry, and those of the source, the
/// store and the files. Nothing is left behind.
pub(crate) async fn add_registry(
    controller: &Controller,
    request: AddRegistry,
    presence: Presence,
) -> Result<RegistryAdded, ErrorBody> {
    refuse_conflicts(controller, &*controller.lock_state().await?, &request, presence)?;
    let NewRegistry {
        route,
        verdict,
        notes,
        offered,
        permitted,
    } = prepare(controller, &request, presence).await?;
    let name = request.name.clone();
    let mut state = controller.lock_for_change().await?;
    refuse_conflicts(controller, &state, &request, presence)?;
    refuse_changes(&state, &route)?;
    let widening = permitted_widening(&state, &route, permitted.as_ref())?;
    let bindings = state.bindings.clone();
    let definer = state.journal.definers.get(&name).copied();
    record(&mut state, &route);
    controller.record_definer(&mut state, &name, presence);
    if let Err(error) = commit(controller, &mut state, &request, &route, widening.as_ref()).await {
        undo(controller, &mut state, &name, definer).await;
        restore(controller, &mut state, widening.as_ref(), &bindings).await;
        controller.publish(&state);
        return Err(if error.kind == ErrorKind::Failed {
            unchanged(error)
        } else {
            error
        });
    }
    record_end(controller, &mut state, &name).await;
    let verified = verdict == Some(VerdictResult::Accepted);
    if verified && let Some(generation) = route.credential.generation() {
        generation.breaker.record_verdict(Verdict::Accepted);
    }
    controller.publish(&state);
    tracing::info!(registry = %name, "added registry");
    Ok(RegistryAdded {
        registry: show::view(&route),
        verified,
        public: matches!(verdict, Some(VerdictResult::Public | VerdictResult::Inconclusive)),
        notes,
        offered,
        bundle: controller.folders.bundle().display().to_string(),
        proxy: show::proxy_url(controller),
    })
}

/// Refuses what would fail at the commit: before the registry is asked, and again before the commit.
pub(super) fn refuse_conflicts(
    controller: &Controller,
    state: &State,
    request: &AddRegistry,
    presence: Presence,
) -> Result<(), ErrorBody> {
    refuse_taken_name(state, &request.name)?;
    controller.refuse_names_of_root(state, &request.name, presence, "adds")?;
    refuse_unread_changes(controller, &request.name)
}

/// Refuses a registry if its scopes were taken, or the credential that it shares was replaced, while it was asked.
fn refuse_changes(state: &State, route: &RegistryRoute) -> Result<(), ErrorBody> {
    state.refuse_taken_scopes(&route.name, &route.registry)?;
    let Source::Of(owner) = &route.registry.source else {
        return Ok(());
    };
    if Arc::ptr_eq(&state.registry(owner)?.credential.shared, &route.credential.shared) {
        return Ok(());
    }
    let message = format!("`{owner}` was changed while the registry was asked about its token");
    Err(ErrorBody::new(ErrorKind::Failed, message).hint("nothing was changed; repeat the command"))
}

/// Widening of the use of a token that the registry shares, if it is the one that was permitted.
fn permitted_widening(
    state: &State,
    route: &RegistryRoute,
    permitted: Option<&Widening>,
) -> Result<Option<Widening>, ErrorBody> {
    let widening = Widening::of(state, &route.name, None, &route.registry);
    if let Some(widening) = &widening {
        widening.refuse_beyond(permitted)?;
    }
    Ok(widening)
}

fn refuse_taken_name(state: &State, name: &RegistryName) -> Result<(), ErrorBody> {
    if state.busy.contains(name) {
        let message = format!("`{name}` is being added or removed by another command");
        return Err(ErrorBody::new(ErrorKind::Exists, message).hint("`regauthctl list` shows the result; then repeat"));
    }
    if let Some(other) = state.registries.keys().find(|other| other.differs_only_in_case(name)) {
        let message = format!("there is a registry `{other}`, and cargo's variables cannot tell `{name}` from it");
        return Err(ErrorBody::new(ErrorKind::Exists, message).hint("choose another name"));
    }
    if !state.registries.contains_key(name) {
        return Ok(());
    }
    let error = ErrorBody::new(ErrorKind::Exists, format!("there is a registry `{name}` already"));
    Err(error.hint(format!(
        "`regauthctl login {name}` replaces its token; `regauthctl remove-registry {name}` removes it"
    )))
}

/// Refuses before the registry is asked if the commit would fail: the file has errors, or a person has added a registry of
/// this name by hand.
fn refuse_unread_changes(controller: &Controller, name: &RegistryName) -> Result<(), ErrorBody> {
    if !controller.persistent || !controller.read_config()?.registries.contains_key(name) {
        return Ok(());
    }
    let file = controller.config_file.display();
    let message = format!("{file} has a registry `{name}` that the daemon has not read yet");
    Err(ErrorBody::new(ErrorKind::Exists, message).hint("run `regauthctl reload` to read it"))
}

/// A registry that can be added.
struct NewRegistry {
    route: Arc<RegistryRoute>,
    /// The registry's verdict on the token, if it was asked.
    verdict: Option<VerdictResult>,
    notes: Vec<String>,
    /// URLs that the index names, for the person to decide.
    offered: Vec<OfferedLocation>,
    /// Widening of the use of a token that the registry shares, as far as it was permitted.
    permitted: Option<Widening>,
}

/// Checks the definition, gets the initial token, probes the registry. Changes nothing, and holds no lock while it waits:
/// source and registry may be slow.
async fn prepare(controller: &Controller, request: &AddRegistry, presence: Presence) -> Result<NewRegistry, ErrorBody> {
    let name = &request.name;
    let mut registry = definition(request)?;
    controller.check_registry(&registry)?;
    let is_shared = matches!(registry.source, Source::Of(_));
    // The roots are read once: those that verify the registry now are those that its token is bound to.
    let has_binding = registry.source.is_stored() || is_shared;
    registry.bound_roots = has_binding.then(|| token_use(&registry).roots);
    let upstream = Arc::new(controller.upstream(name, &registry)?);
    let pool = controller.upstream_pool();
    let discovering = token_service::discover(&upstream, pool, request, &mut registry);
    let discovered = controller.unless_ending(discovering).await??;
    controller.check_registry(&registry)?;
    // Before the token is sent there.
    let permitted = permit_sharing(controller, request, &registry, presence).await?;
    let initial = initial_token(controller, &registry, request);
    let InitialToken { credential, first } = controller.unless_ending(initial).await??;
    if let Ok(token) = &first {
        registry.scheme.check(token)?;
    }
    let probed = match &first {
        Ok(token) if request.verify => {
            let probed = probe_token(&upstream, pool, &registry, token);
            let probed = controller.unless_ending(probed).await?;
            Some(require_accepted(probed, name)?)
        }
        _ => None,
    };
    let index = probed.as_ref().and_then(|probed| probed.index.as_ref());
    let widens = Widens::of(request, is_shared);
    let Located { mut notes, offered } = locate(&mut registry, index, name, widens);
    if let (Some(_), Ok(token)) = (&probed, &first) {
        notes.extend(uncovered_archives(&upstream, pool, name, &registry, token).await);
    }
    notes.extend(discovered);
    let verdict = probed.as_ref().map(|probed| probed.verdict);
    notes.extend(probed.filter(ProbeResult::is_unproven).map(|probed| probed.detail));
    notes.extend(first.err().map(|why| format!("there is no token yet: {why}")));
    let route = new_route(name, registry, &upstream, &credential);
    Ok(NewRegistry {
        route: Arc::new(route),
        verdict,
        notes,
        offered,
        permitted,
    })
}

fn new_route(
    name: &RegistryName,
    registry: Registry,
    upstream: &Upstream,
    credential: &Arc<Credential>,
) -> RegistryRoute {
    RegistryRoute {
        name: name.clone(),
        credential: credential.attach(registry.scheme.clone()),
        read_ahead: ReadAhead::of(&registry).map(Arc::new),
        token_flow: TokenFlow::of(&registry, upstream, credential.rotations()).map(Arc::new),
        registry,
        unconfirmed: None,
        is_placeholder: false,
        upstream: Arc::new(upstream.with_rotations(credential.rotations())),
        trouble: None,
        usage: Arc::default(),
    }
}

/// Has it permitted that a registry sends the token of another one, if that is beyond what the token was given for.
async fn permit_sharing(
    controller: &Controller,
    request: &AddRegistry,
    registry: &Registry,
    presence: Presence,
) -> Result<Option<Widening>, ErrorBody> {
    let widening = {
        let state = controller.lock_state().await?;
        state.refuse_taken_scopes(&request.name, registry)?;
        Widening::of(&state, &request.name, None, registry)
    };
    if let Some(widening) = &widening {
        widening.permit(controller, presence, request.proof.as_ref()).await?;
    }
    Ok(widening)
}

fn require_accepted(probed: ProbeResult, name: &RegistryName) -> Result<ProbeResult, ErrorBody> {
    let if_rejected = format!("`{name}` was not added; check the token, --scheme and --username, then repeat");
    let if_unclear = "it was not added; fix the cause and repeat, or add it without verification with --no-verify";
    probed.require_accepted(&if_rejected, if_unclear)
}
