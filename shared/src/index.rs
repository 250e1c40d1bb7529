//! What a cargo index says of its registry in `config.json` (the Cargo book, "Index Format"): where requests go besides
//! the index itself. The daemon reads it of a sparse index, `regauthctl` of one that is a git repository.

use std::fmt::Display;
use std::str::FromStr;

use serde::Deserialize;

use crate::name::RegistryName;

/// An index's `config.json`.
#[derive(Debug, Deserialize)]
pub struct IndexConfig {
    /// Where crates are downloaded, with or without markers.
    pub dl: String,
    /// The base of the web API.
    #[serde(default)]
    pub api: Option<String>,
    /// Whether cargo insists on a token of its own.
    #[serde(default, rename = "auth-required")]
    pub auth_required: bool,
}

impl IndexConfig {
    /// What it names, as URLs of the reader's type; what is none is left out.
    pub fn places<U: FromStr>(&self) -> impl Iterator<Item = Place<U>> {
        let named = [
            ("downloads (`dl`) are", downloads(&self.dl)),
            ("the API (`api`) is", self.api.as_deref().map(api)),
        ];
        named.into_iter().filter_map(|(what, url)| {
            let url = url?.parse().ok()?;
            Some(Place { what, url })
        })
    }
}

/// A place that an index names.
#[derive(Debug)]
pub struct Place<U> {
    /// What is there, with its verb.
    pub what: &'static str,
    /// What all requests there begin with.
    pub url: U,
}

impl<U: Display> Place<U> {
    /// What a person should know of a place that is not on the index's own host.
    pub fn elsewhere(&self, name: &RegistryName) -> String {
        let Self { what, url } = self;
        format!(
            "{what} at {url}, another host, which does not get the token; if it needs it: `regauthctl add-scope {name} {url}`"
        )
    }
}

/// `dl` up to its first marker, cut at the last slash; without markers cargo appends `/{crate}/{version}/download`.
fn downloads(dl: &str) -> Option<String> {
    let (scheme, rest) = dl.split_once("://")?;
    let folder = match rest.split_once('{') {
        Some((before, _)) => before.rsplit_once('/')?.0,
        None => rest.trim_end_matches('/'),
    };
    Some(format!("{scheme}://{folder}/"))
}

/// Its paths all begin with `/api/v1/` below its base (the Cargo book, "Web API").
fn api(base: &str) -> String {
    format!("{}/api/v1/", base.trim_end_matches('/'))
}

/// What a person should know of an index that says so.
pub const AUTH_REQUIRED: &str = "the index says auth-required: cargo insists on a token of its own and is content with any; \
                                 `regauthctl setup cargo` gives it a placeholder";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_downloads_is_what_all_of_them_share() {
        for (dl, place) in [
            ("https://a.example/api/v1/crates", "https://a.example/api/v1/crates/"),
            ("https://a.example/dl/{crate}/{version}", "https://a.example/dl/"),
            ("https://a.example/dl/x-{crate}.crate", "https://a.example/dl/"),
            ("https://a.example/{prefix}/x", "https://a.example/"),
        ] {
            assert_eq!(downloads(dl).as_deref(), Some(place), "{dl}");
        }
        for dl in ["https://{crate}.example/", "https://a.example{crate}/", "not a url"] {
            assert_eq!(downloads(dl), None, "{dl}");
        }
    }

    #[test]
    fn an_index_names_downloads_and_where_it_has_one_the_api() {
        let places = |text: &str| -> Vec<String> {
            let config: IndexConfig = serde_json::from_str(text).unwrap();
            config.places().map(|place| place.url).collect()
        };
        assert_eq!(
            places(r#"{"dl":"https://a.example/dl","api":"https://a.example/x/","more":1}"#),
            ["https://a.example/dl/", "https://a.example/x/api/v1/"]
        );
        assert_eq!(
            places(r#"{"dl":"https://a.example/dl","api":null}"#),
            ["https://a.example/dl/"]
        );
    }
}
