//! Reads the index of a registry whose index is a git repository, after the daemon has added it.
//!
//! The daemon does not speak git, so this program runs git through the proxy to read the index. Locations on the index's own
//! host become offers, as those of a sparse index do in the daemon.

use regauth_shared::Secret;
use regauth_shared::index::AUTH_REQUIRED;
use regauth_shared::response::RegistryAdded;
use url::Url;

use super::offered_locations::{self, Decision};
use crate::client::Client;
use crate::daemon_info::is_git_index;
use crate::index::{self, ProxySettings};

/// Completes a registry that was just added with what its index names: scopes or offers on the index's host, and a note for
/// each location elsewhere. `token` is the one that a person has just given for it.
pub(super) fn complete(added: &mut RegistryAdded, decision: Decision, client: &Client, token: Option<Secret>) {
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
    let name = added.registry.name.clone();
    for place in index::uncovered(&added.registry, &config) {
        match (index::is_on_index_host(&place, &index), place.is_whole_host) {
            (true, false) => added.offered.push(place.offer()),
            (true, true) => added.notes.push(place.whole_host_note(&name)),
            (false, _) => added.notes.push(place.other_host_note(&name)),
        }
    }
    if decision == Decision::Cover {
        offered_locations::cover(added, client, token.as_ref());
    }
    added.notes.extend(config.unusable_notes::<Url>(&name));
    added.notes.extend(config.api_slash_note());
    if config.auth_required {
        added.notes.push(AUTH_REQUIRED.to_owned());
    }
}

fn unread_index(added: &RegistryAdded) -> String {
    format!(
        "git could not read the index's config.json, which names the URLs of downloads and the API; if the scopes do not \
         cover them: `regauthctl add-scope {} URL`",
        added.registry.name
    )
}
