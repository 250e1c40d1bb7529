//! Requests that add a registry or change what it covers.

use serde::{Deserialize, Serialize};

use super::yes;
use crate::name::RegistryName;
use crate::secret::{self, Secret};

/// Fields of `add-registry`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AddRegistry {
    /// Name of the new registry.
    pub name: RegistryName,
    /// Index URL: `sparse+https://…/`, or `https://….git` for a git index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Scopes besides those of the index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Registry kind: one of [`KINDS`](crate::kind::KINDS); `cargo` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Credential scheme: `basic`, `bearer` (default), `raw` or a header template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// User name for the `basic` scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Token service of a container registry, an `https://` URL: it gets the credential in place of the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_service: Option<String>,
    /// Write policy: `allow` or `deny` (default).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<String>,
    /// Programs that may use the registry: file names or absolute paths. An empty list leaves it open to every program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<String>,
    /// Statuses with which the registry rejects a token. An empty list stands for [`USUAL_REJECTIONS`].
    ///
    /// [`USUAL_REJECTIONS`]: crate::rejection::USUAL_REJECTIONS
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rejected_by: Vec<u16>,
    /// False if entries of a sparse index are not asked for ahead of cargo. True is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub read_ahead: Option<bool>,
    /// Absolute path of a PEM file with extra roots for this registry's upstream connections.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Token source: `store` (default), `env:VARIABLE`, `file:/path`, an exchange such as
    /// `jfrog:host=corp.jfrog.io,provider=github`, or a preset such as `google` or `vault:path=secret/cargo,field=token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Program that prints the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_command: Option<SourceCommand>,
    /// Registry whose credential this one shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_of: Option<RegistryName>,
    /// Token to store; only for the source `store`.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub token: Option<Secret>,
    /// Present token of the registry in `credential_of`, typed again. It permits to send it elsewhere.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub proof: Option<Secret>,
    /// True if someone else has written the definition, as that of a repository: its source may then be the store or an
    /// exchange, but no command, path or variable of this machine.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// True if URLs that a sparse index names on its own host are offered in the answer. Without it, the registry covers
    /// them at once.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offer_locations: bool,
    /// True if the registry must accept the token before the daemon stores anything. The default.
    #[serde(default = "yes")]
    pub verify: bool,
}

/// Program that prints a token.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SourceCommand {
    /// Program and arguments; no shell is involved.
    pub command: Vec<String>,
    /// JSON pointer (RFC 6901) to the token in the output. Without it, the output is the token on one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// JSON pointer to the time of expiry in the output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// Lifetime of a token whose output names no expiry, as `11h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<String>,
    /// Time limit for the program, as `20s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<String>,
    /// Variables of the daemon's environment that the program gets.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
}

/// Fields of `add-scope`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddScope {
    /// Name of the registry.
    pub name: RegistryName,
    /// Scopes to add: `https://host/path/`.
    pub scopes: Vec<String>,
    /// Present token of the registry, typed again. It permits to send it elsewhere.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub proof: Option<Secret>,
}

/// Fields of `confirm`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    /// Name of the registry.
    pub name: RegistryName,
    /// Changes that the person has seen, as [`crate::response::RegistryView::changes`] has them. Others are not taken in.
    pub changes: Vec<String>,
    /// Present token of the registry, typed again. It permits to send it elsewhere.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        serialize_with = "secret::expose_option"
    )]
    pub proof: Option<Secret>,
}
