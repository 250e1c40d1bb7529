//! What is configured becomes what is in service: each registry with its credential, its way out and its authority.

use std::collections::BTreeMap;
use std::sync::Arc;

use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::state::State;
use crate::credential::fingerprint::KnownGeneration;
use crate::credential::source::TokenSource;
use crate::credential::store::Item;
use crate::credential::{Credential, CredentialState, RegistryCredential};
use crate::journal::JournalEntry;
use crate::proxy::routes::RegistryRoute as Service;
use crate::proxy::upstream::{Trust, Upstream};
use crate::registry::{Registry, Source};

impl Controller {
    /// Makes the books say what the configuration says: new registries come in, gone ones leave, changed ones keep
    /// their credential.
    pub(crate) async fn apply_config(&self, books: &mut State, config: &Config) -> Result<(), ErrorBody> {
        let mut credentials = BTreeMap::new();
        for (name, registry) in &config.registries {
            if config.owner(name) == name {
                credentials.insert(name, self.credential(books, name, registry).await);
            }
        }
        let mut services = BTreeMap::new();
        for (name, registry) in &config.registries {
            let Some(credential) = credentials.get(config.owner(name)) else {
                continue;
            };
            let previous = books.services.get(name);
            let (upstream, trouble) = self.upstream_as_it_may(name, registry, previous)?;
            let service = Service {
                name: name.clone(),
                registry: registry.clone(),
                credential: registry_credential(previous, registry, credential),
                upstream: Arc::new(upstream.with_rotations(credential.rotations())),
                trouble,
                usage: previous.map_or_else(Arc::default, |service| Arc::clone(&service.usage)),
            };
            services.insert(name.clone(), Arc::new(service));
        }
        let before = std::mem::replace(&mut books.services, services);
        if let Err(error) = self.ensure_authorities(books).await {
            books.services = before;
            return Err(error);
        }
        self.publish(books);
        self.write_bundle(books)
    }

    /// A registry's own credential: the one from before if its source is the same, or another.
    async fn credential(&self, books: &mut State, name: &RegistryName, registry: &Registry) -> Arc<Credential> {
        let previous = books.services.get(name);
        let previous = previous.filter(|service| service.registry.source == registry.source);
        let previous = previous.map(|service| Arc::clone(&service.credential.shared));
        if let Some(source) = TokenSource::of(&registry.source) {
            let known = books.ledger.sourced.get(name).map(KnownGeneration::from);
            return previous.unwrap_or_else(|| Credential::refreshing(source, None, known, &self.refreshers));
        }
        let credential = previous.unwrap_or_else(Credential::fixed);
        if credential.state().value().is_none() {
            let state = match &registry.source {
                Source::Environment(variable) => self.in_environment(variable),
                _ => self.stored(books, name).await,
            };
            credential.rotate(state).await;
        }
        credential
    }

    fn in_environment(&self, variable: &str) -> CredentialState {
        match self.environment.secret(variable) {
            Ok(secret) => JournalEntry::first().value(secret).into(),
            Err(absent) => CredentialState::Missing(absent.to_string()),
        }
    }

    pub(in crate::control) async fn stored(&self, books: &mut State, name: &RegistryName) -> CredentialState {
        match self.store().thread.read(&Item::Credential(name.clone())).await {
            Ok(Some(secret)) => {
                let interrupted = books.ledger.rotations.contains_key(name);
                let record = books
                    .ledger
                    .settle_rotation(name, &secret)
                    .unwrap_or_else(JournalEntry::first);
                if interrupted && let Err(error) = self.write_ledger(&books.ledger) {
                    tracing::warn!(error = error.message, "noted at the next start");
                }
                record.value(secret).into()
            }
            Ok(None) => CredentialState::Missing("the store has no token for it".to_owned()),
            Err(error) => {
                tracing::warn!(registry = %name, %error, "its token cannot be read");
                books.store_trouble = Some(error);
                CredentialState::Locked
            }
        }
    }

    /// The way out for a configured registry. One whose certificates cannot be read keeps nothing else from working: it
    /// goes on with those that were read before, or is refused, and says so.
    fn upstream_as_it_may(
        &self,
        name: &RegistryName,
        registry: &Registry,
        previous: Option<&Arc<Service>>,
    ) -> Result<(Arc<Upstream>, Option<String>), ErrorBody> {
        let error = match self.upstream(name, registry) {
            Ok(upstream) => return Ok((Arc::new(upstream), None)),
            Err(error) => error,
        };
        let same = |service: &&Arc<Service>| {
            let before = &service.registry;
            (&before.ca_file, &before.client_identity) == (&registry.ca_file, &registry.client_identity)
        };
        let upstream = match previous.filter(same) {
            Some(service) => Arc::clone(&service.upstream),
            None => Arc::new(self.no_upstream()?),
        };
        tracing::warn!(registry = %name, "{}", error.message);
        Ok((upstream, Some(error.message)))
    }

    /// A way out that trusts nobody: every request is refused as `upstream-untrusted`.
    fn no_upstream(&self) -> Result<Upstream, ErrorBody> {
        let upstream = Upstream::new(&self.plane.dialer, Trust::nobody(), self.workers + 1);
        upstream.map_err(|error| ErrorBody::new(ErrorKind::Failed, error.to_string()))
    }

    /// The verified way out for a registry.
    pub(crate) fn upstream(&self, name: &RegistryName, registry: &Registry) -> Result<Upstream, ErrorBody> {
        Trust::new(
            &self.system_roots.load(),
            registry.ca_file.as_deref(),
            registry.client_identity.clone(),
        )
        .and_then(|trust| Upstream::new(&self.plane.dialer, trust, self.workers + 1))
        .map_err(|error| {
            ErrorBody::new(ErrorKind::Invalid, format!("registry `{name}`: {error}"))
                .hint("ca-file is a PEM file with the certificate of the authority that signed the registry's")
        })
    }
}

/// The one from before, so that the circuit breaker stays, unless its credential or scheme is another.
fn registry_credential(
    previous: Option<&Arc<Service>>,
    registry: &Registry,
    credential: &Arc<Credential>,
) -> Arc<RegistryCredential> {
    let previous = previous.map(|previous| &previous.credential);
    match previous.filter(|previous| previous.fits(credential, &registry.scheme)) {
        Some(previous) => Arc::clone(previous),
        None => credential.attach(registry.scheme.clone()),
    }
}
