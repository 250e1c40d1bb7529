//! Request for the counters of the data path.

use serde::{Deserialize, Serialize};

use crate::name::RegistryName;

/// Fields of `traffic`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TrafficOf {
    /// Registry whose latest requests the answer lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_of_registry: Option<RegistryName>,
    /// Client whose latest requests the answer lists, by its `id` in an earlier answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latest_of_client: Option<u64>,
}
