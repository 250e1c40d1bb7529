//! What is configured becomes what is in service: each registry with its credential, its way out and its authority.

use std::collections::BTreeMap;
use std::sync::Arc;

use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::state::State;
use crate::credential::fingerprint::Known;
use crate::credential::keeper::Keeper;
use crate::credential::shelf::Present;
use crate::credential::slot::Slot;
use crate::credential::source::Origin;
use crate::credential::store::Item;
use crate::journal::JournalEntry;
use crate::proxy::routes::Service;
use crate::proxy::upstream::{Trust, Upstream};
use crate::registry::{Registry, Source};

impl Controller {
    /// Makes the books say what the configuration says: new registries come in, gone ones leave, changed ones keep
    /// their credential.
    pub(crate) async fn apply_config(&self, state: &mut State, config: &Config) -> Result<(), ErrorBody> {
        let mut keepers = BTreeMap::new();
        for (name, registry) in &config.registries {
            if config.owner(name) == name {
                keepers.insert(name, self.keeper(state, name, registry).await);
            }
        }
        let mut registries = BTreeMap::new();
        for (name, registry) in &config.registries {
            let Some(keeper) = keepers.get(config.owner(name)) else {
                continue;
            };
            let previous = state.registries.get(name);
            let (upstream, trouble) = self.upstream_as_it_may(name, registry, previous)?;
            let route = Service {
                name: name.clone(),
                registry: registry.clone(),
                credential: previous
                    .and_then(|previous| slot_to_keep(previous, registry, keeper))
                    .unwrap_or_default(),
                keeper: Arc::clone(keeper),
                upstream,
                trouble,
                usage: previous.map_or_else(Arc::default, |route| Arc::clone(&route.usage)),
            };
            registries.insert(name.clone(), Arc::new(route));
        }
        let before = std::mem::replace(&mut state.registries, registries);
        if let Err(error) = self.ensure_authorities(state).await {
            state.registries = before;
            return Err(error);
        }
        state.share_credentials();
        self.publish(state);
        self.write_bundle(state)
    }

    /// What holds a registry's own credential: what held it before, where its source is the same, or another.
    async fn keeper(&self, state: &mut State, name: &RegistryName, registry: &Registry) -> Arc<Keeper> {
        let previous = state.registries.get(name);
        let previous = previous.filter(|route| route.registry.source == registry.source);
        let previous = previous.map(|route| Arc::clone(&route.keeper));
        if let Some(origin) = Origin::of(&registry.source) {
            let known = state.journal.sourced.get(name).map(Known::from);
            return previous.unwrap_or_else(|| Arc::new(Keeper::renewing(origin, None, known, &self.refreshers)));
        }
        let keeper = previous.unwrap_or_else(|| Arc::new(Keeper::fixed()));
        if keeper.present().value().is_none() {
            let present = match &registry.source {
                Source::Environment(variable) => self.in_environment(variable),
                _ => self.stored(state, name).await,
            };
            keeper.replace(present).await;
        }
        keeper
    }

    fn in_environment(&self, variable: &str) -> Present {
        match self.environment.secret(variable) {
            Ok(secret) => Present::Ready(JournalEntry::first().value(secret)),
            Err(absent) => Present::Missing(absent.to_string()),
        }
    }

    pub(in crate::control) async fn stored(&self, state: &mut State, name: &RegistryName) -> Present {
        match self.store().thread.read(&Item::Credential(name.clone())).await {
            Ok(Some(secret)) => {
                let interrupted = state.journal.rotations.contains_key(name);
                let record = state.journal.settle(name, &secret).unwrap_or_else(JournalEntry::first);
                if interrupted && let Err(error) = self.write_journal(&state.journal) {
                    tracing::warn!(error = error.message, "noted at the next start");
                }
                Present::Ready(record.value(secret))
            }
            Ok(None) => Present::Missing("the store has no token for it".to_owned()),
            Err(error) => {
                tracing::warn!(registry = %name, %error, "its token cannot be read");
                state.store_trouble = Some(error);
                Present::Locked
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
        let same = |route: &&Arc<Service>| {
            let before = &route.registry;
            (&before.ca_file, &before.client_identity) == (&registry.ca_file, &registry.client_identity)
        };
        let upstream = match previous.filter(same) {
            Some(route) => Arc::clone(&route.upstream),
            None => Arc::new(self.no_upstream()?),
        };
        tracing::warn!(registry = %name, "{}", error.message);
        Ok((upstream, Some(error.message)))
    }

    /// A way out that trusts nobody: every request is refused as `upstream-untrusted`.
    fn no_upstream(&self) -> Result<Upstream, ErrorBody> {
        let upstream = Upstream::new(&self.proxy.dialer, Trust::nobody(), self.workers + 1);
        upstream.map_err(|error| ErrorBody::new(ErrorKind::Failed, error.to_string()))
    }

    /// The verified way out for a registry.
    pub(crate) fn upstream(&self, name: &RegistryName, registry: &Registry) -> Result<Upstream, ErrorBody> {
        Trust::new(
            &self.system_roots.load(),
            registry.ca_file.as_deref(),
            registry.client_identity.clone(),
        )
        .and_then(|trust| Upstream::new(&self.proxy.dialer, trust, self.workers + 1))
        .map_err(|error| {
            ErrorBody::new(ErrorKind::Invalid, format!("registry `{name}`: {error}"))
                .hint("ca-file is a PEM file with the certificate of the authority that signed the registry's")
        })
    }
}

/// The same slot, so that what is known of its generation stays known, unless it has to become another.
fn slot_to_keep(previous: &Service, registry: &Registry, keeper: &Arc<Keeper>) -> Option<Arc<Slot>> {
    let same = previous.registry.scheme == registry.scheme && Arc::ptr_eq(&previous.keeper, keeper);
    same.then(|| Arc::clone(&previous.credential))
}
