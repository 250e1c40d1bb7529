//! A change that sends a stored token to more places than it was given for: what it adds, and the permission for it.
//!
//! A verb computes the [`Widening`] without a lock on anything slow, has it permitted, and records it under the change's
//! lock ([`Widening::record`]) before it applies the configuration. What is recorded is the change's own addition: an
//! older change that nobody has confirmed stays out of service.

use std::collections::BTreeMap;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Secret};

use crate::config::serialize::source_record;
use crate::control::controller::Controller;
use crate::control::presence::{self, Presence};
use crate::control::state::binding::{owner_in_service, token_use};
use crate::control::state::{State, StateGuard};
use crate::credential::store::Item;
use crate::policy::binding::{Binding, TokenUse, Wider};
use crate::registry::{Registry, Source};

/// Uses that a change of one registry adds to the binding of the stored token that it sends.
#[derive(Debug)]
pub(super) struct Widening {
    /// Registry that is changed.
    name: RegistryName,
    /// Registry that owns the token.
    owner: RegistryName,
    before: Option<TokenUse>,
    after: TokenUse,
    /// Uses that the binding does not have.
    changes: Vec<Wider>,
}

impl Widening {
    /// Compares a registry before and after a change; `None` if the token is not a stored one, or nothing is new.
    ///
    /// A token whose binding is not known is not sent, so its configuration may change.
    pub(super) fn of(state: &State, name: &RegistryName, before: Option<&Registry>, after: &Registry) -> Option<Self> {
        let owner = match &after.source {
            Source::Of(owner) => owner_in_service(state, owner),
            // A new registry has a token of its own.
            _ if before.is_none() => return None,
            _ => name.clone(),
        };
        let binding = state.bindings.get(&owner)?;
        let (before, after) = (before.map(token_use), token_use(after));
        let known = before.as_ref().map(|before| binding.wider(name, before));
        let is_new = |change: &Wider| known.as_ref().is_none_or(|known| !known.contains(change));
        let changes: Vec<Wider> = binding.wider(name, &after).into_iter().filter(is_new).collect();
        (!changes.is_empty()).then(|| Self {
            name: name.clone(),
            owner,
            before,
            after,
            changes,
        })
    }

    /// All that the configuration of a registry in service adds, for `confirm`; `None` if nothing is new. It is what was
    /// compared: the file of the certificates may be another by now.
    pub(super) fn unconfirmed(state: &State, name: &RegistryName) -> Option<Self> {
        let route = state.registries.get(name)?;
        let unconfirmed = route.unconfirmed.as_ref()?;
        Some(Self {
            name: name.clone(),
            owner: owner_in_service(state, name),
            before: None,
            after: unconfirmed.compared.clone(),
            changes: unconfirmed.changes.clone(),
        })
    }

    /// The added uses as texts for a person.
    pub(super) fn changes(&self) -> Vec<String> {
        self.changes.iter().map(ToString::to_string).collect()
    }

    /// Permits the change if a person is there, or `proof` is the token itself.
    ///
    /// # Errors
    /// `presence-needed` without the token, `refused` for another one, and those of the store.
    pub(super) async fn permit(
        &self,
        controller: &Controller,
        presence: Presence,
        proof: Option<&Secret>,
    ) -> Result<(), ErrorBody> {
        let Presence::Unknown { user } = presence else {
            return Ok(());
        };
        if self.is_login(controller) {
            return Err(self.needs_another_login());
        }
        let Some(proof) = proof else {
            return Err(self.needs_token());
        };
        let is_wrong = |compared: &Result<bool, ErrorBody>| matches!(compared, Ok(false));
        let is_token = controller
            .state
            .guess(self.is_token(controller, proof), is_wrong)
            .await?;
        presence::announce_token(controller, user, &self.name, is_token);
        if is_token {
            return Ok(());
        }
        let message = format!("this is not the present token of `{}`", self.owner);
        Err(ErrorBody::new(ErrorKind::Refused, message).hint(format!(
            "nothing was changed; give the token that {} has now, or replace it first: `regauthctl login {}`",
            self.owner, self.owner
        )))
    }

    fn needs_token(&self) -> ErrorBody {
        let message = format!(
            "this change goes beyond what the token of `{}` was given for ({}), so it needs that token again",
            self.owner,
            self.changes().join("; ")
        );
        ErrorBody::new(ErrorKind::PresenceNeeded, message).hint(
            "nothing was changed; repeat it at a terminal, which asks for the token, or pipe the token in with --token-stdin",
        )
    }

    fn is_login(&self, controller: &Controller) -> bool {
        let owner = controller.snapshot().registry(&self.owner);
        owner.is_ok_and(|owner| owner.configured().source.needs_login())
    }

    /// A login has no token that a person could type.
    fn needs_another_login(&self) -> ErrorBody {
        let owner = &self.owner;
        let message = format!(
            "this change goes beyond what the login of `{owner}` was made for ({})",
            self.changes().join("; ")
        );
        ErrorBody::new(ErrorKind::Refused, message).hint(format!(
            "nothing was changed; `regauthctl remove-registry {owner}`, add it again as it is to be, and log in"
        ))
    }

    /// Compares in constant time. A token that is withheld is only in the store.
    async fn is_token(&self, controller: &Controller, proof: &Secret) -> Result<bool, ErrorBody> {
        let route = controller.snapshot().registry(&self.owner)?;
        let state = route.credential.shared.state();
        let present = match state.value() {
            Some(value) => Some(value.secret.clone()),
            None => {
                let item = Item::Credential(self.owner.clone());
                controller.store().thread.read(&item).await?
            }
        };
        let is_same =
            |present: Secret| verify_slices_are_equal(present.expose().as_bytes(), proof.expose().as_bytes()).is_ok();
        Ok(present.is_some_and(is_same))
    }

    /// Refuses a change whose additions are not among those that were permitted.
    ///
    /// # Errors
    /// `failed` if something else was changed meanwhile.
    pub(super) fn refuse_beyond(&self, permitted: Option<&Self>) -> Result<(), ErrorBody> {
        let is_permitted = |change| permitted.is_some_and(|permitted| permitted.changes.contains(change));
        if self.changes.iter().all(is_permitted) {
            return Ok(());
        }
        let message = format!("`{}` was changed meanwhile", self.name);
        Err(ErrorBody::new(ErrorKind::Failed, message).hint("nothing was changed; repeat the command"))
    }

    /// Records that the token was given for this too.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn record(&self, controller: &Controller, state: &mut StateGuard<'_>) -> Result<(), ErrorBody> {
        let source = source_record(&state.registry(&self.owner)?.configured().source);
        let known = state
            .bindings
            .get(&self.owner)
            .cloned()
            .filter(|binding| binding.source == source);
        let mut binding = known.unwrap_or_else(|| Binding {
            source,
            uses: BTreeMap::new(),
        });
        binding.take_in(&self.name, self.before.as_ref(), &self.after);
        controller.record_binding(state, &self.owner, binding).await
    }

    /// Puts the binding back after a change that failed.
    pub(super) async fn restore(
        &self,
        controller: &Controller,
        state: &mut StateGuard<'_>,
        bindings: &BTreeMap<RegistryName, Binding>,
    ) {
        let Some(before) = bindings.get(&self.owner).cloned() else {
            return;
        };
        state.bindings.insert(self.owner.clone(), before.clone());
        if let Err(error) = controller.record_binding(state, &self.owner, before).await {
            tracing::warn!(registry = %self.owner, error = error.message, "could not undo the change of a binding");
        }
    }
}

/// True if the token that a registry sends was given for all of its configuration, or is not a stored one.
pub(super) fn is_covered(state: &State, name: &RegistryName, registry: &Registry) -> bool {
    let owner = match &registry.source {
        Source::Of(owner) => owner_in_service(state, owner),
        _ => name.clone(),
    };
    match state.bindings.get(&owner) {
        Some(binding) => binding.wider(name, &token_use(registry)).is_empty(),
        None => {
            let owner = state.registries.get(&owner);
            owner.is_some_and(|owner| !owner.configured().source.is_stored())
        }
    }
}
