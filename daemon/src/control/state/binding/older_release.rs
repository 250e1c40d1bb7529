//! Tokens that a release without bindings has stored: each is bound once, or a person confirms it.

use regauth_shared::RegistryName;

use super::StoredToken;
use super::comparison::binding_of;
use crate::config::Config;
use crate::control::controller::Controller;
use crate::control::state::{State, StateGuard};
use crate::credential::store::StoreKind;

impl Controller {
    /// Notes what the tokens of an older release are for: all that the configuration of the start says. Their store may
    /// open later, after a change of the configuration.
    pub(in crate::control) fn note_tokens_of_older_release(state: &mut State, config: &Config) {
        let unbound = state.journal.unbound.iter();
        let bindings = unbound.filter_map(|name| Some((name.clone(), binding_of(config, name)?)));
        state.of_older_release = bindings.collect();
    }

    /// Leaves the tokens of an older release in a vault that is still locked after the start to `confirm`. Nobody but the
    /// person can read it, but a program of the user may have changed the configuration and the journal. A keychain opens
    /// later, too, and protects from no such program.
    pub(in crate::control) fn forget_tokens_of_older_release(&self, state: &mut State) {
        if self.store().kind == StoreKind::Vault {
            state.of_older_release.clear();
        }
    }

    /// Binds a token without a record if an older release has stored it.
    pub(super) async fn bind_token_of_older_release(
        &self,
        state: &mut StateGuard<'_>,
        name: &RegistryName,
    ) -> StoredToken {
        let noted = state.of_older_release.get(name).cloned();
        let Some(binding) = noted.filter(|_| state.journal.unbound.contains(name)) else {
            return StoredToken::Unrecorded;
        };
        let written = self.record_binding(state, name, binding.clone()).await;
        state.bindings.insert(name.clone(), binding);
        match written {
            Ok(()) => tracing::info!(
                registry = %name,
                "bound the token of an older release to what the configuration said at the start; `regauthctl show {name}` shows it"
            ),
            // The next start tries again.
            Err(error) => tracing::warn!(registry = %name, error = error.message, "could not record a binding"),
        }
        StoredToken::NewlyBound
    }

    /// Records of older releases that bind nothing: the configuration has no such token. The caller writes the journal.
    pub(in crate::control) fn forget_unbound(state: &mut State) -> bool {
        let before = state.journal.unbound.len();
        let registries = &state.registries;
        let is_stored = |name: &RegistryName| {
            registries
                .get(name)
                .is_some_and(|route| route.registry.source.is_stored())
        };
        state.journal.unbound.retain(is_stored);
        state.journal.unbound.len() != before
    }
}
