//! Answers about registries and the state of their credentials.

use serde::{Deserialize, Serialize};

use crate::name::RegistryName;

/// Answer to `add-registry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryAdded {
    /// Registry as added.
    pub registry: RegistryView,
    /// True if the daemon asked the registry and it accepted the token.
    pub verified: bool,
    /// True if the probed page answers every client alike, so that its answer proves nothing about the token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// Notes for the person, such as locations on other hosts that the registry does not cover.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// URLs that the index names on its own host and that the registry does not cover, if the request asked for offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub offered: Vec<OfferedLocation>,
    /// Path of the bundle that clients must trust.
    pub bundle: String,
    /// Proxy URL for clients.
    pub proxy: String,
}

/// URL that an index names and that gets no token unless a person agrees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct OfferedLocation {
    /// Scope that would cover it.
    pub url: String,
    /// Stable name of its use: `downloads` or `api`.
    pub purpose: String,
}

impl OfferedLocation {
    /// Note for the person about a location that gets no token.
    pub fn note(&self, name: &RegistryName) -> String {
        let Self { url, purpose } = self;
        format!("{url} ({purpose}) does not get the token; if it needs it: `regauthctl add-scope {name} {url}`")
    }
}

/// Answer to `check-registry`: what the registry says to a client without a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryChecked {
    /// URL that was requested.
    pub url: String,
    /// Status of the answer; missing if there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Authentication schemes of the answer's challenges, in lower case, such as `basic`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<String>,
    /// Token service of a container registry that would get the token: on the registry's own host, outside of its scopes, and not
    /// named by the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_service: Option<String>,
    /// Reason why no token for this registry would work at this URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<RegistryProblem>,
}

/// Reason why a registry cannot be used as described.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryProblem {
    /// Stable name of the reason, such as `certificate-untrusted` or `no-index`.
    pub cause: String,
    /// Description of the reason.
    pub message: String,
    /// Next step for the person.
    pub hint: String,
}

/// Answer to `remove-registry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryRemoved {
    /// Name of the removed registry.
    pub name: RegistryName,
    /// Notes for the person, such as a secret that could not be deleted yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Answer to `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryList {
    /// All registries, sorted by name.
    pub registries: Vec<RegistryView>,
}

/// One registry: its configuration and its present state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryView {
    /// Name.
    pub name: RegistryName,
    /// Kind: one of [`KINDS`](crate::kind::KINDS).
    pub kind: String,
    /// Index URL, as in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Scopes that get the credential.
    pub scopes: Vec<String>,
    /// Credential scheme.
    pub scheme: String,
    /// User name of the `basic` scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Token source.
    pub source: String,
    /// Registry whose credential this one shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_of: Option<RegistryName>,
    /// Token service of a container registry, which gets the credential in place of the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_service: Option<String>,
    /// Write policy as configured: `allow` or `deny`.
    pub writes: String,
    /// Time at which writes opened by `allow` close again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_open_until: Option<String>,
    /// Programs that may use the registry; an empty list stands for every program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<String>,
    /// Statuses with which the registry rejects a token. An older daemon sends none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected_by: Vec<u16>,
    /// Path of the PEM file with extra roots for this registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// State of the credential.
    pub credential: CredentialView,
    /// Time of the last request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
    /// Status code of the registry's last answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    /// Requests that carried the credential since the daemon started.
    pub requests: u64,
    /// Requests without a credential, because they were outside of every scope, that a host of the registry answered with
    /// 401, 403 or 404.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub refused_outside: u64,
    /// Scope that would cover those requests and one of the registry's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wider_scope: Option<String>,
    /// Time of the last answer that was neither a denial nor an error of the registry's own, since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_worked: Option<String>,
    /// Failure of the last request or verification, until the registry answers again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<RequestFailure>,
    /// Last failure that is over: the registry has answered since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub past_failure: Option<RequestFailure>,
    /// Fault of the registry's certificate files, if any. Until it is fixed, the daemon sends nothing to the registry
    /// or uses the certificates that it read before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Uses that the configuration adds to the binding of the stored token. They are not in service until `confirm`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<String>,
}

/// Reason why a registry gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RequestFailure {
    /// Stable name of the reason, such as `certificate-expired` or `refused`.
    pub cause: String,
    /// Description of the reason.
    pub message: String,
    /// Next step for the person.
    pub hint: String,
    /// Time of the failure.
    pub at: String,
}

/// Credential without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CredentialView {
    /// State, which decides if requests can be served.
    pub state: CredentialState,
    /// Generation number: counts up at every rotation, 0 without a credential.
    pub generation: u64,
    /// True if the registry has accepted requests with this generation.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub accepted: bool,
    /// Time at which this generation was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Time of expiry, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Time at which the daemon asks the source for the next token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<String>,
    /// Last failure of the source, until it succeeds again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<SourceFailure>,
    /// Reason why there is no token, for the states `missing`, `locked` and `unreadable`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Failure of a source that gave no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceFailure {
    /// Description of the failure.
    pub message: String,
    /// End of the program's standard error, secrets removed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Next step for the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Time of the failure.
    pub at: String,
}

/// State of a registry's credential: whether its requests can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CredentialState {
    /// In memory and not known to be bad.
    Ready,
    /// Rejected: the registry answered 401 to this generation.
    Rejected,
    /// Expired, and the source has given no other token.
    Expired,
    /// In the store, which is locked.
    Locked,
    /// In the store, which cannot be read: it is damaged or not available.
    Unreadable,
    /// Neither in the store nor given by the source.
    Missing,
    /// A state that only a newer daemon knows.
    #[serde(other)]
    Unknown,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
