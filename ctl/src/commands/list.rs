//! `regauthctl list`.

use regauth_shared::request::Nothing;
use regauth_shared::response::{RegistryList, RegistryView};
use regauth_shared::{ErrorBody, Request};

use super::registry_text;
use crate::client::Client;
use crate::output::{self, Report};
use crate::relative_time::relative;

/// List all registries
///
/// One line a registry: its state, the generation of its token, its writes, its hosts and the time of its last use.
/// Never a secret.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {}

const EXAMPLES: &str = "\
Examples:
  regauthctl list
  regauthctl list --json";

/// Lists the registries.
pub(crate) fn run(_: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    Ok(Report::from_reply(client.call(&Request::List(Nothing {}))?, describe))
}

fn describe(list: &RegistryList) -> String {
    if list.registries.is_empty() {
        return "No registries yet. Add one: regauthctl add-registry NAME --index URL\n".to_owned();
    }
    let heading = [
        "NAME",
        "KIND",
        "STATE",
        "GENERATION",
        "EXPIRES",
        "WRITES",
        "HOSTS",
        "LAST USED",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(list.registries.iter().map(row));
    let failures = list.registries.iter().filter_map(failure);
    output::table(&rows) + &failures.collect::<String>()
}

/// Last failure of a registry that has not answered since.
fn failure(view: &RegistryView) -> Option<String> {
    let failure = registry_text::request_failure(view.last_failure.as_ref()?);
    let worked = view.last_worked.as_deref().map_or("never".to_owned(), relative);
    Some(format!("{}: {failure}; last worked: {worked}\n", view.name))
}

fn row(view: &RegistryView) -> Vec<String> {
    vec![
        view.name.to_string(),
        view.kind.clone(),
        registry_text::state(view.credential.state).to_owned(),
        view.credential.generation.to_string(),
        registry_text::expiry(view),
        registry_text::writes(view),
        registry_text::hosts(&view.scopes),
        view.last_used.as_deref().map_or("never".to_owned(), relative),
    ]
}
