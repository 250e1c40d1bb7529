//! `regauthctl grants`.

use regauth_shared::request::Nothing;
use regauth_shared::response::{GrantList, GrantView};
use regauth_shared::{ErrorBody, Request};

use super::grant::{operations, registries};
use crate::client::Client;
use crate::output::{self, Report};
use crate::relative_time::relative;

/// List the grants that are in force
///
/// The list has no tokens: the daemon keeps only a hash of each.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {}

const EXAMPLES: &str = "\
Examples:
  regauthctl grants
  regauthctl grants --json";

/// Lists the grants.
pub(crate) fn run(_: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    Ok(Report::from_reply(client.call(&Request::Grants(Nothing {}))?, describe))
}

fn describe(list: &GrantList) -> String {
    if list.grants.is_empty() {
        return "No grants. Make one: regauthctl grant --registry NAME\n".to_owned();
    }
    let heading = ["ID", "REGISTRIES", "OPENS", "ENDS", "LAST USED"];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(list.grants.iter().map(row));
    output::table(&rows)
}

fn row(grant: &GrantView) -> Vec<String> {
    vec![
        grant.id.clone(),
        registries(grant),
        operations(grant).to_owned(),
        relative(&grant.expires),
        grant.last_used.as_deref().map_or("never".to_owned(), relative),
    ]
}
