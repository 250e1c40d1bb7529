//! Answers about a registry's token: rotated, verified, compared.

use serde::{Deserialize, Serialize};

use crate::name::RegistryName;

/// Answer to `rotate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rotated {
    /// Name of the registry.
    pub name: RegistryName,
    /// Generation that new requests use.
    pub generation: u64,
    /// True if the daemon asked the registry and it accepted the token.
    pub verified: bool,
    /// True if the probed page answers every client alike, so that its answer proves nothing about the token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// Notes for the person, such as the token's source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Answer to `device-login` (RFC 8628, section 3.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeviceLogin {
    /// Name of the registry.
    pub name: RegistryName,
    /// Code that the person enters.
    pub user_code: String,
    /// Page that asks for the code.
    pub verification_url: String,
    /// Page for the person, with the code in its URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complete_url: Option<String>,
    /// Seconds until the code ends.
    pub expires_in: u64,
    /// Seconds until the first `device-login-poll`.
    pub interval: u64,
}

/// Answer to `device-login-poll`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct DeviceLoginState {
    /// Name of the registry.
    pub name: RegistryName,
    /// Seconds until the next `device-login-poll`; absent once the person is logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interval: Option<u64>,
    /// The first token, once the person is logged in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotated: Option<Rotated>,
}

/// Answer to `logout`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LoggedOut {
    /// Name of the registry.
    pub name: RegistryName,
    /// Notes for the person, such as other registries that used the token.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Answer to `verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// One verdict per registry.
    pub registries: Vec<Verdict>,
}

/// Verdict of a registry on its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// Name of the registry.
    pub name: RegistryName,
    /// Result of the probe.
    pub result: VerdictResult,
    /// Probe and answer, in one sentence.
    pub detail: String,
    /// Stable name of the reason why the registry gave no answer, such as `certificate-expired` or `refused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// Next step for the person, if the registry gave no answer or the store no token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Result of a probe with a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum VerdictResult {
    /// The registry accepted the token.
    Accepted,
    /// The registry rejected the token.
    Rejected,
    /// The registry did not answer, or its answer proves nothing.
    Unclear,
    /// The registry answers every client, so its answer proves nothing about the token.
    Public,
    /// The registry redirects every client or has no page there, so its answer proves nothing about the token.
    Inconclusive,
    /// No token to probe with: the store is locked or does not have it.
    NoToken,
    /// A result that only a newer daemon knows.
    #[serde(other)]
    Unknown,
}

/// Answer to `holds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TokenComparison {
    /// Name of the registry.
    pub name: RegistryName,
    /// True if both tokens are equal; absent if the registry has no token in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same: Option<bool>,
}
