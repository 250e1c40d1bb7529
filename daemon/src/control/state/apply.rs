//! Puts a configuration into service: each registry gets its credential, its upstream and its authority.

use std::collections::BTreeMap;
use std::sync::Arc;

use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::state::{RegistryRoutes, State};
use crate::credential::fingerprint::KnownGeneration;
use crate::credential::source::TokenSource;
use crate::credential::store::{Item, StoreError};
use crate::credential::{Credential, CredentialState, RegistryCredential};
use crate::journal::JournalEntry;
use crate::proxy::routes::RegistryRoute;
use crate::proxy::upstream::{Trust, Upstream};
use crate::registry::{Registry, Source};

impl Controller {
    /// Makes the state match the configuration: adds new registries, drops removed ones, and keeps the credentials of
    /// changed ones. Publishes the state and writes the bundle.
    ///
    /// # Errors
    /// Those of the authorities, which leave the registries as they were; or that the bundle cannot be written.
    pub(in crate::control) async fn apply_config(&self, state: &mut State, config: &Config) -> Result<(), ErrorBody> {
        let credentials = self.load_credentials(state, config).await;
        let registries = self.build_routes(state, config, &credentials)?;
        let previous = std::mem::replace(&mut state.registries, registries);
        if let Err(error) = self.ensure_authorities(state).await {
            state.registries = previous;
            return Err(error);
        }
        self.publish(state);
        self.write_bundle(state)
    }

    /// The credential of each registry that has its own.
    async fn load_credentials<'a>(
        &self,
        state: &mut State,
        config: &'a Config,
    ) -> BTreeMap<&'a RegistryName, Arc<Credential>> {
        let mut credentials = BTreeMap::new();
        for (name, registry) in &config.registries {
            if config.owner(name) == name {
                credentials.insert(name, self.credential(state, name, registry).await);
            }
        }
        credentials
    }

    fn build_routes(
        &self,
        state: &State,
        config: &Config,
        credentials: &BTreeMap<&RegistryName, Arc<Credential>>,
    ) -> Result<RegistryRoutes, ErrorBody> {
        let mut registries = BTreeMap::new();
        for (name, registry) in &config.registries {
            let Some(credential) = credentials.get(config.owner(name)) else {
                continue;
            };
            let previous = state.registries.get(name);
            let (upstream, trouble) = self.upstream_or_fallback(name, registry, previous)?;
            let route = RegistryRoute {
                name: name.clone(),
                registry: registry.clone(),
                credential: registry_credential(previous, registry, credential),
                upstream: Arc::new(upstream.with_rotations(credential.rotations())),
                trouble,
                usage: previous.map_or_else(Arc::default, |route| Arc::clone(&route.usage)),
            };
            registries.insert(name.clone(), Arc::new(route));
        }
        Ok(registries)
    }

    /// A registry's own credential: the present one if its source is unchanged, otherwise a new one.
    async fn credential(&self, state: &mut State, name: &RegistryName, registry: &Registry) -> Arc<Credential> {
        let previous = state.registries.get(name);
        let previous = previous.filter(|route| route.registry.source == registry.source);
        let previous = previous.map(|route| Arc::clone(&route.credential.shared));
        if let Some(source) = TokenSource::of(&registry.source) {
            let known = state.journal.sourced.get(name).map(KnownGeneration::from);
            return previous
                .unwrap_or_else(|| Credential::refreshing(name.clone(), source, None, known, &self.refreshers));
        }
        let credential = previous.unwrap_or_else(Credential::fixed);
        if credential.state().value().is_none() {
            let loaded = match &registry.source {
                Source::Environment(variable) => self.read_environment(variable),
                _ => self.read_stored(state, name).await,
            };
            credential.rotate(loaded).await;
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
    pub(in crate::control) async fn read_stored(&self, state: &mut State, name: &RegistryName) -> CredentialState {
        match self.store().thread.read(&Item::Credential(name.clone())).await {
            Ok(Some(secret)) => {
                let interrupted = state.journal.rotations.contains_key(name);
                let record = state
                    .journal
                    .settle_rotation(name, &secret)
                    .unwrap_or_else(JournalEntry::first);
                if interrupted && let Err(error) = self.write_journal(&state.journal) {
                    tracing::warn!(
                        registry = %name,
                        error = error.message,
                        "could not record an interrupted rotation; the next start tries again"
                    );
                }
                record.value(secret).into()
            }
            Ok(None) => CredentialState::Missing("the store has no token for it".to_owned()),
            Err(error) => Self::unread(state, name, error),
        }
    }

    /// State of a token that the store did not give. An item that is unusable says nothing about the others.
    fn unread(state: &mut State, name: &RegistryName, error: StoreError) -> CredentialState {
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
        let upstream = Upstream::new(&self.proxy.dialer, Trust::nobody(), self.workers + 1);
        upstream.map_err(|error| ErrorBody::new(ErrorKind::Failed, error.to_string()))
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
