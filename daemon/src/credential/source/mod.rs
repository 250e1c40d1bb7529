//! Sources of tokens that are not in the store: a file, a program, an exchange, or the daemon's environment.
//!
//! `file` and `command` fetch a token again whenever it is due; `preset` has ready-made commands, [`output`]
//! reads what a program printed, `redact` cuts secrets out of its error messages. [`environment`] gives a token once.
//!
//! An [`exchange`] mints a token for an [`identity`]. Both name a service by its `endpoint`, ask it over the
//! [`token_client`] and read its `service_answer`. A `secret_reference` names the file or variable of a secret.

mod command;
pub(crate) mod endpoint;
pub mod environment;
pub mod exchange;
mod file;
pub mod identity;
pub mod output;
pub(crate) mod preset;
mod redact;
#[cfg(test)]
pub(crate) mod scripted;
pub(crate) mod secret_reference;
mod service_answer;
pub mod token_client;

use std::sync::Arc;
use std::time::Duration;

use regauth_shared::Secret;
use time::OffsetDateTime;

use crate::credential::source::exchange::{Mint, Minter};
use crate::credential::source::file::WatchedFile;
use crate::file_watch::FileWatcher;
use crate::registry::{Command, Source};

/// A source that can be asked again for a token.
#[derive(Debug)]
pub(crate) enum TokenSource {
    /// A file, read again when it changes.
    File(WatchedFile),
    /// A program, run when its last token is due for a refresh.
    Command(Command),
    /// An exchange, asked when its last token is due for a refresh.
    Minted(Box<Minter>),
    /// A script of a test.
    #[cfg(test)]
    Scripted(crate::credential::source::scripted::ScriptedSource),
}

/// A token as its source gave it.
#[derive(Clone, Debug)]
pub struct FetchedToken {
    /// The token.
    pub secret: Secret,
    /// Time of expiry, if the source tells.
    pub expires: Option<OffsetDateTime>,
    /// Lifetime, if the configuration tells.
    pub ttl: Option<Duration>,
}

/// A source gave no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct FetchError {
    /// The cause, without secrets.
    pub message: String,
    /// End of the program's stderr, secrets cut out.
    pub output: Option<String>,
    /// Next step for the person.
    pub hint: Option<String>,
    /// Status of the service's answer.
    pub status: Option<u16>,
    /// Error code of OAuth 2.0, such as `invalid_grant`.
    pub code: Option<String>,
    /// Time for which the source wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl FetchError {
    /// An error without a program's output.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            output: None,
            hint: None,
            status: None,
            code: None,
            retry_after: None,
        }
    }

    /// The error with a next step.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl TokenSource {
    /// The token source for a configured source; `None` for the store and the environment, which give a token once.
    /// `minter` makes the one for an exchange, and `watcher` reports changes of files.
    pub(crate) fn of(
        source: &Source,
        watcher: &Arc<FileWatcher>,
        minter: impl FnOnce(&Mint) -> Minter,
    ) -> Option<Self> {
        match source {
            Source::Store | Source::Environment(_) | Source::Of(_) => None,
            Source::File(path) => Some(Self::File(WatchedFile::new(path, watcher))),
            Source::Command(command) => Some(Self::Command(command.clone())),
            Source::Minted(mint) => Some(Self::Minted(Box::new(minter(mint)))),
        }
    }

    /// Reads the file, runs the program, or asks the exchange.
    ///
    /// # Errors
    /// [`FetchError`] if there is no token.
    pub(crate) async fn fetch(&mut self) -> Result<FetchedToken, FetchError> {
        // Boxed: each registry has a task that may fetch, and most wait. An exchange alone would make it 20 KiB larger.
        match self {
            Self::File(file) => Box::pin(file.read()).await,
            Self::Command(command) => Box::pin(command::run(command)).await,
            Self::Minted(minter) => Box::pin(minter.fetch()).await,
            #[cfg(test)]
            Self::Scripted(script) => script.next().await,
        }
    }

    /// True if a fetch costs so little that every rejection may cause one.
    pub(crate) fn is_cheap(&self) -> bool {
        matches!(self, Self::File(_))
    }
}
