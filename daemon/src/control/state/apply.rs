//! Puts a configuration into service: each registry gets its credential, its upstream and its authority.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::state::binding::{BoundConfig, StoredToken};
use crate::control::state::{RegistryRoutes, State, StateGuard};
use crate::credential::fingerprint::KnownGeneration;
use crate::credential::store::{Item, StoreError};
use crate::credential::{Credential, CredentialState, RegistryCredential, Replaced};
use crate::host::Host;
use crate::journal::{JournalEntry, recovered_number};
use crate::proxy::exchange::token_flow::TokenFlow;
use crate::proxy::read_ahead::ReadAhead;
use crate::proxy::routes::RegistryRoute;
use crate::proxy::upstream::{Trust, Upstream};
use crate::registry::{Registry, Source};

impl Controller {
    /// Makes the state match the configuration: adds new registries, drops removed ones, and keeps the credentials of
    /// changed ones. Writes the bundle, then publishes the state.
    ///
    /// The lock is released for the store. If a registry was removed meanwhile, nothing is applied: the configuration may
    /// still have it, so the caller reads it again.
    ///
    /// # Errors
    /// Those of the authorities and of the bundle. They leave the registries as they were.
    pub(in crate::control) async fn apply_config(
        &self,
        state: &mut StateGuard<'_>,
        config: &Config,
    ) -> Result<Applied, ErrorBody> {
        let removals = state.removals;
        let authorities_before: BTreeSet<String> = state.journal.authorities.keys().cloned().collect();
        let config = self.bind_config(state, config).await;
        let credentials = self.load_credentials(state, &config).await;
        let hosts: BTreeSet<Host> = config
            .served
            .registries
            .values()
            .flat_map(Registry::hosts)
            .cloned()
            .collect();
        let prepared = self.ensure_authorities(state, hosts).await;
        if state.removals != removals {
            return Ok(Applied::Outdated);
        }
        let replaced = match prepared.and_then(|()| self.build_routes(state, &config, &credentials)) {
            Ok(registries) => self.replace_registries(state, registries).await,
            Err(error) => Err(error),
        };
        if let Err(error) = replaced {
            state.reserved_hosts.clear();
            self.forget_authorities_since(state, &authorities_before).await;
            // If this write fails too, the next removal or start deletes their records.
            let _ = self.write_journal(&state.journal).await;
            return Err(error);
        }
        Ok(Applied::Published)
    }

    /// Puts the registries into the state if the bundle for them can be written, and closes those that they replace.
    async fn replace_registries(&self, state: &mut State, registries: RegistryRoutes) -> Result<(), ErrorBody> {
        let previous = std::mem::replace(&mut state.registries, registries);
        if let Err(error) = self.write_bundle(state).await {
            state.registries = previous;
            // The file may have been replaced before the failure.
            let _ = self.write_bundle(state).await;
            return Err(error);
        }
        if self.record_configured_names(state)
            && let Err(error) = self.write_journal(&state.journal).await
        {
            tracing::warn!(
                error = error.message,
                "could not record by whom registries are defined; the next start does"
            );
        }
        self.publish(state);
        close_unused(previous.values(), &state.registries)
            .own_requests_ended()
            .await;
        Ok(())
    }

    /// The credential of each registry that has its own, unless it is withheld or cannot be read.
    async fn load_credentials<'a>(
        &self,
        state: &mut StateGuard<'_>,
        config: &'a BoundConfig,
    ) -> BTreeMap<&'a RegistryName, Arc<Credential>> {
        let mut credentials = BTreeMap::new();
        for (name, registry) in &config.served.registries {
            if config.served.owner(name) != name {
                continue;
            }
            let token = config.tokens.get(name);
            if token.is_none_or(StoredToken::is_readable) && !config.withholds_secret(name) {
                let is_new = matches!(token, Some(StoredToken::NewlyBound));
                credentials.insert(name, self.credential(state, name, registry, is_new).await);
            }
        }
        credentials
    }

    fn build_routes(
        &self,
        state: &State,
        config: &BoundConfig,
        credentials: &BTreeMap<&RegistryName, Arc<Credential>>,
    ) -> Result<RegistryRoutes, ErrorBody> {
        let mut registries = BTreeMap::new();
        for (name, registry) in &config.served.registries {
            let previous = state.registries.get(name);
            let placeholder = config.placeholder(name);
            let is_placeholder = placeholder.is_some();
            let credential = match (placeholder, credentials.get(config.served.owner(name))) {
                (Some(state), _) => Credential::without_value(state),
                (None, Some(credential)) => Arc::clone(credential),
                (None, None) => continue,
            };
            let (upstream, trouble) = self.upstream_or_fallback(name, registry, previous)?;
            let upstream = registry_upstream(previous, &upstream, &credential);
            let credential = registry_credential(previous, registry, &credential);
            let route = RegistryRoute {
                name: name.clone(),
                registry: registry.clone(),
                unconfirmed: config.unconfirmed.get(name).cloned(),
                is_placeholder,
                read_ahead: read_ahead(previous, registry, &credential),
                token_flow: TokenFlow::of(registry, &upstream, credential.shared.rotations()).map(Arc::new),
                credential,
                upstream,
                trouble,
                usage: previous.map_or_else(Arc::default, |route| Arc::clone(&route.usage)),
            };
            registries.insert(name.clone(), Arc::new(route));
        }
        Ok(registries)
    }

    /// A registry's own credential: the present one if its source is unchanged, otherwise a new one. Also a new one if
    /// its binding is new: connections that are open keep routes that were not cut down to it.
    async fn credential(
        &self,
        state: &mut StateGuard<'_>,
        name: &RegistryName,
        registry: &Registry,
        is_newly_bound: bool,
    ) -> Arc<Credential> {
        let previous = state
            .registries
            .get(name)
            .filter(|route| !is_newly_bound && !route.is_placeholder);
        let previous = previous.filter(|route| route.registry.source == registry.source);
        // A minted token comes from a service that is verified with the registry's roots.
        let previous = previous.filter(|route| {
            let is_minted = matches!(registry.source, Source::Minted(_));
            let upstream = is_minted.then(|| self.upstream(name, registry).ok()).flatten();
            upstream.is_none_or(|upstream| route.upstream.has_same_trust(&upstream))
        });
        let previous = previous.map(|route| Arc::clone(&route.credential.shared));
        if let Some(source) = self.token_source(name, registry) {
            let known = state.journal.sourced.get(name).map(KnownGeneration::from);
            let is_lost = known.is_none() && state.journal_was_lost;
            return previous.unwrap_or_else(|| {
                let credential =
                    Credential::refreshing(name.clone(), source, None, known, &self.refreshers, &self.proxy.events);
                if is_lost {
                    credential.count_from(recovered_number());
                }
                credential
            });
        }
        let credential = previous.unwrap_or_else(Credential::fixed);
        if credential.state().value().is_none() {
            let loaded = match &registry.source {
                Source::Environment(variable) => self.read_environment(variable),
                _ => self.read_stored(state, name).await,
            };
            credential.load(loaded);
        }
        credential
    }

    fn read_environment(&self, variable: &str) -> CredentialState {
        match self.environment.secret(variable) {
            Ok(secret) => JournalEntry::first().value(secret).into(),
            Err(absent) => CredentialState::Missing(absent.to_string()),
        }
    }

    /// Reads a registry's token from the store. The token settles whether an interrupted rotation took place.
    pub(in crate::control) async fn read_stored(
        &self,
        state: &mut StateGuard<'_>,
        name: &RegistryName,
    ) -> CredentialState {
        let item = Item::Credential(name.clone());
        match state.unlocked(self.store().thread.read(&item)).await {
            Ok(Some(secret)) => {
                let before = state.journal.registries.get(name).copied();
                // A rotation that is under way settles itself.
                let interrupted = state.journal.rotations.contains_key(name) && !state.rotating.contains(name);
                let entry = match interrupted {
                    true => state.journal.settle_rotation(name, &secret),
                    false => before,
                };
                let entry = entry.unwrap_or_else(|| state.journal.recover(name));
                if (interrupted || before.is_none())
                    && let Err(error) = self.write_journal(&state.journal).await
                {
                    tracing::warn!(
                        registry = %name,
                        error = error.message,
                        "could not record a token's generation; the next start tries again"
                    );
                }
                entry.value(secret).into()
            }
            Ok(None) => CredentialState::Missing("the store has no token for it".to_owned()),
            Err(error) => Self::unread(state, name, error),
        }
    }

    /// State of a token that the store did not give. An item that is unusable says nothing about the others.
    pub(super) fn unread(state: &mut State, name: &RegistryName, error: StoreError) -> CredentialState {
        let reason = error.to_string();
        let unread = match error {
            StoreError::Locked => CredentialState::Locked,
            StoreError::Unusable(_) => CredentialState::Missing(reason.clone()),
            _ => CredentialState::Unreadable(reason.clone()),
        };
        let before = state.registries.get(name).map(|route| route.credential.shared.state());
        // The store is asked again every few seconds.
        let is_known = matches!(before, Some(CredentialState::Unreadable(known)) if known == reason);
        if !is_known {
            tracing::warn!(registry = %name, error = reason, "could not read the registry's token");
        }
        if !matches!(error, StoreError::Unusable(_)) {
            state.store_error = Some(error);
        }
        unread
    }

    /// A registry's upstream, and the error if its certificates cannot be read. Such a registry does not stop the others:
    /// it keeps the certificates that were read before, or all its requests are refused.
    fn upstream_or_fallback(
        &self,
        name: &RegistryName,
        registry: &Registry,
        previous: Option<&Arc<RegistryRoute>>,
    ) -> Result<(Arc<Upstream>, Option<String>), ErrorBody> {
        let error = match self.upstream(name, registry) {
            Ok(upstream) => return Ok((Arc::new(upstream), None)),
            Err(error) => error,
        };
        let has_same_files = |route: &&Arc<RegistryRoute>| {
            let before = &route.registry;
            (&before.ca_file, &before.client_identity) == (&registry.ca_file, &registry.client_identity)
        };
        let upstream = match previous.filter(has_same_files) {
            Some(route) => Arc::clone(&route.upstream),
            None => Arc::new(self.untrusting_upstream()?),
        };
        tracing::warn!(registry = %name, error = error.message, "could not read the registry's certificates");
        Ok((upstream, Some(error.message)))
    }

    /// An upstream without roots: it refuses every request as `upstream-untrusted`.
    fn untrusting_upstream(&self) -> Result<Upstream, ErrorBody> {
        let upstream = Upstream::new(&self.proxy.dialer.for_registries(), Trust::nobody(), self.workers + 1);
        upstream.map_err(|error| ErrorBody::new(ErrorKind::Failed, error.to_string()))
    }
}

/// Result of applying a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::control) enum Applied {
    /// It is in service.
    Published,
    /// A registry was removed meanwhile, and nothing was changed.
    Outdated,
}

/// Closes what no registry in service uses any more: credentials with their refreshers, and upstream connections. A registry
/// that is gone, or has another credential, loses one that others still use. Client connections that are open keep the old
/// routes, which then hold no token. Returns what may still be held.
pub(in crate::control) fn close_unused<'a>(
    routes: impl IntoIterator<Item = &'a Arc<RegistryRoute>>,
    in_service: &RegistryRoutes,
) -> Replaced {
    let mut closed = Replaced::default();
    for route in routes {
        let shared = &route.credential.shared;
        let sends_it = |other: &Arc<RegistryRoute>| Arc::ptr_eq(&other.credential.shared, shared);
        if !in_service.values().any(sends_it) {
            closed.add(shared.close());
        } else if !in_service.get(&route.name).is_some_and(sends_it) {
            closed.add(shared.detach(&route.credential));
        }
        if !in_service
            .values()
            .any(|other| Arc::ptr_eq(&other.upstream, &route.upstream))
        {
            route.upstream.close();
        }
    }
    closed
}

/// The registry's present upstream with its open connections; a new one if its certificates or credential changed.
fn registry_upstream(
    previous: Option<&Arc<RegistryRoute>>,
    upstream: &Arc<Upstream>,
    credential: &Arc<Credential>,
) -> Arc<Upstream> {
    let is_same = |previous: &&Arc<RegistryRoute>| {
        Arc::ptr_eq(&previous.credential.shared, credential) && previous.upstream.has_same_trust(upstream)
    };
    match previous.filter(is_same) {
        Some(previous) => Arc::clone(&previous.upstream),
        None => Arc::new(upstream.with_rotations(credential.rotations())),
    }
}

/// Read-ahead of a registry's index. It is kept, with its memory of names, unless the index has changed. Answers that came
/// by another credential are dropped.
fn read_ahead(
    previous: Option<&Arc<RegistryRoute>>,
    registry: &Registry,
    credential: &Arc<RegistryCredential>,
) -> Option<Arc<ReadAhead>> {
    let is_same = |previous: &&Arc<RegistryRoute>| {
        let before = &previous.registry;
        (before.kind, &before.index, before.read_ahead) == (registry.kind, &registry.index, registry.read_ahead)
    };
    match previous.filter(is_same) {
        Some(previous) => {
            let kept = previous.read_ahead.clone();
            // Generations count for each credential, so the number of another one may be equal.
            if let Some(read_ahead) = &kept
                && !Arc::ptr_eq(&previous.credential, credential)
            {
                read_ahead.forget_answers();
            }
            kept
        }
        None => ReadAhead::of(registry).map(Arc::new),
    }
}

/// The registry's present credential, with the circuit breaker of its generation; a new one if its token or scheme changed.
fn registry_credential(
    previous: Option<&Arc<RegistryRoute>>,
    registry: &Registry,
    credential: &Arc<Credential>,
) -> Arc<RegistryCredential> {
    let previous = previous.map(|previous| &previous.credential);
    match previous.filter(|previous| previous.fits(credential, &registry.scheme)) {
        Some(previous) => Arc::clone(previous),
        None => credential.attach(registry.scheme.clone()),
    }
}
