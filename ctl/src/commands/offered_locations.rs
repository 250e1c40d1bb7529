//! URLs that a cargo index names on its own host, outside of what its registry covers: the person decides about them.
//!
//! The daemon returns those of a sparse index as offers, and [`git_index`](super::git_index) finds those of a git index.
//! Without a person, and without a flag that declines, the registry covers them at once. The token service of a container
//! registry is asked about before the token, because nothing works without it.

use std::collections::VecDeque;
use std::mem;

use regauth_shared::request::{AddRegistry, AddScope};
use regauth_shared::response::{OfferedLocation, RegistryAdded, RegistryChecked, RegistryView};
use regauth_shared::{ErrorBody, ErrorKind, Request, Secret};

use crate::client::Client;
use crate::{error, output, prompt};

/// Flags that stand for the person's answer.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct LocationFlags {
    /// Cover the URLs that the index names on its own host without a question; with --from, agree to what the file adds and
    /// changes, too
    #[arg(long, short)]
    pub(crate) yes: bool,

    /// Cover no URL that only the index names, and print the command that adds it
    #[arg(long, conflicts_with = "yes")]
    no_index_scopes: bool,
}

/// Decision about the URLs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// Cover them.
    Cover,
    /// Ask the person.
    Ask,
    /// Leave them out.
    Leave,
}

impl LocationFlags {
    /// Decision of the flags, or of the person at the terminal.
    pub(super) fn decision(self, client: &Client) -> Decision {
        match (self.yes, self.no_index_scopes) {
            (true, _) => Decision::Cover,
            (false, true) => Decision::Leave,
            (false, false) => Decision::of_person(client.has_person()),
        }
    }
}

impl Decision {
    /// Decision without flags.
    pub(super) fn of_person(can_be_asked: bool) -> Self {
        if can_be_asked { Self::Ask } else { Self::Cover }
    }

    /// True if the URLs are offered instead of added.
    pub(super) fn wants_offers(self) -> bool {
        self != Self::Cover
    }
}

/// Adds the offered URLs to the registry if the person agrees, and a note for each of the others. Returns the person's answer
/// as a flag, if there was a question. `token` is the one that was just given for the registry: it permits the change.
///
/// The registry is there already, so no failure is an error of the whole command.
pub(super) fn settle(
    added: &mut RegistryAdded,
    decision: Decision,
    client: &Client,
    token: Option<Secret>,
) -> Option<&'static str> {
    if added.offered.is_empty() {
        return None;
    }
    let is_agreed = decision == Decision::Ask && is_agreed(added, client);
    if is_agreed {
        cover(added, client, token.as_ref());
    }
    let name = &added.registry.name;
    added.notes.extend(added.offered.iter().map(|offer| offer.note(name)));
    (decision == Decision::Ask).then_some(if is_agreed { "--yes" } else { "--no-index-scopes" })
}

/// Token service of a container registry, outside of its scopes, that may get the token; `None` if there is nothing to ask.
/// `request` is the registry's definition, without a token, and `known` the service that the registry has named, if it was asked.
///
/// # Errors
/// `refused` if the person says no, since the registry takes no token itself; those of the daemon.
pub(super) fn token_service(
    request: AddRegistry,
    known: Option<Option<String>>,
    decision: Decision,
    client: &Client,
) -> Result<Option<String>, ErrorBody> {
    let is_unnamed = request.kind.as_deref() == Some("oci") && request.token_service.is_none();
    if decision != Decision::Ask || !is_unnamed || !request.verify {
        return Ok(None);
    }
    let name = request.name.clone();
    let ask_registry = || {
        let reply = client.call::<RegistryChecked>(&Request::CheckRegistry(Box::new(request)))?;
        Ok(reply.answer.token_service)
    };
    let Some(service) = known.map_or_else(ask_registry, Ok)? else {
        return Ok(None);
    };
    output::print_to_stderr(&format!(
        "Clients of {name} get short tokens from a service outside of its scopes:\n  {service}\n"
    ));
    match prompt::confirm("Send the token there?")? {
        true => Ok(Some(service)),
        false => Err(error::refused(format!(
            "{name} was not added: without that service, its token is of no use"
        ))
        .hint("give another one, if there is one: --token-service URL")),
    }
}

/// Shows the URLs and asks the person. The dialogue of a guarded daemon asks by itself, and names them.
fn is_agreed(added: &RegistryAdded, client: &Client) -> bool {
    output::print_to_stderr(&list(added));
    client.asks_a_person() || prompt::confirm("Send the token there as well?").unwrap_or_default()
}

fn list(added: &RegistryAdded) -> String {
    let row = |offer: &OfferedLocation| vec![offer.url.clone(), offer.purpose.clone()];
    let rows: Vec<_> = added.offered.iter().map(row).collect();
    let lines = output::aligned(&rows);
    let lines = lines.lines().map(|line| format!("  {line}\n"));
    let title = format!("The index of {} names more URLs on its host:\n", added.registry.name);
    std::iter::once(title).chain(lines).collect()
}

/// Adds the offered URLs as scopes, with a note for each that the daemon refuses. `token` permits the change.
pub(super) fn cover(added: &mut RegistryAdded, client: &Client, token: Option<&Secret>) {
    let name = added.registry.name.clone();
    let add = |scopes: Vec<String>| {
        let (name, proof) = (name.clone(), token.cloned());
        let reply = client.call::<RegistryView>(&Request::AddScope(AddScope { name, scopes, proof }))?;
        Ok(reply.answer)
    };
    let added_now = add_each(mem::take(&mut added.offered), add);
    added.registry = added_now.view.unwrap_or_else(|| added.registry.clone());
    for (offer, error) in added_now.refused {
        added.notes.extend([error.message, offer.note(&name)]);
    }
}

/// Result of adding scopes.
struct AddedScopes<View> {
    /// The registry after the last addition; `None` if nothing was added.
    view: Option<View>,
    refused: Vec<(OfferedLocation, ErrorBody)>,
}

/// Adds all URLs at once, or each by itself if one of them cannot be a scope: an index must not keep out the others by it.
fn add_each<View>(
    offers: Vec<OfferedLocation>,
    add: impl Fn(Vec<String>) -> Result<View, ErrorBody>,
) -> AddedScopes<View> {
    let mut result = AddedScopes {
        view: None,
        refused: Vec::new(),
    };
    let mut waiting = VecDeque::from([offers]);
    while let Some(offers) = waiting.pop_front().filter(|offers| !offers.is_empty()) {
        match add(offers.iter().map(|offer| offer.url.clone()).collect()) {
            Ok(view) => result.view = Some(view),
            Err(error) if is_about_a_url(&error) && offers.len() > 1 => {
                waiting.extend(offers.into_iter().map(|offer| vec![offer]));
            }
            Err(error) => result
                .refused
                .extend(offers.into_iter().map(|offer| (offer, error.clone()))),
        }
    }
    result
}

/// True for an error that another URL need not have. A person's no, or a daemon that is gone, holds for all of them.
fn is_about_a_url(error: &ErrorBody) -> bool {
    matches!(error.kind, ErrorKind::Invalid | ErrorKind::Exists)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_a_scope_keeps_out_no_other_one() {
        let offer = |url: &str| OfferedLocation {
            url: url.to_owned(),
            purpose: "downloads".to_owned(),
        };
        let check = |kind: ErrorKind, added: &[&str], refused: &[&str]| {
            let add = |scopes: Vec<String>| match scopes.iter().any(|scope| scope == "bad") {
                true => Err(ErrorBody::new(kind, "no")),
                false => Ok(scopes),
            };
            let result = add_each(vec![offer("bad"), offer("good")], add);
            let urls: Vec<&str> = result.refused.iter().map(|(offer, _)| offer.url.as_str()).collect();
            assert_eq!(urls, refused, "{kind:?}");
            assert_eq!(result.view.unwrap_or_default(), added, "{kind:?}");
        };
        check(ErrorKind::Invalid, &["good"], &["bad"]);
        check(ErrorKind::Refused, &[], &["bad", "good"]);
    }
}
