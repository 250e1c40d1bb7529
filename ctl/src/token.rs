//! Reads tokens and passphrases, and has the flags that choose a token's source. A token is never an argument.
//!
//! [`TokenFlags`] is a token given now: from the terminal, stdin or an environment variable. [`SourceFlags`] is a
//! source that the daemon reads again later.

mod terminal;

use std::io::{self, IsTerminal, Read};

use regauth_shared::request::SourceCommand;
use regauth_shared::secret::InvalidSecret;
use regauth_shared::{ErrorBody, RegistryName, Secret};
use secrecy::zeroize::Zeroizing;

use self::terminal::EchoOff;
use crate::output::print_to_stderr;
use crate::{error, paste};

/// Flags of every verb that takes a token.
#[derive(clap::Args, Default)]
#[group(multiple = false)]
pub(crate) struct TokenFlags {
    /// Read the token from stdin, all of it
    #[arg(long)]
    token_stdin: bool,

    /// Read the token from this environment variable
    #[arg(long, value_name = "VAR")]
    token_env: Option<String>,
}

impl TokenFlags {
    /// True if one of the flags was given.
    pub(crate) fn is_given(&self) -> bool {
        self.token_stdin || self.token_env.is_some()
    }

    /// Checks that the variable is set, so that nobody answers questions for nothing.
    ///
    /// # Errors
    /// It is not, or is not text.
    pub(crate) fn check_variable(&self) -> Result<(), ErrorBody> {
        self.token_env
            .as_deref()
            .map_or(Ok(()), |name| from_environment(name).map(drop))
    }

    /// True if [`TokenFlags::read`] would ask a person.
    pub(crate) fn asks_a_person(&self) -> bool {
        self.token_env.is_none() && io::stdin().is_terminal()
    }

    /// Reads the token, in what people paste around it. `prompt` is called before a person is asked, and for the scheme of a
    /// token with words around it.
    ///
    /// # Errors
    /// The text is not a token, no flag was given and there is no terminal, or `prompt` fails.
    pub(crate) fn read(&self, prompt: impl FnOnce() -> Result<TokenPrompt, ErrorBody>) -> Result<Secret, ErrorBody> {
        let in_environment = self.token_env.as_deref().map(from_environment).transpose()?;
        // `--token-stdin` at a terminal would show the token as it is typed.
        let is_typed = in_environment.is_none() && io::stdin().is_terminal();
        if in_environment.is_none() && !is_typed && !self.token_stdin {
            return Err(error::usage("cannot ask for the token without a terminal")
                .hint("pipe the token in with --token-stdin, or name a variable with --token-env VAR"));
        }
        let (given, scheme) = match in_environment {
            None if is_typed => {
                let TokenPrompt { text, scheme } = prompt()?;
                (from_terminal(&text)?, scheme)
            }
            given => {
                let given = given.map_or_else(from_stdin, Ok)?;
                // Only a blank separates a token from a word of its header, and what that is depends on the scheme.
                let has_words = paste::token(&given, RAW).trim().contains(' ');
                let scheme = if has_words { prompt()?.scheme } else { RAW.to_owned() };
                (given, scheme)
            }
        };
        parse_pasted(&given, &scheme).map_err(|invalid| {
            error::usage(invalid.to_string()).hint("nothing was sent; give the token as the registry has shown it")
        })
    }
}

/// Prompt for a token.
pub(crate) struct TokenPrompt {
    /// Text of the prompt.
    pub(crate) text: String,
    /// Scheme of the registry, such as `bearer`: it tells what is not part of a token.
    pub(crate) scheme: String,
}

/// Reads the token in a pasted text, and says so if the text had more.
///
/// # Errors
/// The text is no token.
pub(crate) fn parse_pasted(text: &str, scheme: &str) -> Result<Secret, InvalidSecret> {
    let token = paste::token(text, scheme);
    if token.len() < text.trim().len() {
        print_to_stderr("note: quotes and words around the token were left out\n");
    }
    Secret::parse(token)
}

/// Flags that name a source from which the daemon reads the token itself.
#[derive(clap::Args)]
#[command(next_help_heading = "Token sources")]
pub(crate) struct SourceFlags {
    /// Source of the token: store (default), env:VARIABLE, file:/PATH, or a program that regauthd knows:
    /// codeartifact:domain=D,owner=ACCOUNT,region=R, google, azure[:resource=R], vault:path=P[,field=F],
    /// 1password:reference=op://V/I/F. Or an exchange that mints tokens from the identity of this job or machine:
    /// jfrog:host=H,provider=P, cloudsmith:organization=O,service=S, codeartifact:…,role=ARN, azure:tenant=T,client-id=C,
    /// google:provider=P, github-app:client-id=C,installation=I,private-key=file:/PATH, vault:address=URL,role=R,path=P,
    /// oauth:token-url=URL; each with identity=file:/PATH to name another identity
    #[arg(long, conflicts_with_all = ["command", "credential_of"])]
    pub(crate) source: Option<String>,

    /// Use the token of another registry, with a scheme of its own
    #[arg(long, value_name = "NAME", conflicts_with = "command")]
    pub(crate) credential_of: Option<RegistryName>,

    #[command(flatten)]
    pub(crate) command: CommandFlags,
}

/// Flags of a program that prints the token.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Token sources")]
pub(crate) struct CommandFlags {
    /// A program that prints the token, and its arguments; no shell. All words that follow belong to the program, so
    /// give this flag last
    #[arg(long = "source-command", value_name = "COMMAND", num_args = 1.., allow_hyphen_values = true)]
    command: Vec<String>,

    /// The program prints JSON, and the token is at this pointer (RFC 6901)
    #[arg(long = "source-json", value_name = "POINTER", requires = "command")]
    token: Option<String>,

    /// The token's expiry is at this pointer: RFC 3339, or seconds since 1970
    #[arg(long = "source-expires", value_name = "POINTER", requires = "token")]
    expires: Option<String>,

    /// Lifetime of a token, such as 11h, if the program does not print it
    #[arg(long = "source-ttl", value_name = "DURATION", requires = "command")]
    ttl: Option<String>,

    /// Time limit for the program [default: 20s]
    #[arg(long = "source-timeout", value_name = "DURATION", requires = "command")]
    timeout: Option<String>,

    /// A variable of regauthd's environment that the program gets; can be given several times
    #[arg(long = "source-env", value_name = "VAR", requires = "command")]
    env: Vec<String>,
}

impl SourceFlags {
    /// True if the daemon fetches the token, so that nobody has to be asked for it.
    pub(crate) fn is_external(&self) -> bool {
        let is_store = self.source.as_deref().is_none_or(|source| source == "store");
        !is_store || self.credential_of.is_some() || !self.command.command.is_empty()
    }

    /// True for a source that fetches tokens of one service, and so with one scheme. Others give any secret.
    pub(crate) fn has_a_scheme(&self) -> bool {
        let any_secret = ["store", "file:", "env:", "vault:", "1password:"];
        let is_plain = |source: &str| any_secret.iter().any(|start| source.starts_with(start));
        self.source.as_deref().is_some_and(|source| !is_plain(source))
    }
}

impl CommandFlags {
    /// Converts the flags to their form in a request; `None` without `--source-command`.
    ///
    /// # Errors
    /// The program's name is empty.
    pub(crate) fn into_request(self) -> Result<Option<SourceCommand>, ErrorBody> {
        match self.command.first() {
            None => Ok(None),
            Some(program) if program.is_empty() => Err(error::usage("--source-command: the program's name is empty")),
            Some(_) => Ok(Some(SourceCommand {
                command: self.command,
                token: self.token,
                expires: self.expires,
                ttl: self.ttl,
                timeout: self.timeout,
                env: self.env,
            })),
        }
    }
}

/// Asks for a secret at the terminal, without echo. Returns the line without its ending.
///
/// # Errors
/// There is no terminal, it was closed, or more than one line was pasted. Ctrl-C ends the process.
pub(crate) fn from_terminal(prompt: &str) -> Result<Zeroizing<String>, ErrorBody> {
    let echo = EchoOff::new().map_err(error::io("cannot use the terminal"))?;
    let unreadable = || error::io("cannot read from the terminal");
    let typed = echo.read_line(prompt).map_err(unreadable())?;
    match echo.drop_pending_input().map_err(unreadable())? {
        false => Ok(typed),
        true => Err(error::usage("the text has several lines, and a secret is one line")
            .hint("nothing was sent, and the other lines were dropped; paste it as one line")),
    }
}

/// Reads all of stdin, or as much as is certainly too long for a secret.
///
/// # Errors
/// stdin cannot be read, or is not UTF-8.
pub(crate) fn from_stdin() -> Result<Zeroizing<String>, ErrorBody> {
    // Full capacity from the start: a buffer that grows leaves copies of the secret in freed memory.
    let mut bytes = Zeroizing::new(Vec::with_capacity(STDIN_LIMIT));
    io::stdin()
        .lock()
        .take(STDIN_LIMIT as u64)
        .read_to_end(&mut bytes)
        .map_err(error::io("cannot read from stdin"))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(error::usage("stdin is not text")),
    }
}

/// Reads the variable that `--token-env` names. The errors do not repeat its name: after `--token-env "$TOKEN"` the name is the
/// token.
///
/// # Errors
/// The variable is not set, or is not text.
pub(crate) fn from_environment(variable: &str) -> Result<Zeroizing<String>, ErrorBody> {
    let value = std::env::var_os(variable).ok_or_else(|| {
        error::usage("the environment variable that --token-env names is not set")
            .hint("give the variable's name, not its value, and export it: --token-env CORP_TOKEN")
    })?;
    match value.into_string() {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(_) => Err(error::usage(
            "the environment variable that --token-env names is not text",
        )),
    }
}

/// Scheme whose token may begin with any word.
const RAW: &str = "raw";
/// In bytes: twice the longest [`Secret`].
const STDIN_LIMIT: usize = 32 * 1024;
