//! The flags that say where a registry's token comes from, when not from a person.

use regauth_shared::request::SourceCommand;
use regauth_shared::{ErrorBody, RegistryName};

use crate::error;

/// Where a token comes from.
#[derive(clap::Args)]
#[command(next_help_heading = "Tokens from elsewhere")]
pub(crate) struct SourceFlags {
    /// store (default), env:VARIABLE, file:/PATH, or a program of which regauthd knows how to ask it:
    /// codeartifact:domain=D,owner=ACCOUNT,region=R, google, azure[:resource=R], vault:path=P[,field=F],
    /// 1password:reference=op://V/I/F
    #[arg(long, conflicts_with_all = ["words", "credential_of"])]
    pub(crate) source: Option<String>,

    /// Use the token of another registry, with a scheme of one's own
    #[arg(long, value_name = "NAME", conflicts_with = "words")]
    pub(crate) credential_of: Option<RegistryName>,

    #[command(flatten)]
    pub(crate) command: CommandFlags,
}

/// A program that prints the token, and how it is asked.
#[derive(clap::Args)]
#[command(next_help_heading = "Tokens from elsewhere")]
pub(crate) struct CommandFlags {
    /// A program that prints the token, and its arguments; no shell. Everything that follows belongs to it, so this flag
    /// comes last
    #[arg(long = "source-command", value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    words: Vec<String>,

    /// The program prints JSON, and the token is at this pointer (RFC 6901)
    #[arg(long = "source-json", value_name = "POINTER", requires = "words")]
    token: Option<String>,

    /// The time when the token ends is at this pointer: RFC 3339, or seconds since 1970
    #[arg(long = "source-expires", value_name = "POINTER", requires = "token")]
    expires: Option<String>,

    /// How long a token lives, such as 11h, where the program does not say
    #[arg(long = "source-ttl", value_name = "DURATION", requires = "words")]
    ttl: Option<String>,

    /// How long the program may run [default: 20s]
    #[arg(long = "source-timeout", value_name = "DURATION", requires = "words")]
    timeout: Option<String>,

    /// A variable of regauthd's environment that the program gets; can be given several times
    #[arg(long = "source-env", value_name = "VAR", requires = "words")]
    env: Vec<String>,
}

impl SourceFlags {
    /// Whether nobody has to be asked for a token.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let from_the_store = self.source.as_deref().is_none_or(|source| source == "store");
        !from_the_store || self.credential_of.is_some() || !self.command.words.is_empty()
    }
}

impl CommandFlags {
    /// The program, if there is one.
    ///
    /// # Errors
    /// It has no name.
    pub(crate) fn into_request(self) -> Result<Option<SourceCommand>, ErrorBody> {
        match self.words.first() {
            None => Ok(None),
            Some(program) if program.is_empty() => Err(error::usage("--source-command: the program comes first")),
            Some(_) => Ok(Some(SourceCommand {
                command: self.words,
                token: self.token,
                expires: self.expires,
                ttl: self.ttl,
                timeout: self.timeout,
                env: self.env,
            })),
        }
    }
}
