//! Errors that the daemon sends in place of an answer.

use serde::{Deserialize, Serialize};

/// Error on the wire: `{"kind":"token-rejected","message":"…","hint":"…"}`.
///
/// ```
/// use regauth_shared::{ErrorBody, ErrorKind};
///
/// let error = ErrorBody::new(ErrorKind::NotFound, "no registry is named `corp`").hint("run `regauthctl list`");
/// assert_eq!(error.kind.exit_code(), 6);
/// assert_eq!(
///     serde_json::to_string(&error)?,
///     r#"{"kind":"not-found","message":"no registry is named `corp`","hint":"run `regauthctl list`"}"#
/// );
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// Kind, for programs.
    pub kind: ErrorKind,
    /// Description in one sentence, for people. Never contains a secret.
    pub message: String,
    /// Next step for the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ErrorBody {
    /// Makes an error without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// Adds the next step for the person.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// Kind of error; each has one exit code ([`ErrorKind::exit_code`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// Malformed request: a wrong flag, name, URL or field.
    Invalid,
    /// No registry or grant of that name.
    NotFound,
    /// A registry of that name exists already, or another one covers the same scope.
    Exists,
    /// The registry rejected the token.
    TokenRejected,
    /// The registry did not answer, or its answer does not tell whether the token works.
    NotVerified,
    /// The store is locked, and only a person can open it.
    StoreLocked,
    /// The store is missing, does not answer, or failed.
    StoreUnavailable,
    /// Refused for safety; the message names the reason.
    Refused,
    /// Only a person may do that: the request needs the registry's present token, or somebody to say yes.
    PresenceNeeded,
    /// The two programs share no version of the protocol.
    UnsupportedVersion,
    /// No daemon answers, which `regauthctl` finds itself, or the daemon is ending and carries out no more requests.
    Unreachable,
    /// Failed operation: a full disk, an unreadable file.
    Failed,
    /// A kind that only a newer daemon knows.
    #[serde(other)]
    Unknown,
}

impl ErrorKind {
    /// Exit code of `regauthctl` for this kind.
    pub fn exit_code(self) -> u8 {
        use crate::exit_code::*;
        match self {
            Self::Invalid => USAGE,
            Self::NotFound => NOT_FOUND,
            Self::Exists => EXISTS,
            Self::TokenRejected => TOKEN_REJECTED,
            Self::StoreLocked | Self::StoreUnavailable => STORE,
            Self::Refused | Self::PresenceNeeded => REFUSED,
            Self::Unreachable => UNREACHABLE,
            Self::NotVerified | Self::UnsupportedVersion | Self::Failed | Self::Unknown => FAILED,
        }
    }
}
