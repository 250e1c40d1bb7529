//! Bindings of stored tokens: each configuration is cut down to what its tokens were given for before it goes into service.
//!
//! The record of a binding is beside the token in the store, and holds no secret. A token that an older release stored has
//! none; it is bound once, to the configuration of the first start, or a person confirms it. Tokens that regauth does not
//! store have no binding. [`crate::policy::binding`] compares.

mod comparison;
mod older_release;

use std::collections::BTreeMap;

use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};

use crate::config::Config;
use crate::config::serialize::source_record;
use crate::control::controller::Controller;
use crate::control::state::apply::Applied;
use crate::control::state::{State, StateGuard};
use crate::credential::CredentialState;
use crate::credential::store::{Item, StoreError};
use crate::policy::binding::{Binding, Wider};
use crate::proxy::routes::Unconfirmed;

pub(in crate::control) use comparison::owner_in_service;
pub(crate) use comparison::token_use;
use comparison::{Comparison, binding_of, compare, restrict};

/// Configuration as far as it may be served.
#[derive(Debug)]
pub(super) struct BoundConfig {
    /// Registries as they are served.
    pub(super) served: Config,
    /// Registries whose configuration says more.
    pub(super) unconfirmed: BTreeMap<RegistryName, Unconfirmed>,
    /// Stored tokens, by the registry that owns them.
    pub(super) tokens: BTreeMap<RegistryName, StoredToken>,
}

/// A stored token and its binding, as far as they are known.
#[derive(Debug)]
pub(super) enum StoredToken {
    /// The binding was known before.
    Bound,
    /// The binding was read now. Routes so far were not cut down to it, so they must not get the token.
    NewlyBound,
    /// The store has no token.
    Absent,
    /// The store has the token and no binding.
    Unrecorded,
    /// The store could not be read.
    Unread(CredentialState),
}

impl StoredToken {
    /// False if routes must do without the token.
    pub(super) fn is_readable(&self) -> bool {
        matches!(self, Self::Bound | Self::NewlyBound | Self::Absent)
    }
}

impl BoundConfig {
    /// True if the stored secret is not for the registry's own source.
    pub(super) fn withholds_secret(&self, owner: &RegistryName) -> bool {
        let is_other_source = |change: &Wider| matches!(change, Wider::Source(_));
        let unconfirmed = self.unconfirmed.get(owner);
        unconfirmed.is_some_and(|unconfirmed| unconfirmed.changes.iter().any(is_other_source))
    }

    /// State of a credential without a value, for a registry that gets no token.
    pub(super) fn placeholder(&self, name: &RegistryName) -> Option<CredentialState> {
        if let Some(unconfirmed) = self.unconfirmed.get(name).filter(|unconfirmed| unconfirmed.is_withheld) {
            return Some(CredentialState::Missing(unconfirmed.message(name)));
        }
        match self.tokens.get(self.served.owner(name))? {
            StoredToken::Unread(state) => Some(state.clone()),
            _ => None,
        }
    }
}

impl Controller {
    /// Cuts a configuration down to what its stored tokens were given for. The lock is released for the store.
    pub(super) async fn bind_config(&self, state: &mut StateGuard<'_>, config: &Config) -> BoundConfig {
        let mut tokens = BTreeMap::new();
        for (name, registry) in &config.registries {
            if registry.source.is_stored() {
                let token = self.load_binding(state, name).await;
                tokens.insert(name.clone(), token);
            }
        }
        let mut bound = BoundConfig {
            served: config.clone(),
            unconfirmed: BTreeMap::new(),
            tokens,
        };
        for (name, configured) in &config.registries {
            let Some(comparison) = compare(state, config, &bound.tokens, name) else {
                continue;
            };
            let Comparison {
                compared,
                changes,
                served,
            } = comparison;
            let is_withheld = served.is_none();
            if let (Some(token_use), Some(registry)) = (served, bound.served.registries.get_mut(name)) {
                restrict(registry, token_use);
            }
            if !changes.is_empty() {
                let unconfirmed = Unconfirmed {
                    configured: configured.clone(),
                    compared,
                    changes,
                    is_withheld,
                };
                bound.unconfirmed.insert(name.clone(), unconfirmed);
            }
        }
        bound
    }

    /// Reads the binding of a stored token, unless it is known.
    async fn load_binding(&self, state: &mut StateGuard<'_>, name: &RegistryName) -> StoredToken {
        if state.bindings.contains_key(name) {
            return StoredToken::Bound;
        }
        let store = self.store();
        let record = match state.unlocked(store.thread.read(&Item::Binding(name.clone()))).await {
            Ok(record) => record.map(|record| Binding::from_record(record.expose())),
            Err(StoreError::Unusable(_)) => None,
            Err(error) => return StoredToken::Unread(Self::unread(state, name, error)),
        };
        match record {
            Some(Ok(binding)) => {
                state.bindings.insert(name.clone(), binding);
                return StoredToken::NewlyBound;
            }
            Some(Err(error)) => tracing::warn!(registry = %name, %error, "could not read a binding"),
            None => {}
        }
        match state.unlocked(store.thread.read(&Item::Credential(name.clone()))).await {
            Ok(None) => StoredToken::Absent,
            Ok(Some(_)) => self.bind_token_of_older_release(state, name).await,
            // The item is no token, so there is none to bind.
            Err(StoreError::Unusable(_)) => StoredToken::Absent,
            Err(error) => StoredToken::Unread(Self::unread(state, name, error)),
        }
    }

    /// Writes a token's binding to the store, and uses it from the next routes on.
    ///
    /// # Errors
    /// Those of the store; the binding in use stays.
    pub(in crate::control) async fn record_binding(
        &self,
        state: &mut StateGuard<'_>,
        name: &RegistryName,
        binding: Binding,
    ) -> Result<(), ErrorBody> {
        let record = Secret::parse(&binding.to_record()).map_err(|_| {
            let message =
                format!("`{name}` has too many scopes to record what its token is for; use fewer and wider ones");
            ErrorBody::new(ErrorKind::Invalid, message)
        })?;
        let (store, item) = (self.store(), Item::Binding(name.clone()));
        state.unlocked(store.thread.write(&item, &record)).await?;
        state.bindings.insert(name.clone(), binding);
        if state.journal.unbound.remove(name)
            && let Err(error) = self.write_journal(&state.journal).await
        {
            tracing::warn!(registry = %name, error = error.message, "could not record that a token was bound");
        }
        Ok(())
    }

    /// Binds a token that was given just now, unless its binding is known: a rotation keeps it. Returns true if the
    /// configuration must be applied again.
    ///
    /// # Errors
    /// Those of the store.
    pub(in crate::control) async fn bind_new_token(
        &self,
        state: &mut StateGuard<'_>,
        owner: &RegistryName,
    ) -> Result<bool, ErrorBody> {
        let route = state.registry(owner)?;
        let source = source_record(&route.registry.source);
        if state
            .bindings
            .get(owner)
            .is_some_and(|binding| binding.source == source)
        {
            return Ok(false);
        }
        let binding = self.binding_in_service(state, owner)?;
        self.record_binding(state, owner, binding).await?;
        Ok(true)
    }

    /// Binding of a token to all that the configuration in service says.
    ///
    /// # Errors
    /// `not-found` if the registry was removed.
    pub(in crate::control) fn binding_in_service(
        &self,
        state: &State,
        owner: &RegistryName,
    ) -> Result<Binding, ErrorBody> {
        let binding = binding_of(&self.config_in_service(state), owner);
        binding.ok_or_else(|| ErrorBody::new(ErrorKind::NotFound, format!("`{owner}` was removed meanwhile")))
    }

    /// Puts the configuration in service again, after a binding has changed.
    ///
    /// # Errors
    /// As [`Controller::apply_config`].
    pub(in crate::control) async fn apply_again(&self, state: &mut StateGuard<'_>) -> Result<(), ErrorBody> {
        // Again after each removal of a registry meanwhile; there are not endlessly many.
        loop {
            let config = self.config_in_service(state);
            if self.apply_config(state, &config).await? == Applied::Published {
                return Ok(());
            }
        }
    }

    /// Note about changes of a registry that nobody has confirmed.
    pub(in crate::control) fn unconfirmed_note(&self, name: &RegistryName) -> Option<String> {
        let route = self.snapshot().registry(name).ok()?;
        let unconfirmed = route.unconfirmed.as_ref()?;
        Some(unconfirmed.message(name))
    }

    /// Drops the use of a shared token by a registry that is removed.
    pub(in crate::control) async fn narrow_binding(
        &self,
        state: &mut StateGuard<'_>,
        owner: &RegistryName,
        removed: &RegistryName,
    ) {
        let Some(mut binding) = state.bindings.get(owner).cloned() else {
            return;
        };
        if binding.uses.remove(removed).is_none() {
            return;
        }
        if let Err(error) = self.record_binding(state, owner, binding).await {
            tracing::warn!(registry = %owner, error = error.message, "could not record that a token has one use less");
        }
    }
}
