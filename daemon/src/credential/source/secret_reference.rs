//! Reference to a secret, as a person configures it: `file:/path` or `env:VARIABLE`. The configuration never has the secret
//! itself.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use regauth_shared::Secret;

use crate::credential::source::FetchError;
use crate::credential::source::environment::Environment;
use crate::credential::source::file;
use crate::registry::is_variable_name;

/// File or variable that holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretReference {
    /// A file, read at each use.
    File(PathBuf),
    /// An environment variable of the daemon.
    Variable(String),
}

impl SecretReference {
    /// Reads the secret.
    ///
    /// # Errors
    /// [`FetchError`] if there is none.
    pub(super) async fn read(&self, environment: &Environment) -> Result<Secret, FetchError> {
        match self {
            Self::File(path) => file::read_secret(path).await,
            Self::Variable(name) => {
                let secret = environment.secret(name);
                secret.map_err(|error| FetchError::new(error.to_string()))
            }
        }
    }

    /// The file's path.
    pub(super) fn into_file(self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path),
            Self::Variable(_) => None,
        }
    }

    /// The variable's name.
    pub(super) fn into_variable(self) -> Option<String> {
        match self {
            Self::File(_) => None,
            Self::Variable(name) => Some(name),
        }
    }
}

/// Parses `file:/path` or `env:VARIABLE`. The text of an invalid reference is not repeated: it may be the secret.
impl FromStr for SecretReference {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once(':') {
            Some(("file", path)) if Path::new(path).is_absolute() => Ok(Self::File(path.into())),
            Some(("env", name)) if is_variable_name(name) => Ok(Self::Variable(name.to_owned())),
            _ => Err("a secret does not belong here; give file:/path or env:VARIABLE"),
        }
    }
}

impl fmt::Display for SecretReference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Variable(name) => write!(f, "env:{name}"),
        }
    }
}
