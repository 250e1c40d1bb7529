//! Where a credential comes from.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use regauth_shared::RegistryName;

use crate::credential::source::preset::{InvalidPreset, PRESETS, Preset, PresetChoice};

/// Where a credential comes from.
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
    /// Another registry's credential.
    Of(RegistryName),
}

/// `store`, `env:VAR`, `file:/path`, or a preset as `google` or `vault:path=…,field=…`. Other commands have no such short
/// form.
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
                let preset = Preset::find(name).ok_or(InvalidSource::Unknown)?;
                Ok(Self::Command(preset.parse(values)?))
            }
        }
    }
}

/// In a word or two, for `show` and for messages; of a command, the program without its arguments.
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
            Self::Of(name) => write!(f, "credential-of:{name}"),
        }
    }
}

/// POSIX's set (XBD, section 8.1) with lower case: what every shell can set.
pub(crate) fn is_variable_name(text: &str) -> bool {
    !text.starts_with(|c: char| c.is_ascii_digit())
        && !text.is_empty()
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// Why a text is not a source. The text is not repeated: it may be a token in the wrong place.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// None of the forms.
    #[error(
        "a source is \"store\", \"env:VARIABLE\", \"file:/path\", a preset ({}) or a table with a command",
        preset_names()
    )]
    Unknown,
    /// A preset that lacks something.
    #[error(transparent)]
    Preset(#[from] InvalidPreset),
    /// Not something a shell could set.
    #[error("what follows `env:` is not the name of an environment variable")]
    BadVariable,
    /// Relative to what? A daemon has no useful working directory.
    #[error("what follows `file:` is not an absolute path")]
    RelativeFile,
}

fn preset_names() -> String {
    PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>().join(", ")
}

/// A program that prints a token.
#[derive(Clone, Debug, PartialEq)]
pub struct Command {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// How its output is read.
    pub output: Output,
    /// How long a token lives where the output does not say.
    pub ttl: Option<Duration>,
    /// How long the program may run.
    pub timeout: Duration,
    /// Variables of our environment that it gets besides the usual ones.
    pub environment: Vec<String>,
    /// The preset that it was made from.
    pub preset: Option<PresetChoice>,
}

impl Command {
    /// The program's name, for messages: its arguments may hold anything.
    pub fn program(&self) -> &str {
        self.command.first().map_or("", String::as_str)
    }
}

/// How a command's output is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// One line, the token.
    Raw,
    /// A JSON document and the JSON pointers (RFC 6901) into it.
    Json {
        /// Where the token is.
        token: String,
        /// Where the time of expiry is.
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
