//! The places that a git index names. The daemon does not speak git, so git itself is asked, through the daemon, once the
//! registry is served; what lies on the index's own host is covered then, as the daemon does it for a sparse index.

use regauth_shared::index::{AUTH_REQUIRED, IndexLocation};
use regauth_shared::response::{RegistryAdded, RegistryView};
use regauth_shared::{ErrorBody, Request, request};
use url::Url;

use crate::client::Client;
use crate::facts::is_git_index;
use crate::index::{self, Way};

/// Has the daemon cover what belongs to a registry that was just added, and notes what needs a person's word.
pub(super) fn complete(added: &mut RegistryAdded, client: &Client) {
    let Some(index) = added.registry.index.clone() else {
        return;
    };
    if !is_git_index(&added.registry) {
        return;
    }
    let way = Way {
        proxy: &added.proxy,
        bundle: &added.bundle,
    };
    // Without a token that works, git would be refused.
    let works = added.verified || added.public;
    let config = works.then(|| index::config(&way, &index)).flatten();
    let Some(config) = config else {
        added.notes.push(unknown(added));
        return;
    };
    let places = index::uncovered(&added.registry, &config);
    let (ours, others): (Vec<_>, Vec<_>) = places.into_iter().partition(|place| index::is_at_home(place, &index));
    if !ours.is_empty() {
        match cover(&added.registry, &ours, client) {
            Ok(view) => added.registry = view,
            Err(error) => added.notes.push(error.message),
        }
    }
    let name = &added.registry.name;
    added
        .notes
        .extend(others.iter().map(|place| place.other_host_note(name)));
    if config.auth_required {
        added.notes.push(AUTH_REQUIRED.to_owned());
    }
}

fn cover(view: &RegistryView, places: &[IndexLocation<Url>], client: &Client) -> Result<RegistryView, ErrorBody> {
    let reply = client.ask(&Request::AddScope(request::AddScope {
        name: view.name.clone(),
        scopes: places.iter().map(|place| place.url.to_string()).collect(),
    }))?;
    Ok(reply.answer)
}

fn unknown(added: &RegistryAdded) -> String {
    format!(
        "where downloads and the API are stands in the index's config.json, which git could not be asked for; if they lie \
         outside of what is covered: `regauthctl add-scope {} URL`",
        added.registry.name
    )
}
