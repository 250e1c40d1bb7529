//! Completes a registry whose index is a git repository, after the daemon has added it.
//!
//! The daemon does not speak git, so this program runs git through the proxy to read the index. As the daemon does for
//! a sparse index, it covers the locations on the index's own host.

use regauth_shared::index::{AUTH_REQUIRED, IndexLocation};
use regauth_shared::response::{RegistryAdded, RegistryView};
use regauth_shared::{ErrorBody, Request, Secret, request};
use url::Url;

use crate::client::Client;
use crate::daemon_info::is_git_index;
use crate::index::{self, ProxySettings};

/// Adds the scopes on the index's host to a registry that was just added, and a note for each location elsewhere. `token`
/// is the one that a person has just given for it.
pub(super) fn complete(added: &mut RegistryAdded, client: &Client, token: Option<Secret>) {
    let Some(index) = added.registry.index.clone() else {
        return;
    };
    if !is_git_index(&added.registry) {
        return;
    }
    let settings = ProxySettings {
        proxy: &added.proxy,
        bundle: &added.bundle,
    };
    // The registry would refuse git without a valid token.
    let is_readable = added.verified || added.public;
    let config = is_readable.then(|| index::fetch_config(&settings, &index)).flatten();
    let Some(config) = config else {
        added.notes.push(unread_index(added));
        return;
    };
    let uncovered = index::uncovered(&added.registry, &config);
    let (own, foreign): (Vec<_>, Vec<_>) = uncovered
        .into_iter()
        .partition(|place| index::is_on_index_host(place, &index));
    let (whole, own): (Vec<_>, Vec<_>) = own.into_iter().partition(|place| place.is_whole_host);
    if !own.is_empty() {
        match add_scopes(&added.registry, &own, client, token) {
            Ok(view) => added.registry = view,
            Err(error) => added.notes.push(error.message),
        }
    }
    let name = &added.registry.name;
    added
        .notes
        .extend(whole.iter().map(|place| place.whole_host_note(name)));
    added
        .notes
        .extend(foreign.iter().map(|place| place.other_host_note(name)));
    added.notes.extend(config.api_slash_note());
    if config.auth_required {
        added.notes.push(AUTH_REQUIRED.to_owned());
    }
}

fn add_scopes(
    view: &RegistryView,
    places: &[IndexLocation<Url>],
    client: &Client,
    proof: Option<Secret>,
) -> Result<RegistryView, ErrorBody> {
    let reply = client.call(&Request::AddScope(request::AddScope {
        name: view.name.clone(),
        scopes: places.iter().map(|place| place.url.to_string()).collect(),
        proof,
    }))?;
    Ok(reply.answer)
}

fn unread_index(added: &RegistryAdded) -> String {
    format!(
        "git could not read the index's config.json, which names the URLs of downloads and the API; if the scopes do not \
         cover them: `regauthctl add-scope {} URL`",
        added.registry.name
    )
}
