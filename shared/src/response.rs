//! What the daemon answers when it did what was asked. No type here can hold a registry's secret: [`crate::Secret`] has
//! no `Serialize`. The one thing to keep to oneself is [`GrantUrl`], which is made to be handed to a client, once.
//!
//! Times are RFC 3339 in UTC. New fields may appear in a later release; readers ignore what they do not know.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::name::RegistryName;

/// The answer to `add-registry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryAdded {
    /// The registry as it is now.
    pub registry: RegistryView,
    /// Whether the registry was asked and accepted the token.
    pub verified: bool,
    /// Whether the registry was asked and answers everybody alike, so that nothing is known about the token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// What a person should know: places on other hosts that were not taken in, and the like.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The bundle that clients must trust.
    pub bundle: String,
    /// The proxy's URL for clients.
    pub proxy: String,
}

/// The answer to `remove-registry`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryRemoved {
    /// The registry that was.
    pub name: RegistryName,
    /// What a person should know, such as a secret that could not be deleted yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The answer to `list`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RegistryList {
    /// All registries by name.
    pub registries: Vec<RegistryView>,
}

/// One registry: what is configured and how it is doing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryView {
    /// Its name.
    pub name: RegistryName,
    /// `cargo`, `git`, `pypi`, `npm` or `generic`.
    pub kind: String,
    /// The index, as in the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// What it covers.
    pub scopes: Vec<String>,
    /// How the secret becomes a header.
    pub scheme: String,
    /// The user name of the `basic` scheme.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    /// Where the credential comes from.
    pub source: String,
    /// The registry whose credential it uses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential_of: Option<RegistryName>,
    /// `allow` or `deny`, as configured.
    pub writes: String,
    /// Until when writes are open by `allow`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes_open_until: Option<String>,
    /// The credential's state.
    pub credential: CredentialView,
    /// When a request last used it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
    /// The registry's last status code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_status: Option<u16>,
    /// Requests that carried the credential since the daemon started.
    pub requests: u64,
    /// What is wrong with its certificates, if anything: nothing is sent to it, or the ones that were read before are
    /// used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// A credential without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CredentialView {
    /// Whether requests can be served.
    pub state: CredentialState,
    /// Counts up at every rotation; 0 when there is none.
    pub generation: u64,
    /// When this generation was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// When it ends, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// When its source is asked for the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renews: Option<String>,
    /// What went wrong at its source, if it has not gone right since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<SourceFailure>,
}

/// A source that gave no token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceFailure {
    /// What happened.
    pub message: String,
    /// The end of what its program said on stderr, secrets cut out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// When.
    pub at: String,
}

/// Whether a registry's requests can be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CredentialState {
    /// In memory and not known to be bad.
    Ready,
    /// The registry answered 401 to this generation.
    Rejected,
    /// Its time is over and its source has given no other.
    Expired,
    /// The store holds it and is locked.
    Locked,
    /// The store or source does not have it.
    Missing,
    /// A state that a newer daemon knows.
    #[serde(other)]
    Unknown,
}

/// The answer to `rotate`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rotated {
    /// The registry.
    pub name: RegistryName,
    /// The generation that is used from now on.
    pub generation: u64,
    /// Whether the registry was asked and accepted the token.
    pub verified: bool,
    /// Whether the registry was asked and answers everybody alike, so that nothing is known about the token.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub public: bool,
    /// What a person should know, such as where the token came from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The answer to `verify`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verified {
    /// One line a registry.
    pub registries: Vec<Verdict>,
}

/// What a registry said of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verdict {
    /// The registry.
    pub name: RegistryName,
    /// Accepted, rejected, or neither could be told.
    pub result: VerdictResult,
    /// What was asked and what came back, in one sentence.
    pub detail: String,
}

/// Accepted, rejected, or neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum VerdictResult {
    /// The registry took the token.
    Accepted,
    /// The registry said no.
    Rejected,
    /// The registry did not answer, or in a way that tells nothing.
    Unclear,
    /// The registry was reached, and answers everybody alike: nothing is known about the token.
    Public,
    /// There is no token to ask about: the store is locked or does not have it.
    NoToken,
    /// A result that a newer daemon knows.
    #[serde(other)]
    Unknown,
}

/// The answer to `allow` and `deny`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WritesChanged {
    /// The registry.
    pub name: RegistryName,
    /// Until when writes are open; absent when they are closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open_until: Option<String>,
}

/// The answer to `grant`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Granted {
    /// The grant.
    pub grant: GrantView,
    /// The proxy's URL for its bearer. The daemon keeps a hash and cannot say it again.
    pub proxy: GrantUrl,
}

/// `http://regauth:TOKEN@127.0.0.1:9001`: whoever has it is let in. Redacted in `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantUrl(pub String);

impl fmt::Debug for GrantUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GrantUrl(…)")
    }
}

/// The answer to `grants`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantList {
    /// Those that have not expired, oldest first.
    pub grants: Vec<GrantView>,
}

/// The answer to `revoke`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// The grant that was.
    pub grant: GrantView,
}

/// A grant without its token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GrantView {
    /// What `revoke` takes.
    pub id: String,
    /// The registries that it opens; none means every one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<RegistryName>,
    /// Whether it opens writes too.
    pub write: bool,
    /// When it was made.
    pub created: String,
    /// When it ends.
    pub expires: String,
    /// When a client last came with it, since the daemon started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used: Option<String>,
}

/// The answer to `status`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The daemon's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started: String,
    /// Where it listens, as `127.0.0.1:9001`.
    pub listen: String,
    /// Who made the listeners.
    #[serde(default)]
    pub sockets: Sockets,
    /// The proxy's URL for clients.
    pub proxy: String,
    /// The bundle that clients must trust.
    pub bundle: String,
    /// The configuration file.
    pub config: String,
    /// What keeps the secrets.
    pub store: StoreView,
    /// How many registries there are.
    pub registries: usize,
    /// Those that cannot be served, and why.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<Problem>,
    /// Who may connect: `same-user` (this user's processes need nothing) or `grants` (everyone needs one).
    #[serde(default)]
    pub clients: String,
    /// Client connections that are open now.
    pub connections: u64,
    /// Requests to configured hosts since the start.
    pub requests: u64,
}

/// Who made the listeners.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sockets {
    /// The proxy's port.
    pub proxy: SocketOrigin,
    /// The control socket.
    pub control: SocketOrigin,
}

/// Who made a listener.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum SocketOrigin {
    /// The daemon; it ends with it.
    #[default]
    Own,
    /// A service manager; clients that connect during a restart wait instead of being refused.
    Passed,
    /// An origin that a newer daemon knows.
    #[serde(other)]
    Unknown,
}

/// The store and its health.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreView {
    /// `keychain`, `vault` or `memory`.
    pub kind: String,
    /// What protects the secrets, in words.
    pub protection: String,
    /// `open`, `locked` or `unavailable`.
    pub state: String,
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Problem {
    /// What happened.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The answer to `reload`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reloaded {
    /// How many registries there are now.
    pub registries: usize,
    /// What changed only in the file and needs a restart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The answer to `unlock`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Unlocked {
    /// The store as it is now.
    pub store: StoreView,
    /// Registries that can be served now.
    pub ready: usize,
}

/// The answer to `store`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreShown {
    /// The store.
    pub store: StoreView,
    /// How far a move is, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<StoreMoving>,
    /// What a person should know, such as copies that a move could not delete yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A move under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreMoving {
    /// Where the secrets go.
    pub to: String,
    /// Steps that are done.
    pub done: u64,
    /// Steps that there are: each secret is copied, compared, and deleted where it was.
    pub of: u64,
}

/// The answer to `store-move`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreMoved {
    /// Where the secrets were.
    pub from: String,
    /// The store as it is now.
    pub store: StoreView,
    /// Secrets that were moved: tokens, and the keys of authorities.
    pub moved: usize,
    /// What a person should know, such as copies that could not be deleted yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The answer to `holds`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Held {
    /// The registry.
    pub name: RegistryName,
    /// Whether its token is that one; absent when it has none at hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same: Option<bool>,
}

/// The answer to `stop`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Stopping {
    /// Client connections that are being drained.
    pub connections: u64,
    /// The process that ends. It keeps the connection on which it was asked open until then.
    pub pid: u32,
    /// How many seconds that takes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at_most: Option<u64>,
}

/// The answer to `log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct LogLevels {
    /// What is logged now: a level, or the directives that REGAUTH_LOG gave.
    pub level: String,
}
