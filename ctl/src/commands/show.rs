//! `regauthctl show`.

use regauth_shared::rejection::USUAL_REJECTIONS;
use regauth_shared::request::ByName;
use regauth_shared::response::{RegistryView, RequestFailure, SourceFailure};
use regauth_shared::{ErrorBody, RegistryName, Request};

use super::registry_text;
use crate::client::Client;
use crate::output::{self, Report};
use crate::relative_time::absolute_and_relative;

/// Show one registry: its configuration and its state
///
/// Shows everything but its secret: scopes, scheme, the credential's source, generation and age, the time of the last
/// use and the registry's last answer.
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
    let reply = client.call(&Request::Show(ByName { name: arguments.name }))?;
    Ok(Report::from_reply(reply, describe))
}

/// Statuses with which the registry rejects a token, unless they are the usual ones.
fn unusual_rejections(view: &RegistryView) -> Option<String> {
    let statuses = view.rejected_by.as_slice();
    let is_unusual = !statuses.is_empty() && statuses != USUAL_REJECTIONS;
    is_unusual.then(|| statuses.iter().map(u16::to_string).collect::<Vec<_>>().join(", "))
}

fn describe(view: &RegistryView) -> String {
    let credential = &view.credential;
    let age = |time: &Option<String>| time.as_deref().map(absolute_and_relative);
    let mut pairs = vec![("name", Some(view.name.to_string())), ("kind", Some(view.kind.clone()))];
    pairs.push(("index", view.index.clone()));
    for (number, scope) in view.scopes.iter().enumerate() {
        pairs.push((if number == 0 { "scopes" } else { "" }, Some(scope.clone())));
    }
    pairs.extend(unconfirmed(view));
    pairs.extend([
        (
            "scheme",
            Some(registry_text::scheme(&view.scheme, view.username.as_deref())),
        ),
        ("source", Some(registry_text::source(view))),
        ("token service", view.token_service.clone()),
        ("writes", Some(registry_text::writes(view))),
        ("ca-file", view.ca_file.clone()),
        (
            "programs",
            Some(view.programs.join(", ")).filter(|programs| !programs.is_empty()),
        ),
        ("rejected by", unusual_rejections(view)),
        ("state", Some(registry_text::state(credential.state).to_owned())),
        ("reason", credential.reason.clone()),
        ("generation", Some(credential.generation.to_string())),
        ("since", age(&credential.since)),
        ("expires", age(&credential.expires)),
        (
            if credential.failure.is_some() {
                "tried again"
            } else {
                "renewed"
            },
            age(&credential.renews),
        ),
        ("failure", credential.failure.as_ref().map(registry_text::failure)),
        ("trouble", view.trouble.clone()),
    ]);
    pairs.extend(requests(view));
    pairs.extend(credential.failure.iter().flat_map(more_about));
    output::key_values(pairs.into_iter().filter_map(|(key, value)| Some((key, value?))))
}

/// Lines about changes that are not in service until a person confirms them.
fn unconfirmed(view: &RegistryView) -> Vec<(&'static str, Option<String>)> {
    let changes = view.changes.iter().enumerate();
    let mut lines: Vec<_> = changes
        .map(|(number, change)| (if number == 0 { "changed" } else { "" }, Some(change.clone())))
        .collect();
    if !lines.is_empty() {
        let next = format!("not in service until `regauthctl confirm {}`", view.name);
        lines.push(("", Some(next)));
    }
    lines
}

/// Lines about the registry's requests: when one last worked, and the last failure.
fn requests(view: &RegistryView) -> [(&'static str, Option<String>); 8] {
    let age = |time: &Option<String>| time.as_deref().map(absolute_and_relative);
    let failure = |failure: &Option<RequestFailure>| failure.as_ref().map(registry_text::request_failure);
    let next_step = view.last_failure.as_ref().map(|failure| failure.hint.clone());
    [
        ("requests", Some(format!("{} since the daemon started", view.requests))),
        ("last used", age(&view.last_used)),
        ("last worked", age(&view.last_worked)),
        ("last status", view.last_status.map(|status| status.to_string())),
        ("outside", outside(view)),
        ("last failure", failure(&view.last_failure)),
        ("past failure", failure(&view.past_failure)),
        ("next step", next_step),
    ]
}

/// Next step after a failure of the source, and the output of its program.
fn more_about(failure: &SourceFailure) -> Vec<(&'static str, Option<String>)> {
    let lines = failure.output.iter().flat_map(|output| output.lines());
    let lines = lines
        .enumerate()
        .map(|(number, line)| (if number == 0 { "it said" } else { "" }, Some(line.to_owned())));
    [("next step", failure.hint.clone())].into_iter().chain(lines).collect()
}

/// Refused requests that no scope covered, and the command that would cover them.
fn outside(view: &RegistryView) -> Option<String> {
    let scope = view.wider_scope.as_deref()?;
    let (count, name) = (view.refused_outside, &view.name);
    (count > 0).then(|| {
        format!(
            "{count} refused without a token, outside of the scopes; `regauthctl add-scope {name} {scope}` covers them"
        )
    })
}
