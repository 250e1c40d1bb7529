//! `regauthctl grant`, and how a grant is shown.

use regauth_shared::request::Grant;
use regauth_shared::response::{GrantView, Granted};
use regauth_shared::{ErrorBody, RegistryName, Request};

use super::allow;
use crate::client::Client;
use crate::moment;
use crate::output::Report;

/// Let a client in that is not this user's
///
/// Other users' processes, containers and other machines need a grant; so does everybody where the system cannot tell
/// whose a connection is, such as on macOS. The proxy URL that is printed is the grant: whoever has it is let in, until
/// it is over or revoked. It is printed this once. Besides its registries it opens tunnels to public hosts, never to
/// this machine or its networks.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// A registry that it opens; can be given several times [default: all, also those that are added later]
    #[arg(long, value_name = "NAME")]
    registry: Vec<RegistryName>,

    /// Open writes as well, whether or not `regauthctl allow` has
    #[arg(long)]
    write: bool,

    /// How long: a number with s, m or h
    #[arg(long = "for", value_name = "TIME", default_value = "1h", value_parser = allow::seconds)]
    seconds: u64,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl grant --registry corp
  regauthctl grant --registry corp --write --for 15m";

/// Makes the grant.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.ask(&Request::Grant(Grant {
        registries: arguments.registry,
        write: arguments.write,
        seconds: arguments.seconds,
    }))?;
    Ok(Report::new(reply, words))
}

fn words(granted: &Granted) -> String {
    let grant = &granted.grant;
    format!(
        "Grant {} opens {} for {} until {}.\nIts bearer's proxy, which is not shown again:\n{}\n",
        grant.id,
        registries(grant),
        operations(grant),
        moment::absolute_and_relative(&grant.expires),
        granted.proxy.0,
    )
}

/// Which registries, in words.
pub(super) fn registries(grant: &GrantView) -> String {
    if grant.registries.is_empty() {
        return "all registries".to_owned();
    }
    let names: Vec<_> = grant.registries.iter().map(RegistryName::as_str).collect();
    names.join(", ")
}

/// Which operations, in words.
pub(super) fn operations(grant: &GrantView) -> &'static str {
    if grant.write { "reads and writes" } else { "reads" }
}
