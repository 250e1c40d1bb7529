//! Answers about access: writes of a registry, grants of clients.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::RegistryName;

/// Answer to `allow` and `deny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WritesChanged {
    /// Name of the registry.
    pub name: RegistryName,
    /// Time at which writes close; absent if they are closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_until: Option<String>,
}

/// Answer to `grant`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Granted {
    /// Grant as created.
    pub grant: GrantView,
    /// Proxy URL for the client. The daemon keeps only a hash and cannot show the URL again.
    pub proxy: GrantUrl,
}

/// Proxy URL with a grant's token: `http://regauth:TOKEN@127.0.0.1:9001`. Redacted in `Debug`.
///
/// ```
/// use regauth_shared::response::GrantUrl;
///
/// let url = GrantUrl("http://regauth:s3cret@127.0.0.1:9001".to_owned());
/// assert_eq!(format!("{url:?}"), "GrantUrl(…)");
/// ```
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantUrl(pub String);

impl fmt::Debug for GrantUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantUrl(…)")
    }
}

/// Answer to `grants`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantList {
    /// Grants that have not expired, oldest first.
    pub grants: Vec<GrantView>,
}

/// Answer to `revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// Grant that ended.
    pub grant: GrantView,
}

/// Grant without its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GrantView {
    /// Id that `revoke` takes.
    pub id: String,
    /// Registries that the grant covers; an empty list covers every registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<RegistryName>,
    /// True if the grant covers writes as well as reads.
    pub write: bool,
    /// Time of creation.
    pub created: String,
    /// Time of expiry.
    pub expires: String,
    /// Time of a client's last use, since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
}
