//! What the daemon answers when it did not do what was asked.

use serde::{Deserialize, Serialize};

/// `{"kind":"token-rejected","message":"…","hint":"…"}`: what happened and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What a program can rely on.
    pub kind: ErrorKind,
    /// What happened, in one sentence. Never a secret.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl ErrorBody {
    /// An error without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// The same error with what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The kinds of error; each has one exit code ([`ErrorKind::exit_code`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ErrorKind {
    /// The request is malformed: a wrong flag, name, URL, field.
    Invalid,
    /// No registry of that name.
    NotFound,
    /// There is a registry of that name already, or another covers the same scope.
    Exists,
    /// The registry rejected the token.
    TokenRejected,
    /// The registry did not answer, or not in a way that tells whether the token works.
    NotVerified,
    /// The store cannot be opened without a person.
    StoreLocked,
    /// The store is missing, does not answer, or failed.
    StoreUnavailable,
    /// regauth does not do that, for safety; the message says why.
    Refused,
    /// The two programs share no version of the protocol.
    UnsupportedVersion,
    /// No daemon answers. The daemon never says so: `regauthctl` does, in the same form as every other error.
    Unreachable,
    /// The operation failed: a disk that is full, a file that cannot be read.
    Failed,
    /// A kind that a newer daemon knows and this program does not.
    #[serde(other)]
    Unknown,
}

impl ErrorKind {
    /// The exit code of `regauthctl` for this kind.
    pub fn exit_code(self) -> u8 {
        use crate::exit_code::*;
        match self {
            Self::Invalid => USAGE,
            Self::NotFound => NOT_FOUND,
            Self::Exists => EXISTS,
            Self::TokenRejected => TOKEN_REJECTED,
            Self::StoreLocked | Self::StoreUnavailable => STORE,
            Self::Refused => REFUSED,
            Self::Unreachable => UNREACHABLE,
            Self::NotVerified | Self::UnsupportedVersion | Self::Failed | Self::Unknown => FAILED,
        }
    }
}
