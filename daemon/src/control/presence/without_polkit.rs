//! Systems without polkit: nobody can be asked. LocalAuthentication of macOS is not used yet.

use std::sync::Arc;

use arc_swap::ArcSwap;
use regauth_shared::Request;
use regauth_shared::presence::Action;

use crate::config::PresenceMode;
use crate::control::controller::Controller;
use crate::control::server::Peer;

/// Configured mode, and nobody to ask.
#[derive(Debug)]
pub(crate) struct Confirmation(ArcSwap<PresenceMode>);

/// Reason for a missing confirmation, as a clause.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("nobody could be asked: this system has no polkit")]
pub(super) struct NotConfirmed;

impl Confirmation {
    /// The configured mode.
    pub(crate) fn new(mode: PresenceMode) -> Self {
        Self(ArcSwap::from_pointee(mode))
    }

    /// Configured mode in service.
    pub(crate) fn mode(&self) -> PresenceMode {
        **self.0.load()
    }

    /// Replaces the configured mode.
    pub(crate) fn set_mode(&self, mode: PresenceMode) {
        self.0.store(Arc::new(mode));
    }

    /// False: nobody can be asked.
    pub(super) fn can_ask() -> bool {
        false
    }

    /// Asks nobody.
    ///
    /// # Errors
    /// [`NotConfirmed`].
    pub(super) async fn ask(
        &self,
        _: &Controller,
        _: &Peer,
        _: Action,
        _: Option<&Request>,
    ) -> Result<(), NotConfirmed> {
        Err(NotConfirmed)
    }
}

impl NotConfirmed {
    /// True: nobody can be asked.
    pub(super) fn is_impossible(self) -> bool {
        true
    }

    /// Next step of the person.
    pub(super) fn next_step(self, is_guarded: bool) -> String {
        match is_guarded {
            true => "repeat the same command with sudo".to_owned(),
            false => "set presence = \"auto\" in config.toml and restart regauthd".to_owned(),
        }
    }
}
