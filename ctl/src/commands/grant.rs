//! `regauthctl grant`, and the text form of a grant.

use std::path::Path;

use regauth_shared::request::{Grant, Nothing};
use regauth_shared::response::{GrantView, Granted, Status};
use regauth_shared::{ErrorBody, RegistryName, Request};

use crate::client::Client;
use crate::duration;
use crate::output::Report;
use crate::relative_time::absolute_and_relative;

/// Admit a client that is not a process of this user
///
/// Other users' processes, containers and other machines need a grant. So does every client if the system cannot tell
/// the user of a connection, such as on macOS. The printed proxy URL is the grant: it admits every client that has it,
/// until it expires or is revoked. It is not shown again. Besides its registries it opens tunnels to public hosts,
/// never to this machine or its networks.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A registry that the grant opens; can be given several times [default: all, also registries added later]
    #[arg(long, value_name = "NAME")]
    registry: Vec<RegistryName>,

    /// Allow writes as well, with or without `regauthctl allow`
    #[arg(long)]
    write: bool,

    /// Duration: a number with s, m or h
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = duration::positive_seconds)]
    seconds: u64,

    /// Print also how this client uses the grant
    #[arg(long = "as", value_enum, value_name = "CLIENT")]
    recipe: Option<Recipe>,
}

/// Client that a recipe is for. The variants' docs are help texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Recipe {
    /// Java, Maven and Gradle, by a forwarder
    Java,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl grant --registry corp
  regauthctl grant --registry corp --write --for 15m
  regauthctl grant --registry corp --as java";

/// Makes the grant.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.call(&Request::Grant(Grant {
        registries: arguments.registry,
        write: arguments.write,
        seconds: arguments.seconds,
    }))?;
    let lines = match arguments.recipe {
        Some(Recipe::Java) => java_recipe(client)?,
        None => String::new(),
    };
    Ok(Report::from_reply(reply, describe).with_lines(&lines))
}

/// Commands for the bearer's account. The URL is in a file and not in a command: others see the arguments of processes.
fn java_recipe(client: &Client) -> Result<String, ErrorBody> {
    let status: Status = client.call(&Request::Status(Nothing {}))?.answer;
    let bundle = Path::new(&status.bundle);
    Ok(format!(
        "
Java cannot show a grant. Write the URL to a file that only the bearer can read, here ~/grant.
Copy {} and {} to the bearer, here to ~/regauth/. Then, as the bearer:

  regauthctl forward --grant-file ~/grant --bundle ~/regauth/{} -- mvn package

Without a command, the forwarder runs until it is stopped, and prints JAVA_TOOL_OPTIONS for other shells.
",
        bundle.display(),
        bundle.with_extension("jks").display(),
        bundle.file_name().unwrap_or_default().display(),
    ))
}

fn describe(granted: &Granted) -> String {
    let grant = &granted.grant;
    format!(
        "Grant {} opens {} for {} until {}.\nThe bearer's proxy URL, which is not shown again:\n{}\n",
        grant.id,
        registries(grant),
        operations(grant),
        absolute_and_relative(&grant.expires),
        granted.proxy.0,
    )
}

/// Names of the grant's registries.
pub(super) fn registries(grant: &GrantView) -> String {
    if grant.registries.is_empty() {
        return "all registries".to_owned();
    }
    let names: Vec<_> = grant.registries.iter().map(RegistryName::as_str).collect();
    names.join(", ")
}

/// Operations that the grant opens.
pub(super) fn operations(grant: &GrantView) -> &'static str {
    if grant.write { "reads and writes" } else { "reads" }
}
