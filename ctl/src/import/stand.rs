//! What the daemon has already of what was found.

use regauth_shared::request::{Holds, Nothing};
use regauth_shared::response::{Held, RegistryList, RegistryView};
use regauth_shared::{ErrorBody, RegistryName, Request};

use super::Found;
use super::gather::numbered;
use crate::client::Client;

/// How a token that was found stands to the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// No registry covers its place.
    New,
    /// This registry has the same token.
    Same(RegistryName),
    /// This registry has another token.
    Other(RegistryName),
    /// This registry covers its place in another way: with another user or scheme, or a token from elsewhere.
    Otherwise(RegistryName),
}

/// How each stands; those that are new get a name that no registry has.
///
/// # Errors
/// No daemon answers.
pub(crate) fn stand(found: &mut [Found], client: &Client) -> Result<Vec<Standing>, ErrorBody> {
    let list: RegistryList = client.call(&Request::List(Nothing {}))?.answer;
    let mut standings = Vec::new();
    for at in 0..found.len() {
        let names: Vec<RegistryName> = found.iter().map(|other| other.name.clone()).collect();
        let Some(one) = found.get_mut(at) else { continue };
        let standing = match list.registries.iter().find(|view| covers(view, one)) {
            Some(view) => compared(view, one, client)?,
            None => Standing::New,
        };
        let is_taken = |name: &RegistryName| list.registries.iter().any(|view| view.name == *name);
        if standing == Standing::New && is_taken(&one.name) {
            let taken = |name: &RegistryName| is_taken(name) || names.contains(name);
            one.name = numbered(one.name.as_str(), taken).unwrap_or_else(|| one.name.clone());
        }
        standings.push(standing);
    }
    Ok(standings)
}

fn covers(view: &RegistryView, found: &Found) -> bool {
    let same_index = view.index.as_deref().map(bare) == Some(bare(found.place.as_str()));
    let place = format!("{}/", bare(found.place.url()));
    same_index || view.scopes.iter().any(|scope| place.starts_with(scope.as_str()))
}

fn bare(text: &str) -> &str {
    text.trim_end_matches('/')
}

fn compared(view: &RegistryView, found: &Found, client: &Client) -> Result<Standing, ErrorBody> {
    let name = view.name.clone();
    let same_login = view.scheme == found.login.scheme() && view.username.as_deref() == found.login.username();
    if !same_login || view.source != "store" {
        return Ok(Standing::Otherwise(name));
    }
    let held: Held = client
        .call(&Request::Holds(Holds {
            name: name.clone(),
            token: found.secret.clone(),
        }))?
        .answer;
    Ok(match held.same {
        Some(true) => Standing::Same(name),
        _ => Standing::Other(name),
    })
}
