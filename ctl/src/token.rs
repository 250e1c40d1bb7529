//! Where a token comes from: a person, stdin, or a named environment variable. Never an argument.

use std::io::{IsTerminal, Read};

use regauth_shared::{ErrorBody, Secret};
use secrecy::zeroize::Zeroizing;

use crate::{error, terminal};

/// The flags of every verb that takes a token.
#[derive(clap::Args)]
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
    /// Whether one of them was given.
    pub(crate) fn given(&self) -> bool {
        self.token_stdin || self.token_env.is_some()
    }

    /// The token. `prompt` is called when a person is going to be asked, and only then.
    ///
    /// # Errors
    /// It is not a token, or there is nobody to ask.
    pub(crate) fn read(&self, prompt: impl FnOnce() -> Result<String, ErrorBody>) -> Result<Secret, ErrorBody> {
        let text = match &self.token_env {
            Some(variable) => from_environment(variable)?,
            // `--token-stdin` at a terminal would show the token as it is typed.
            None if std::io::stdin().is_terminal() => terminal::ask(&prompt()?)?,
            None if self.token_stdin => from_stdin()?,
            None => {
                return Err(error::usage("there is no terminal to ask for the token on")
                    .hint("pipe the token in with --token-stdin, or name a variable with --token-env VAR"));
            }
        };
        Secret::parse(&text).map_err(|invalid| {
            error::usage(invalid.to_string()).hint("nothing was sent; give the token as the registry has shown it")
        })
    }
}

/// All of stdin, or as much as is certainly too long for a secret.
pub(crate) fn from_stdin() -> Result<Zeroizing<String>, ErrorBody> {
    // Room from the start: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LIMIT));
    std::io::stdin()
        .lock()
        .take(LIMIT as u64)
        .read_to_end(&mut bytes)
        .map_err(error::io("cannot read from stdin"))?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(error::usage("what came from stdin is not text")),
    }
}

/// The name is not repeated: whoever writes `--token-env "$TOKEN"` has given the token for a name.
fn from_environment(variable: &str) -> Result<Zeroizing<String>, ErrorBody> {
    let value = std::env::var_os(variable).ok_or_else(|| {
        error::usage("the environment variable that --token-env names is not set")
            .hint("give the variable's name, not its value, and export it: --token-env CORP_TOKEN")
    })?;
    match value.into_string() {
        Ok(text) => Ok(Zeroizing::new(text)),
        Err(_) => Err(error::usage("what the environment variable holds is not text")),
    }
}

/// Twice what [`Secret`] takes.
const LIMIT: usize = 32 * 1024;
