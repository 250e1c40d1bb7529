//! Identities: the signed token, or other secret, that an exchange takes for a registry's token.
//!
//! [`platform`] finds the CI system that the daemon runs in, and says what a job lacks. [`request`] asks the
//! systems that give an identity only on request. A file, a variable and a program give any other identity. An identity
//! is fetched again for each exchange.

pub(crate) mod platform;
mod request;

use std::fmt;
use std::str::FromStr;

use regauth_shared::Secret;

use crate::credential::source::environment::{Environment, PEM_BEGIN};
use crate::credential::source::secret_reference::SecretReference;
use crate::credential::source::token_client::TokenClient;
use crate::credential::source::{FetchError, command};
use crate::registry::Command;
use platform::Platform;

/// Origin of an identity, as configured.
///
/// Only [`Identity::Found`], [`Identity::Of`] and [`Identity::Device`] may come from a file that someone else has written:
/// the others read a path or a variable of this machine, or run a program.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Identity {
    /// The CI system that the daemon runs in.
    #[default]
    Found,
    /// This CI system or cluster.
    Of(Platform),
    /// A file, read at each exchange, or an environment variable of the daemon.
    Secret(SecretReference),
    /// A program that prints the identity.
    Command(Command),
    /// A person, who logs in with a code (RFC 8628). The refresh token is in the store.
    Device,
    /// Keys that AWS's command line has, or gets by single sign-on or a role.
    Aws,
}

impl Identity {
    /// Gets the identity.
    ///
    /// # Errors
    /// [`FetchError`] if there is none, with what is missing.
    pub(super) async fn fetch(
        &self,
        wanted: Wanted<'_>,
        environment: &Environment,
        client: &TokenClient,
    ) -> Result<Secret, FetchError> {
        let identity = match self {
            Self::Found => request::fetch(Platform::find(environment)?, wanted, environment, client).await?,
            Self::Of(platform) => request::fetch(*platform, wanted, environment, client).await?,
            Self::Secret(reference) => reference.read(environment).await?,
            Self::Command(command) => command::run(command).await?.secret,
            Self::Device | Self::Aws => {
                return Err(FetchError::new(format!("{self} gives tokens or keys, and no identity")));
            }
        };
        self.reject_key(identity)
    }

    /// Rejects a private key, which no service needs to see.
    fn reject_key(&self, identity: Secret) -> Result<Secret, FetchError> {
        match identity.expose().starts_with(PEM_BEGIN) {
            true => Err(FetchError::new(format!("the identity of {self} is a private key"))
                .hint("name the signed token or the secret that the service takes")),
            false => Ok(identity),
        }
    }

    /// File or variable with the identity, if the configuration names one.
    pub(crate) fn secret_reference(&self) -> Option<&SecretReference> {
        match self {
            Self::Secret(reference) => Some(reference),
            Self::Found | Self::Of(_) | Self::Command(_) | Self::Device | Self::Aws => None,
        }
    }
}

/// Identity that an exchange wants.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    /// Audience; without one, the system's default applies.
    pub(super) audience: Option<&'a str>,
    /// Host of a CI system of one's own, as configured. The environment alone must not name one: it gets the job's token.
    pub(super) host: Option<&'a str>,
}

/// Parses a platform's name, `file:/path` or `env:VAR`. A program has no short form.
impl FromStr for Identity {
    type Err = InvalidIdentity;

    fn from_str(text: &str) -> Result<Self, InvalidIdentity> {
        match text.split_once(':') {
            Some(("env" | "file", _)) => {
                let reference = text.parse().map(Self::Secret);
                reference.map_err(|_| InvalidIdentity::SecretReference)
            }
            None if text == "device" => Ok(Self::Device),
            None if text == "aws" => Ok(Self::Aws),
            _ => Platform::parse(text).map(Self::Of).ok_or(InvalidIdentity::Unknown),
        }
    }
}

/// Form in the file and in messages. Of a program, only its name: its arguments may hold secrets.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Found => f.write_str("the environment"),
            Self::Of(platform) => f.write_str(platform.name()),
            Self::Secret(reference) => reference.fmt(f),
            Self::Command(command) => write!(f, "command:{}", command.program()),
            Self::Device => f.write_str("device"),
            Self::Aws => f.write_str("aws"),
        }
    }
}

/// Text that names no identity. It is not repeated: it may be a token in the wrong place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidIdentity {
    /// It has none of the forms.
    #[error(
        "an identity is {}, device, aws, \"file:/path\" or \"env:VARIABLE\"",
        platform::NAMES
    )]
    Unknown,
    /// It has the form of a reference to a secret, but names no absolute path and no variable.
    #[error("expected file: with an absolute path, or env: with the name of an environment variable")]
    SecretReference,
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
            "aws",
            "file:/run/id",
            "env:CORP_ID",
        ] {
            assert_eq!(text.parse::<Identity>().unwrap().to_string(), text);
        }
        for (text, error) in [
            ("file:id", InvalidIdentity::SecretReference),
            ("env:A-B", InvalidIdentity::SecretReference),
            ("github", InvalidIdentity::Unknown),
            ("", InvalidIdentity::Unknown),
        ] {
            assert_eq!(text.parse::<Identity>().unwrap_err(), error, "{text}");
        }
        assert!(
            Platform::ALL
                .iter()
                .all(|platform| platform::NAMES.contains(platform.name()))
        );
    }

    #[tokio::test]
    async fn a_private_key_is_no_identity_and_is_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("id");
        let reference = SecretReference::File(path.clone());
        let identity = Identity::Secret(reference.clone());
        for (text, is_identity) in [("a.b.c\n", true), ("-----BEGIN PRIVATE KEY-----\ncanary\n", false)] {
            std::fs::write(&path, text).unwrap();
            let secret = reference.read(&Environment::default()).await.unwrap();
            match identity.reject_key(secret) {
                Ok(_) => assert!(is_identity, "{text}"),
                Err(error) => assert!(!is_identity && !error.message.contains("canary"), "{error}"),
            }
        }
    }
}
