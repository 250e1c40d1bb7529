//! Where a token that is not in the store comes from, each time it is wanted: a file or a program.

mod command;
pub mod environment;
mod file;
pub mod output;
pub(crate) mod preset;
mod redact;
#[cfg(test)]
pub(crate) mod scripted;

use std::time::Duration;

use regauth_shared::Secret;
use time::OffsetDateTime;

use crate::credential::source::file::WatchedFile;
use crate::registry::{Command, Source};

/// What is asked for a token.
#[derive(Debug)]
pub enum Origin {
    /// A file, looked at every second.
    File(WatchedFile),
    /// A program, run when the token it gave last nears its end.
    Command(Command),
    /// What a test says.
    #[cfg(test)]
    ScriptedSource(crate::credential::source::scripted::ScriptedSource),
}

/// A token as it came from its source.
#[derive(Clone, Debug)]
pub struct FetchedToken {
    /// The token.
    pub secret: Secret,
    /// When it ends, where the source says so.
    pub expires: Option<OffsetDateTime>,
    /// How long it lives, where the configuration says so.
    pub ttl: Option<Duration>,
}

/// A source gave no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened. Never a secret.
    pub message: String,
    /// The end of what the program said on stderr, secrets cut out.
    pub output: Option<String>,
}

impl Failure {
    /// A failure that says everything in its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            output: None,
        }
    }
}

impl Origin {
    /// The origin of a source; the store and the environment are none, they give a token once.
    pub fn of(source: &Source) -> Option<Self> {
        match source {
            Source::Store | Source::Environment(_) | Source::Of(_) => None,
            Source::File(path) => Some(Self::File(WatchedFile::new(path))),
            Source::Command(command) => Some(Self::Command(command.clone())),
        }
    }

    /// Asks for a token now.
    ///
    /// # Errors
    /// [`Failure`] when there is none.
    pub async fn fetch(&mut self) -> Result<FetchedToken, Failure> {
        match self {
            Self::File(file) => file.read().await,
            Self::Command(command) => command::run(command).await,
            #[cfg(test)]
            Self::ScriptedSource(told) => told.next().await,
        }
    }

    /// Whether asking costs so little that it is done on a mere suspicion.
    pub fn is_cheap(&self) -> bool {
        matches!(self, Self::File(_))
    }

    /// Whether it says itself that there is something new.
    pub async fn has_changed(&self) -> bool {
        match self {
            Self::File(file) => file.has_changed().await,
            _ => false,
        }
    }
}
