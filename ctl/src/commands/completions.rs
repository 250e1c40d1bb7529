//! `regauthctl completions`.

use clap::ValueEnum;
use clap_complete::env::Shells;
use regauth_shared::ErrorBody;

use crate::error;
use crate::output::Report;

/// Print a completion script for a shell: verbs, flags and the names of registries
///
/// The script runs regauthctl as you type, so it completes the present registries and works with later releases.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  source <(regauthctl completions bash)     in ~/.bashrc
  source <(regauthctl completions zsh)      in ~/.zshrc, below compinit
  regauthctl completions fish | source      in ~/.config/fish/config.fish";

#[derive(Clone, Copy, ValueEnum)]
enum Shell {
    Bash,
    Elvish,
    Fish,
    Powershell,
    Zsh,
}

impl Shell {
    fn name(self) -> &'static str {
        match self {
            Self::Bash => "bash",
            Self::Elvish => "elvish",
            Self::Fish => "fish",
            Self::Powershell => "powershell",
            Self::Zsh => "zsh",
        }
    }
}

/// Prints the script.
pub(crate) fn run(arguments: &Arguments) -> Result<Report, ErrorBody> {
    let name = arguments.shell.name();
    let shells = Shells::builtins();
    let shell = shells
        .completer(name)
        .ok_or_else(|| error::failed(format!("there is no completion for {name}")))?;
    let mut script = Vec::new();
    shell
        .write_registration(VARIABLE, PROGRAM, PROGRAM, PROGRAM, &mut script)
        .map_err(error::io("cannot write the script"))?;
    Ok(Report::script(String::from_utf8_lossy(&script).into_owned()))
}

/// Environment variable with which the script asks for candidates.
pub(crate) const VARIABLE: &str = "REGAUTH_COMPLETE";
const PROGRAM: &str = "regauthctl";
