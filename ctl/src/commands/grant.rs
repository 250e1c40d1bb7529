//! `regauthctl grant`, and the text form of a grant.

use regauth_shared::request::Grant;
use regauth_shared::response::{GrantView, Granted};
use regauth_shared::{ErrorBody, RegistryName, Request};

use super::allow;
use crate::client::Client;
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
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = allow::seconds)]
    seconds: u64,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl grant --registry corp
  regauthctl grant --registry corp --write --for 15m";

/// Makes the grant.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.call(&Request::Grant(Grant {
        registries: arguments.registry,
        write: arguments.write,
        seconds: arguments.seconds,
    }))?;
    Ok(Report::from_reply(reply, describe))
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
