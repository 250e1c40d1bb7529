//! `regauthctl env`.

use std::collections::BTreeMap;

use regauth_shared::ErrorBody;
use regauth_shared::paths::Folders;

use crate::client::Client;
use crate::client_files;
use crate::company;
use crate::daemon_info::DaemonInfo;
use crate::environment;
use crate::output::{self, Report};
use crate::shell::Shell;

/// Print the environment that makes all clients use the proxy
///
/// Sets the proxy, the bundle and the credential provider in every variable that cargo, git, curl, pip, uv, npm, Yarn,
/// Node, Perl and the AWS tools read, JAVA_TOOL_OPTIONS with a trust store for Java, and files for RubyGems, Bundler and
/// PHP, in your shell's syntax. Corrects a
/// NO_PROXY that would send a registry past the proxy. A grant of this daemon in HTTPS_PROXY stays.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Syntax of the output [default: the shell that SHELL names]
    #[arg(long, value_enum)]
    shell: Option<Shell>,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl env --shell bash
  regauthctl env --shell fish
  regauthctl env --shell dotenv

  eval \"$(regauthctl env --shell bash)\"      in a shell or an .envrc";

/// Prints the environment.
pub(crate) fn run(arguments: Arguments, client: &Client, folders: &Folders) -> Result<Report, ErrorBody> {
    let info = DaemonInfo::fetch(client, folders)?;
    client_files::write(&info)?;
    let variables = environment::caller_variables(&info);
    company::warn_of_replaced_variables(&info);
    if environment::grant_of_caller(&info).is_some() {
        output::print_to_stderr(
            "note: Java cannot show the grant; `regauthctl run -- CMD` or `regauthctl forward` shows it for Java\n",
        );
    }
    let shell = arguments.shell.unwrap_or_else(Shell::of_caller);
    let text = shell.script(&variables);
    Ok(Report::from_value(&variables.into_iter().collect::<BTreeMap<_, _>>(), text)?.verbatim())
}
