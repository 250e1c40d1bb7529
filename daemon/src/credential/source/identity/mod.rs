//! Identities: the signed token, or other secret, that an exchange takes for a registry's token.
//!
//! [`place`] finds the CI system or cluster that the daemon runs in, and says what a job lacks. [`request`] asks the
//! systems that give an identity only on request. A file, a variable and a program give any other identity. An identity
//! is fetched again for each exchange.

pub(crate) mod place;
mod request;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use regauth_shared::Secret;

use crate::credential::source::environment::Environment;
use crate::credential::source::file::WatchedFile;
use crate::credential::source::token_client::TokenClient;
use crate::credential::source::{FetchError, command};
use crate::registry::{Command, is_variable_name};
use place::Place;

/// Origin of an identity, as configured.
///
/// Only [`Identity::Found`], [`Identity::Of`] and [`Identity::Device`] may come from a file that someone else has written: the others read a
/// path or a variable of this machine, or run a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Identity {
    /// The CI system or cluster that the daemon runs in.
    #[default]
    Found,
    /// This CI system or cluster.
    Of(Place),
    /// A file, read at each exchange.
    File(PathBuf),
    /// An environment variable of the daemon.
    Variable(String),
    /// A program that prints the identity.
    Command(Command),
    /// A person, who logs in with a code (RFC 8628). The refresh token is in the store.
    Device,
}

impl Identity {
    /// Gets the identity for an audience; without one, the system's default applies.
    ///
    /// # Errors
    /// [`FetchError`] if there is none, with what is missing.
    pub(super) async fn fetch(
        &self,
        audience: Option<&str>,
        environment: &Environment,
        client: &TokenClient,
    ) -> Result<Secret, FetchError> {
        match self {
            Self::Found => request::fetch(Place::find(environment)?, audience, environment, client).await,
            Self::Of(place) => request::fetch(*place, audience, environment, client).await,
            Self::File(path) => file(path).await,
            Self::Variable(name) => {
                let secret = environment.secret(name);
                secret.map_err(|error| FetchError::new(error.to_string()))
            }
            Self::Command(command) => Ok(command::run(command).await?.secret),
            Self::Device => Err(FetchError::new("a person's login gives no identity, only tokens")),
        }
    }

    /// Environment variable with the identity, if it is not one of a CI system's.
    pub(crate) fn variable(&self) -> Option<&str> {
        match self {
            Self::Variable(name) => Some(name),
            Self::Found | Self::Of(_) | Self::File(_) | Self::Command(_) | Self::Device => None,
        }
    }
}

async fn file(path: &Path) -> Result<Secret, FetchError> {
    Ok(WatchedFile::new(path).read().await?.secret)
}

/// Parses a place's name, `file:/path` or `env:VAR`. A program has no short form.
impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        match text.split_once(':') {
            Some(("env", name)) if is_variable_name(name) => Ok(Self::Variable(name.to_owned())),
            Some(("file", path)) if Path::new(path).is_absolute() => Ok(Self::File(path.into())),
            Some(("env" | "file", _)) => Err(InvalidIdentity::Place),
            None if text == "device" => Ok(Self::Device),
            _ => Place::parse(text).map(Self::Of).ok_or(InvalidIdentity::Unknown),
        }
    }
}

/// Form in the file and in messages. Of a program, only its name: its arguments may hold secrets.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found => f.write_str("the environment"),
            Self::Of(place) => f.write_str(place.name()),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Variable(name) => write!(f, "env:{name}"),
            Self::Command(command) => write!(f, "command:{}", command.program()),
            Self::Device => f.write_str("device"),
        }
    }
}

/// Text that names no identity. It is not repeated: it may be a token in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// It has none of the forms.
    #[error("an identity is {}, device, \"file:/path\" or \"env:VARIABLE\"", place::NAMES)]
    Unknown,
    /// It names no variable and no absolute path.
    #[error("expected file: with an absolute path, or env: with the name of an environment variable")]
    Place,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identity_has_a_short_form() {
        for text in [
            "github-actions",
            "gitlab",
            "kubernetes",
            "azure-pipelines",
            "device",
            "file:/run/id",
            "env:CORP_ID",
        ] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        for (text, error) in [
            ("file:id", InvalidIdentity::Place),
            ("env:A-B", InvalidIdentity::Place),
            ("github", InvalidIdentity::Unknown),
            ("", InvalidIdentity::Unknown),
        ] {
            assert_eq!(text.parse::<Identity>().unwrap_err(), error, "{text}");
        }
        assert!(Place::ALL.iter().all(|place| place::NAMES.contains(place.name())));
    }
}
