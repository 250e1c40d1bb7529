//! Comparison of found tokens with the daemon's registries.

use regauth_shared::request::{CompareToken, Nothing};
use regauth_shared::response::{RegistryList, RegistryView, TokenComparison};
use regauth_shared::{ErrorBody, RegistryName, Request};

use super::discover::number_name;
use super::found::FoundToken;
use crate::client::Client;

/// Status of a found token in the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ImportStatus {
    /// No registry covers the token's target.
    New,
    /// This registry has the same token.
    SameToken(RegistryName),
    /// This registry has another token.
    OtherToken(RegistryName),
    /// This registry covers the target with another user, scheme or source.
    OtherScheme(RegistryName),
}

/// Returns the status of each token, and renames new tokens whose name a registry already has.
///
/// # Errors
/// No daemon answers.
pub(crate) fn compare_with_daemon(tokens: &mut [FoundToken], client: &Client) -> Result<Vec<ImportStatus>, ErrorBody> {
    let list: RegistryList = client.call(&Request::List(Nothing {}))?.answer;
    let mut statuses = Vec::new();
    for at in 0..tokens.len() {
        let found_names: Vec<RegistryName> = tokens.iter().map(|token| token.name.clone()).collect();
        let Some(token) = tokens.get_mut(at) else { continue };
        let status = match list.registries.iter().find(|view| covers(view, token)) {
            Some(view) => compare(view, token, client)?,
            None => ImportStatus::New,
        };
        let is_registry = |name: &RegistryName| list.registries.iter().any(|view| view.name == *name);
        if status == ImportStatus::New && is_registry(&token.name) {
            let is_taken = |name: &RegistryName| is_registry(name) || found_names.contains(name);
            token.name = number_name(token.name.as_str(), is_taken).unwrap_or_else(|| token.name.clone());
        }
        statuses.push(status);
    }
    Ok(statuses)
}

fn covers(view: &RegistryView, token: &FoundToken) -> bool {
    let same_index = view.index.as_deref().map(without_slash) == Some(without_slash(token.target.as_str()));
    let url = format!("{}/", without_slash(token.target.url()));
    same_index || view.scopes.iter().any(|scope| url.starts_with(scope.as_str()))
}

fn without_slash(url: &str) -> &str {
    url.trim_end_matches('/')
}

fn compare(view: &RegistryView, token: &FoundToken, client: &Client) -> Result<ImportStatus, ErrorBody> {
    let name = view.name.clone();
    let same_scheme = view.scheme == token.scheme.name() && view.username.as_deref() == token.scheme.username();
    if !same_scheme || view.source != "store" {
        return Ok(ImportStatus::OtherScheme(name));
    }
    let request = Request::CompareToken(CompareToken {
        name: name.clone(),
        token: token.secret.clone(),
    });
    let held: TokenComparison = client.call(&request)?.answer;
    Ok(match held.same {
        Some(true) => ImportStatus::SameToken(name),
        _ => ImportStatus::OtherToken(name),
    })
}
