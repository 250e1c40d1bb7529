//! Outcome of an installation of the guarded service.

use regauth_shared::RegistryName;
use serde::Serialize;

use super::account::Account;
use super::proposal::Proposal;
use crate::service::plan::ServiceStep;

/// Report on an installation that was carried out, or would be.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct GuardedOutcome {
    /// `systemd`.
    pub(super) manager: &'static str,
    /// Names of the users.
    pub(crate) users: Vec<String>,
    /// Steps of the installation, in order.
    pub(crate) steps: Vec<ServiceStep>,
    /// Registries that the guarded daemon serves now.
    pub(crate) moved: Vec<MovedRegistry>,
    /// All that was to be taken over, as root has seen it.
    pub(crate) proposal: Proposal,
    /// Registries that were not moved.
    pub(crate) staying: Vec<StayingRegistry>,
    /// Advice for the administrator.
    pub(crate) notes: Vec<String>,
}

impl GuardedOutcome {
    /// Outcome before anything is moved.
    pub(super) fn new(accounts: &[Account], steps: Vec<ServiceStep>, proposal: Proposal) -> Self {
        Self {
            manager: "systemd",
            users: accounts.iter().map(|account| account.name.clone()).collect(),
            steps,
            proposal,
            moved: Vec::new(),
            staying: Vec::new(),
            notes: Vec::new(),
        }
    }
}

/// Registry that was moved.
#[derive(Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct MovedRegistry {
    /// User that had it.
    pub(crate) user: String,
    /// Name of the registry.
    pub(crate) name: RegistryName,
}

/// Registry that stays with its user.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct StayingRegistry {
    /// User that has it.
    pub(crate) user: String,
    /// Name of the registry.
    pub(crate) name: RegistryName,
    /// Reason.
    pub(crate) reason: String,
}

impl StayingRegistry {
    /// The line for a person.
    pub(crate) fn describe(&self) -> String {
        format!("  {} of {} stays: {}\n", self.name, self.user, self.reason)
    }
}
