//! URLs of downloads and of the API that a sparse index names: scopes of its registry, offers to the person, or notes.
//!
//! The index decides where cargo sends its requests, so it is not to decide alone where the token goes. Another host, or the
//! whole host, never gets the token by itself.

use regauth_shared::RegistryName;
use regauth_shared::index::{AUTH_REQUIRED, IndexConfig, IndexLocation};
use regauth_shared::request::AddRegistry;
use regauth_shared::response::OfferedLocation;

use crate::control::new_registry::push_scope;
use crate::registry::{Index, Registry, Scope};

/// Decision about folders that an index names on its own host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Widens {
    /// The registry covers them.
    AtOnce,
    /// The person is asked.
    IfAgreed,
    /// The registry sends the token of another one, which was not given for them.
    Never,
}

impl Widens {
    /// Decision for a new registry. `is_shared` if it sends the token of another one.
    pub(super) fn of(request: &AddRegistry, is_shared: bool) -> Self {
        match (is_shared, request.offer_locations) {
            (true, _) => Self::Never,
            (false, true) => Self::IfAgreed,
            (false, false) => Self::AtOnce,
        }
    }
}

/// Result for the person.
#[derive(Debug, Default)]
pub(super) struct Located {
    pub(super) notes: Vec<String>,
    pub(super) offered: Vec<OfferedLocation>,
}

/// Finds a place for each location that the index names outside of the registry's scopes.
pub(super) fn locate(
    registry: &mut Registry,
    config: Option<&IndexConfig>,
    name: &RegistryName,
    widens: Widens,
) -> Located {
    let mut located = Located::default();
    let Some(home) = registry.index.as_ref().and_then(|index| index.scope().ok()) else {
        return located;
    };
    if matches!(registry.index, Some(Index::Git(_))) {
        // regauthctl reads a git index itself, with git.
        return located;
    }
    let Some(config) = config else {
        located.notes.push(unread_index(&home, name));
        return located;
    };
    for location in config.locations::<Scope>() {
        if !registry.scopes.iter().any(|covered| covered.covers(&location.url)) {
            located.place(registry, &home, location, name, widens);
        }
    }
    located.notes.extend(config.unusable_notes::<Scope>(name));
    located.notes.extend(config.api_slash_note());
    if config.auth_required {
        located.notes.push(AUTH_REQUIRED.to_owned());
    }
    located
}

impl Located {
    fn place(
        &mut self,
        registry: &mut Registry,
        home: &Scope,
        location: IndexLocation<Scope>,
        name: &RegistryName,
        widens: Widens,
    ) {
        let is_own_host = location.url.origin == home.origin && location.url.plain == home.plain;
        match (is_own_host, location.is_whole_host, widens) {
            (false, _, _) => self.notes.push(location.other_host_note(name)),
            (true, true, _) => self.notes.push(location.whole_host_note(name)),
            (true, false, Widens::AtOnce) => push_scope(&mut registry.scopes, location.url),
            (true, false, Widens::IfAgreed) => self.offered.push(location.offer()),
            (true, false, Widens::Never) => self.notes.push(location.offer().note(name)),
        }
    }
}

fn unread_index(home: &Scope, name: &RegistryName) -> String {
    format!(
        "the index was not read, so the URLs of downloads and of the API are unknown; if they are outside {home}, run \
         `regauthctl add-scope {name} URL`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::new_registry::definition_without_token;

    fn check(widens: Widens, config: &str, scopes: &[&str], offered: &[&str], note: &str) {
        let request = r#"{"name":"corp","index":"sparse+https://a.example/index/"}"#;
        let request: AddRegistry = serde_json::from_str(request).unwrap();
        let mut registry = definition_without_token(&request).unwrap();
        let index: IndexConfig = serde_json::from_str(config).unwrap();
        let located = locate(&mut registry, Some(&index), &request.name, widens);
        let covered: Vec<String> = registry.scopes.iter().map(ToString::to_string).collect();
        assert_eq!(covered, scopes, "{widens:?} {config}");
        let urls: Vec<&str> = located.offered.iter().map(|offer| offer.url.as_str()).collect();
        assert_eq!(urls, offered, "{widens:?} {config}");
        let notes = located.notes.join("\n");
        assert!(
            notes.contains(note) && notes.is_empty() == note.is_empty(),
            "{widens:?} {notes}"
        );
    }

    #[test]
    fn a_folder_of_the_own_host_is_a_scope_an_offer_or_a_note() {
        const INDEX: &str = "https://a.example/index/";
        const FILES: &str = "https://a.example/files/";
        let config = r#"{"dl":"https://a.example/files/{crate}","api":"https://a.example/index"}"#;
        check(Widens::AtOnce, config, &[INDEX, FILES], &[], "");
        check(Widens::IfAgreed, config, &[INDEX], &[FILES], "");
        check(
            Widens::Never,
            config,
            &[INDEX],
            &[],
            "regauthctl add-scope corp https://a.example/files/",
        );
    }

    #[test]
    fn another_host_and_the_whole_host_are_notes_and_no_offers() {
        const INDEX: &str = "https://a.example/index/";
        for widens in [Widens::AtOnce, Widens::IfAgreed, Widens::Never] {
            for (dl, note) in [
                ("https://b.example/files/{crate}", "another host"),
                ("https://a.example:8443/files/{crate}", "another host"),
                ("https://a.example/{crate}", "the whole host does not get the token"),
            ] {
                check(widens, &format!(r#"{{"dl":"{dl}"}}"#), &[INDEX], &[], note);
            }
        }
    }

    #[test]
    fn a_dot_segment_makes_no_folder_of_the_whole_host() {
        const INDEX: &str = "https://a.example/index/";
        for widens in [Widens::AtOnce, Widens::IfAgreed] {
            for dots in ["x/..", ".", "%2e", ".\\t.", "x/%2E%2e", "x%2f..", "x\\\\.."] {
                let config = format!(r#"{{"dl":"https://a.example/{dots}/{{crate}}"}}"#);
                check(widens, &config, &[INDEX], &[], "that no scope can be");
            }
        }
    }

    #[test]
    fn what_an_index_may_name_can_be_a_scope() {
        for path in [
            "dl",
            "@x/a%2Fb",
            "%40x",
            "a+b,c=d",
            "$&'()*!~-._:",
            "x%7Ey",
            "corp/My%20Project/feed",
            "api/v4/projects/1",
        ] {
            let config = format!(r#"{{"dl":"https://a.example/{path}/{{crate}}"}}"#);
            let config: IndexConfig = serde_json::from_str(&config).unwrap();
            assert_eq!(config.locations::<String>().count(), 1, "{path}");
            assert_eq!(config.locations::<Scope>().count(), 1, "{path}");
        }
    }

    #[test]
    fn a_shared_token_is_offered_nothing() {
        let request = |text: &str| serde_json::from_str::<AddRegistry>(text).unwrap();
        let offering = request(r#"{"name":"corp","offer-locations":true}"#);
        assert_eq!(Widens::of(&offering, false), Widens::IfAgreed);
        assert_eq!(Widens::of(&offering, true), Widens::Never);
        assert_eq!(Widens::of(&request(r#"{"name":"corp"}"#), false), Widens::AtOnce);
    }
}
