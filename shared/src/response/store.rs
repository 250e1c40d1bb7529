//! Answers about the store: its state, an unlock, a move.

use serde::{Deserialize, Serialize};

use super::daemon::Problem;

/// Store and its health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreView {
    /// Kind: `keychain`, `vault` or `memory`.
    pub kind: String,
    /// Protection of the secrets, in words.
    pub protection: String,
    /// Sentence about the access of other programs of the daemon's user to the secrets, and a safer choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exposure: Option<String>,
    /// State: `open`, `locked` or `unavailable`.
    pub state: String,
    /// Reason why it is not open, and the next step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<Problem>,
}

/// Answer to `unlock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unlocked {
    /// Store after the unlock.
    pub store: StoreView,
    /// Number of registries that can be served.
    pub ready: usize,
}

/// Answer to `store`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreShown {
    /// Store in use.
    pub store: StoreView,
    /// Progress of a move, while one runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<StoreMoving>,
    /// Notes for the person, such as copies that a move could not delete yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Progress of a move between stores.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreMoving {
    /// Kind of the destination.
    pub to: String,
    /// Steps done.
    pub done: u64,
    /// Steps in total: each secret is copied, compared, and deleted from the old store.
    pub of: u64,
}

/// Answer to `store-move`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreMoved {
    /// Kind of the old store.
    pub from: String,
    /// Store in use after the move.
    pub store: StoreView,
    /// Number of moved secrets: tokens, and keys of authorities.
    pub moved: usize,
    /// Notes for the person, such as copies that could not be deleted yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}
