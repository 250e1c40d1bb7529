//! Answers about the daemon itself: status, reload, stop, log level.

use serde::{Deserialize, Serialize};

use super::configuration::ConfigurationChange;
use super::store::StoreView;
use crate::audit::Link;

/// Answer to `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Process id.
    pub pid: u32,
    /// Time of the start.
    pub started: String,
    /// Address of the proxy's listener, as `127.0.0.1:9001`.
    pub listen: String,
    /// Address of the listener for clients that speak TLS to the proxy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen_tls: Option<String>,
    /// Origin of the listeners.
    #[serde(default)]
    pub sockets: Sockets,
    /// Proxy URL for clients.
    pub proxy: String,
    /// Path of the bundle that clients must trust.
    pub bundle: String,
    /// Folder to mount into containers: it has the bundle and the trust store for Java. Absent for an ephemeral daemon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bundle_folder: Option<String>,
    /// Path of the configuration file.
    pub config: String,
    /// Store in use.
    pub store: StoreView,
    /// Number of registries.
    pub registries: usize,
    /// Registries that cannot be served, each with its cause.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Mode: `user` (the daemon of one user, as that user), `guarded` (as a system user, for `users`), or `machine` (as a
    /// system user, for bearers of grants). An older daemon does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mode: String,
    /// Ids of the users that a guarded daemon serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<u32>,
    /// Requests of programs that a person has to confirm: `always` (those that widen where a token goes or what it may do),
    /// `auto` (the same, where polkit or macOS can ask) or `never`, also where it is `auto` and they never can. An older daemon does not say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub presence: String,
    /// Client policy: `same-user` (this user's processes need no grant), `grants` (every client needs one) or `gateway` (as
    /// `grants`, and other machines connect over TLS only).
    #[serde(default)]
    pub clients: String,
    /// Corporate proxies in use for connections to registries and other hosts. Empty: connections are direct.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstream_proxies: Vec<UpstreamProxy>,
    /// PEM file whose roots are in the bundle beside the system's: the global `ca-file`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Audit record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditView>,
    /// URL of the metrics, if they are served over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
    /// Client connections that are open.
    pub connections: u64,
    /// Requests to configured hosts since the start.
    pub requests: u64,
}

/// Answer to `set-upstream`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UpstreamSet {
    /// Lines that say which settings were written and when they take effect, or why one was not written.
    pub notes: Vec<String>,
    /// True if the proxy of the request was written, and the store has its password.
    #[serde(default)]
    pub proxy_written: bool,
}

/// Corporate proxy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct UpstreamProxy {
    /// URL of the proxy, without user and password.
    pub url: String,
    /// Place where it was set: `config.toml`, or an environment variable of the daemon.
    pub set_by: String,
    /// URL schemes of the connections that use it: `http`, `https`.
    pub used_for: Vec<String>,
}

/// Answer to `metrics`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Metrics {
    /// Metrics in the format of the request.
    pub text: String,
}

/// Audit record of the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuditView {
    /// Events that it keeps: `off`, `changes` or `all`.
    pub mode: String,
    /// True if requests that cannot be recorded are refused.
    pub required: bool,
    /// Folder of its files.
    pub folder: String,
    /// Number and hash of the last line that the daemon has written or found.
    pub last: Link,
}

/// Origin of the daemon's listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sockets {
    /// Listener of the proxy.
    pub proxy: SocketOrigin,
    /// Listener of the control socket.
    pub control: SocketOrigin,
}

/// Origin of a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SocketOrigin {
    /// Opened by the daemon; it closes when the daemon ends.
    #[default]
    Own,
    /// Inherited from a service manager; clients that connect during a restart wait instead of being refused.
    Passed,
    /// An origin that only a newer daemon knows.
    #[serde(other)]
    Unknown,
}

/// Fault that exists now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Problem {
    /// Description of the fault.
    pub message: String,
    /// Next step for the person.
    pub hint: String,
}

/// Answer to `reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// Number of registries after the reload.
    pub registries: usize,
    /// Differences between the registries that were in service and the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ConfigurationChange>,
    /// Keys outside of the registries whose values have changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<String>,
    /// Digest of the changes of a check, which the request that makes them may repeat as `reviewed`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub review: Option<String>,
    /// Notes for the person, such as settings that take effect at the next start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// First answer to `watch`. One event per line follows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Watching {
    /// Process id of the daemon: another one has its own sequence numbers.
    pub pid: u32,
}

/// Answer to `audit-files`. The files come with the answer's first byte, open for reading, as file descriptors (unix(7),
/// `SCM_RIGHTS`). The connection then ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct AuditFiles {
    /// Names of the files, the oldest first, in the order of their descriptors.
    pub files: Vec<String>,
}

/// Answer to `stop`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stopping {
    /// Client connections that the daemon drains.
    pub connections: u64,
    /// Process id of the daemon. It keeps the control connection of the `stop` request open until it ends.
    pub pid: u32,
    /// Longest possible drain, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
}

/// Answer to `log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LogLevels {
    /// Present level, or the directives of `REGAUTH_LOG`.
    pub level: String,
}
