//! Source of a registry's credential, as configured.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use regauth_shared::{ErrorBody, ErrorKind, RegistryName};

use super::{Kind, Scheme};
use crate::credential::source::exchange::{EXCHANGES, ExchangeKind, InvalidExchange, Mint};
use crate::credential::source::preset::{InvalidPreset, PRESETS, Preset, PresetChoice};

/// Source of a credential.
#[derive(Clone, Debug, PartialEq)]
pub enum Source {
    /// The store: keychain, vault or memory.
    Store,
    /// An environment variable of the daemon, read at start.
    Environment(String),
    /// A file whose one line is the token.
    File(PathBuf),
    /// A program that prints the token.
    Command(Command),
    /// An exchange that gives a token for an identity.
    Minted(Box<Mint>),
    /// Another registry's credential.
    Of(RegistryName),
}

impl Source {
    /// True if the source may come from a file that someone else has written: it names no command, path or variable of
    /// this machine, and no other registry's credential.
    pub(crate) fn is_portable(&self) -> bool {
        match self {
            Self::Store => true,
            Self::Minted(mint) => mint.is_portable(),
            Self::Environment(_) | Self::File(_) | Self::Command(_) | Self::Of(_) => false,
        }
    }

    /// Refuses a source that only this machine's owner may configure.
    ///
    /// # Errors
    /// `refused`, unless [`Source::is_portable`].
    pub(crate) fn require_portable(&self) -> Result<(), ErrorBody> {
        if self.is_portable() {
            return Ok(());
        }
        let message = "a shared definition may name the store or an exchange as its source, but no command, preset, path, \
                       variable or other registry of this machine";
        Err(ErrorBody::new(ErrorKind::Refused, message)
            .hint("remove `source` from the file; give your own with `regauthctl add-registry --source`"))
    }

    /// True if the token can be fetched again.
    pub(crate) fn can_be_fetched(&self) -> bool {
        matches!(self, Self::File(_) | Self::Command(_) | Self::Minted(_))
    }

    /// True if a person has to log in before there is a token.
    pub(crate) fn needs_login(&self) -> bool {
        matches!(self, Self::Minted(mint) if mint.device_flow().is_some())
    }

    /// True if Google's metadata server gives the token.
    pub(crate) fn asks_metadata_server(&self) -> bool {
        matches!(self, Self::Minted(mint) if mint.asks_metadata_server())
    }

    /// True if regauth's store has the token, or the refresh token that gives one.
    pub(crate) fn is_stored(&self) -> bool {
        *self == Self::Store || self.needs_login()
    }

    /// Scheme that the token is sent by, unless the configuration has one.
    pub(crate) fn usual_scheme(&self, kind: Kind) -> Scheme {
        match self {
            Self::Minted(mint) => mint.usual_scheme(kind),
            Self::Store | Self::Environment(_) | Self::File(_) | Self::Command(_) | Self::Of(_) => Scheme::Bearer,
        }
    }

    /// Environment variables of the daemon that a program gets.
    pub(crate) fn passed_variables(&self) -> impl Iterator<Item = &str> {
        let command = match self {
            Self::Command(command) => Some(command),
            Self::Minted(mint) => mint.command(),
            Self::Store | Self::Environment(_) | Self::File(_) | Self::Of(_) => None,
        };
        let names = command.into_iter().flat_map(|command| &command.environment);
        names.map(String::as_str)
    }

    /// Environment variables with secrets that the daemon takes out of its environment for this source.
    pub(crate) fn secret_variables(&self) -> Vec<String> {
        match self {
            Self::Environment(variable) => vec![variable.clone()],
            Self::Minted(mint) => mint.secret_variables(),
            Self::Store | Self::File(_) | Self::Command(_) | Self::Of(_) => Vec::new(),
        }
    }
}

/// Parses `store`, `env:VAR`, `file:/path`, an exchange such as `jfrog:host=…,provider=…`, or a preset such as `google`
/// or `vault:path=…,field=…`. Other commands have no short form.
impl FromStr for Source {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        match text.split_once(':') {
            None if text == "store" => Ok(Self::Store),
            Some(("env", name)) if is_variable_name(name) => Ok(Self::Environment(name.to_owned())),
            Some(("env", _)) => Err(InvalidSource::BadVariable),
            Some(("file", path)) if Path::new(path).is_absolute() => Ok(Self::File(path.into())),
            Some(("file", _)) => Err(InvalidSource::RelativeFile),
            split => {
                let (name, values) = split.unwrap_or((text, ""));
                let (preset, exchange) = (Preset::find(name), ExchangeKind::find(name));
                match (
                    exchange.filter(|_| !preset.is_some_and(|preset| preset.fits(values))),
                    preset,
                ) {
                    (Some(exchange), _) => Ok(Self::Minted(Box::new(exchange.parse(values)?))),
                    (None, Some(preset)) => Ok(Self::Command(preset.parse(values)?)),
                    (None, None) => Err(InvalidSource::Unknown),
                }
            }
        }
    }
}

/// Short form for `show` and for messages. Of a command, only the program: its arguments may hold secrets.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store => f.write_str("store"),
            Self::Environment(variable) => write!(f, "env:{variable}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Command(command) => match &command.preset {
                Some(choice) => f.write_str(choice.preset),
                None => write!(f, "command:{}", command.program()),
            },
            Self::Minted(mint) => mint.fmt(f),
            Self::Of(name) => write!(f, "credential-of:{name}"),
        }
    }
}

/// True if every shell can set a variable of this name: POSIX's set (XBD, section 8.1) and lower case.
pub(crate) fn is_variable_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// A text is not a source. The text is not repeated: it may be a token in the wrong place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// It has none of the forms.
    #[error(
        "a source is \"store\", \"env:VARIABLE\", \"file:/path\", an exchange ({}), a preset ({}) or a table with a command",
        exchange_names(),
        preset_names()
    )]
    Unknown,
    /// It names a preset and cannot be used.
    #[error(transparent)]
    Preset(#[from] InvalidPreset),
    /// It names an exchange and cannot be used.
    #[error(transparent)]
    Exchange(#[from] InvalidExchange),
    /// No shell can set a variable of this name.
    #[error("what follows `env:` is not the name of an environment variable")]
    BadVariable,
    /// A relative path: a daemon has no useful working directory.
    #[error("what follows `file:` is not an absolute path")]
    RelativeFile,
}

/// Names of all exchanges, for messages.
pub(crate) fn exchange_names() -> String {
    EXCHANGES.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

fn preset_names() -> String {
    PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
}

/// A program that prints a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// Format of its output.
    pub output: Output,
    /// Lifetime of a token, if the output does not tell.
    pub ttl: Option<Duration>,
    /// Time limit of one run.
    pub timeout: Duration,
    /// Variables of the daemon's environment that it gets besides those that every program gets.
    pub environment: Vec<String>,
    /// The preset that it was made from, if any.
    pub preset: Option<PresetChoice>,
}

impl Command {
    /// The program's name, for messages: its arguments may hold anything.
    pub fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

/// Format of a command's output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// One line, the token.
    Raw,
    /// A JSON document and the JSON pointers (RFC 6901) into it.
    Json {
        /// Pointer to the token.
        token: String,
        /// Pointer to the time of expiry.
        expires: Option<String>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_have_a_short_form() {
        for (text, source) in [
            ("store", Ok(Source::Store)),
            ("env:CORP_TOKEN", Ok(Source::Environment("CORP_TOKEN".to_owned()))),
            ("file:/run/corp.token", Ok(Source::File("/run/corp.token".into()))),
            ("env:", Err(InvalidSource::BadVariable)),
            ("env:A-B", Err(InvalidSource::BadVariable)),
            ("env:1A", Err(InvalidSource::BadVariable)),
            ("file:corp.token", Err(InvalidSource::RelativeFile)),
            ("file:~/corp.token", Err(InvalidSource::RelativeFile)),
            ("keychain", Err(InvalidSource::Unknown)),
            ("store:x", Err(InvalidSource::Unknown)),
        ] {
            assert_eq!(text.parse(), source, "{text}");
        }
    }
}
