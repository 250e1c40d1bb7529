//! Events: what happened inside the daemon, one JSON object each.
//!
//! `{"time":1772600000000,"sequence":17,"event":"request","registry":"corp",…}`. `watch` streams them and the audit log
//! keeps them. No event holds a secret, a query, a header, a program's argument or a program's environment.

mod exchange;

use serde::{Deserialize, Serialize};

pub use exchange::{Client, Exchange, Operation, Workload};

use crate::name::RegistryName;
use crate::response::VerdictResult;

/// One event, with the time and the number that the daemon gave it.
///
/// ```
/// use regauth_shared::event::{Event, EventKind, RegistryChange};
///
/// let line = r#"{"time":1772600000000,"sequence":17,"event":"registry-added","registry":"corp"}"#;
/// let event: Event = serde_json::from_str(line)?;
/// assert!(matches!(&event.kind, EventKind::RegistryAdded(RegistryChange { registry }) if registry.as_str() == "corp"));
/// assert_eq!(serde_json::to_string(&event)?, line);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Time of the event in milliseconds since 1970 (Unix time). A request's is that of its end.
    pub time: u64,
    /// Number of the event since the daemon's start, from 1. A gap stands for events that nobody asked for, or that a reader
    /// was too slow for.
    pub sequence: u64,
    /// Content.
    #[serde(flatten)]
    pub kind: EventKind,
}

/// Content of an event. The field `event` names the variant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EventKind {
    /// A request ended that the registry or host has answered, or that the client has abandoned.
    Request(Exchange),
    /// A request or connection that regauthd answered itself, with a [`Exchange::code`].
    Refusal(Exchange),
    /// A source gave the next token, or failed to.
    Renewal(Renewal),
    /// A token was replaced by `rotate` or a login.
    Rotation(Rotation),
    /// A token was deleted by `logout`.
    Logout(RegistryChange),
    /// A registry was asked about its token.
    Verification(Verification),
    /// Writes were opened for a while.
    WritesOpened(WritesOpened),
    /// Writes were closed, by `deny` or at the end of their window.
    WritesClosed(RegistryChange),
    /// A grant was created.
    GrantCreated(GrantCreated),
    /// A grant was revoked.
    GrantRevoked(GrantChange),
    /// A grant expired.
    GrantExpired(GrantChange),
    /// A registry was added.
    RegistryAdded(RegistryChange),
    /// A registry was removed.
    RegistryRemoved(RegistryChange),
    /// The scopes of a registry were changed.
    RegistryChanged(RegistryChange),
    /// A person, a rule of polkit or a token permitted a guarded request, or did not.
    Confirmation(Confirmation),
    /// The configuration was read again.
    Reload(Reload),
    /// The store cannot be read without a person.
    StoreLocked(StoreChange),
    /// The store was opened.
    StoreOpened(StoreChange),
    /// The daemon serves requests. Sequence numbers begin again.
    Started(Started),
    /// The daemon finishes the requests in flight and ends.
    Stopping,
    /// Events are missing here: they came faster than they were read.
    Lost(Lost),
    /// An event that only a newer daemon knows.
    #[serde(other)]
    Unknown,
}

/// Content of [`EventKind::Renewal`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Renewal {
    /// Registry whose source was asked.
    pub registry: RegistryName,
    /// Generation of the new token; absent if the source failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// Reason of the failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Content of [`EventKind::Rotation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rotation {
    /// Registry.
    pub registry: RegistryName,
    /// Generation of the new token.
    pub generation: u64,
    /// True if the registry accepted it before it was used.
    pub verified: bool,
}

/// Content of [`EventKind::Verification`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Verification {
    /// Registry.
    pub registry: RegistryName,
    /// Registry's answer.
    pub result: VerdictResult,
}

/// Content of [`EventKind::WritesOpened`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct WritesOpened {
    /// Registry.
    pub registry: RegistryName,
    /// Time at which they close again (RFC 3339).
    pub until: String,
}

/// Content of [`EventKind::GrantCreated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GrantCreated {
    /// Id of the grant.
    pub grant: String,
    /// Registries that it covers; an empty list covers every registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub registries: Vec<RegistryName>,
    /// True if it covers writes.
    pub write: bool,
    /// Time of its end (RFC 3339).
    pub expires: String,
}

/// Content of [`EventKind::GrantRevoked`] and [`EventKind::GrantExpired`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct GrantChange {
    /// Id of the grant.
    pub grant: String,
}

/// Content of events that only name a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RegistryChange {
    /// Registry.
    pub registry: RegistryName,
}

/// Content of [`EventKind::Confirmation`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Confirmation {
    /// Registry that the request names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<RegistryName>,
    /// Number of the user whose program has sent the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Effect of the request on the daemon, such as `opens writes`.
    pub effect: String,
    /// Authority that was asked.
    pub by: Confirmer,
    /// True for a yes.
    pub confirmed: bool,
    /// Reason of a no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Authority that confirms a guarded request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Confirmer {
    /// polkit, by its dialogue or a rule.
    Polkit,
    /// The dialogue of macOS.
    Macos,
    /// Root, who has sent the request.
    Root,
    /// The registry's present token, which came with the request.
    Token,
    /// An authority that only a newer daemon knows.
    #[serde(other)]
    Unknown,
}

impl Confirmer {
    /// Name for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Polkit => "polkit",
            Self::Macos => "macOS",
            Self::Root => "root",
            Self::Token => "the token",
            Self::Unknown => "an authority that this release does not know",
        }
    }
}

/// Content of [`EventKind::Reload`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Reload {
    /// Number of registries in service.
    pub registries: u64,
}

/// Content of [`EventKind::StoreLocked`] and [`EventKind::StoreOpened`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StoreChange {
    /// Kind of the store.
    pub store: String,
}

/// Content of [`EventKind::Started`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Started {
    /// Release of the daemon.
    pub version: String,
}

/// Content of [`EventKind::Lost`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lost {
    /// Number of missing events.
    pub events: u64,
}

impl Client {
    /// File name of the client's program.
    pub fn program_name(&self) -> Option<&str> {
        let path = self.program.as_deref()?;
        Some(path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path))
    }

    /// Name of the client for people: its program, grant, address or user, the first that is known.
    ///
    /// ```
    /// use regauth_shared::event::Client;
    ///
    /// let mut client = Client {
    ///     grant: Some("3f9a1c2e".to_owned()),
    ///     address: Some("192.0.2.7".to_owned()),
    ///     ..Client::default()
    /// };
    /// assert_eq!(client.name(), "grant 3f9a1c2e");
    /// client.program = Some("/usr/bin/cargo".to_owned());
    /// assert_eq!(client.name(), "cargo");
    /// assert_eq!(Client::default().name(), "unknown");
    /// ```
    pub fn name(&self) -> String {
        if let Some(workload) = self.workload.as_ref().filter(|_| self.program.is_none()) {
            return workload.name().to_owned();
        }
        match (self.program_name(), &self.grant, &self.address, self.uid) {
            (Some(program), ..) => program.to_owned(),
            (None, Some(grant), ..) => format!("grant {grant}"),
            (None, None, Some(address), _) => address.clone(),
            (None, None, None, Some(uid)) => format!("user {uid}"),
            (None, None, None, None) => "unknown".to_owned(),
        }
    }
}

impl Workload {
    /// Shortest name for people: the repository, or else the subject.
    pub fn name(&self) -> &str {
        self.repository.as_ref().unwrap_or(&self.subject)
    }
}

impl EventKind {
    /// The request, if the event is about one.
    pub fn exchange(&self) -> Option<&Exchange> {
        match self {
            Self::Request(exchange) | Self::Refusal(exchange) => Some(exchange),
            _ => None,
        }
    }

    /// Registry that the event is about.
    pub fn registry(&self) -> Option<&RegistryName> {
        match self {
            Self::Request(exchange) | Self::Refusal(exchange) => exchange.registry.as_ref(),
            Self::Renewal(Renewal { registry, .. })
            | Self::Rotation(Rotation { registry, .. })
            | Self::Verification(Verification { registry, .. })
            | Self::WritesOpened(WritesOpened { registry, .. })
            | Self::Logout(RegistryChange { registry })
            | Self::WritesClosed(RegistryChange { registry })
            | Self::RegistryAdded(RegistryChange { registry })
            | Self::RegistryRemoved(RegistryChange { registry })
            | Self::RegistryChanged(RegistryChange { registry }) => Some(registry),
            Self::Confirmation(confirmation) => confirmation.registry.as_ref(),
            Self::GrantCreated(_)
            | Self::GrantRevoked(_)
            | Self::GrantExpired(_)
            | Self::Reload(_)
            | Self::StoreLocked(_)
            | Self::StoreOpened(_)
            | Self::Started(_)
            | Self::Stopping
            | Self::Lost(_)
            | Self::Unknown => None,
        }
    }
}

/// Longest path in an event, in bytes.
pub const MAX_PATH: usize = 160;
