//! Flags that choose events, shared by `watch` and `audit`.

use clap::builder::NonEmptyStringValueParser;
use regauth_shared::RegistryName;
use regauth_shared::event;
use regauth_shared::request::Watch;

/// Flags that choose events. An event passes if it fits all of them.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct EventFlags {
    /// Only events of this registry; may be repeated
    #[arg(long = "registry", value_name = "NAME")]
    pub(crate) registries: Vec<RegistryName>,

    /// Only requests of this program: a file name, or a path with a slash; may be repeated
    #[arg(long = "program", value_name = "PROGRAM", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) programs: Vec<String>,

    /// Only requests with this grant
    #[arg(long, value_name = "ID")]
    pub(crate) grant: Option<String>,

    /// Only requests that regauthd refused or answered itself
    #[arg(long)]
    pub(crate) refused: bool,

    /// Only reads, or only writes
    #[arg(long, value_enum, value_name = "OPERATION")]
    pub(crate) op: Option<Operation>,
}

impl EventFlags {
    /// The flags as the filters of a `watch` request.
    pub(crate) fn to_watch(&self) -> Watch {
        Watch {
            registries: self.registries.clone(),
            programs: self.programs.clone(),
            grant: self.grant.clone(),
            refused: self.refused,
            operation: self.op.map(Into::into),
        }
    }
}

/// Operation of a request, as the flag `--op` names it. The variants' names are its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Operation {
    Read,
    Write,
}

impl From<Operation> for event::Operation {
    fn from(operation: Operation) -> Self {
        match operation {
            Operation::Read => Self::Read,
            Operation::Write => Self::Write,
        }
    }
}
