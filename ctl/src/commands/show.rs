//! `regauthctl show`.

use regauth_shared::request::ByName;
use regauth_shared::response::RegistryView;
use regauth_shared::{ErrorBody, RegistryName, Request};

use super::registry;
use crate::client::Client;
use crate::moment::absolute_and_relative;
use crate::output::{self, Report};

/// Show one registry: what is configured and how it is doing
///
/// Everything that is known of it but its secret: scopes, scheme, where the credential comes from, its generation and
/// age, when it was last used and what the registry answered.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// The registry
    name: RegistryName,
}

const EXAMPLES: &str = "\
Examples:
  regauthctl show corp
  regauthctl show corp --json";

/// Shows the registry.
pub(crate) fn run(arguments: Arguments, client: &Client) -> Result<Report, ErrorBody> {
    let reply = client.ask(&Request::Show(ByName { name: arguments.name }))?;
    Ok(Report::new(reply, words))
}

fn words(view: &RegistryView) -> String {
    let credential = &view.credential;
    let age = |moment: &Option<String>| moment.as_deref().map(absolute_and_relative);
    let mut pairs = vec![("name", Some(view.name.to_string())), ("kind", Some(view.kind.clone()))];
    pairs.push(("index", view.index.clone()));
    for (number, scope) in view.scopes.iter().enumerate() {
        pairs.push((if number == 0 { "scopes" } else { "" }, Some(scope.clone())));
    }
    pairs.extend([
        ("scheme", Some(registry::scheme(&view.scheme, view.username.as_deref()))),
        ("source", Some(registry::source(view))),
        ("writes", Some(registry::writes(view))),
        ("state", Some(registry::state(credential.state).to_owned())),
        ("generation", Some(credential.generation.to_string())),
        ("since", age(&credential.since)),
        ("expires", age(&credential.expires)),
        ("renewed", age(&credential.renews)),
        ("failure", credential.failure.as_ref().map(registry::failure)),
        ("trouble", view.trouble.clone()),
        ("requests", Some(format!("{} since the daemon started", view.requests))),
        ("last used", age(&view.last_used)),
        ("last status", view.last_status.map(|status| status.to_string())),
    ]);
    let said = credential
        .failure
        .as_ref()
        .and_then(|failure| failure.output.as_deref());
    let lines = said.into_iter().flat_map(str::lines).map(str::to_owned);
    pairs.extend(
        lines
            .enumerate()
            .map(|(number, line)| (if number == 0 { "it said" } else { "" }, Some(line))),
    );
    output::pairs(pairs.into_iter().filter_map(|(key, value)| Some((key, value?))))
}
