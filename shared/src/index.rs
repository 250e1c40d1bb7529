//! `config.json` of a cargo index (the Cargo book, "Index Format"): the locations that serve downloads and the web API.
//!
//! The daemon reads it from a sparse index, `regauthctl` from an index that is a git repository.

use std::fmt::Display;
use std::str::FromStr;

use serde::Deserialize;

use crate::name::RegistryName;
use crate::response::OfferedLocation;

/// An index's `config.json`.
///
/// ```
/// use regauth_shared::index::IndexConfig;
///
/// let config: IndexConfig = serde_json::from_str(
///     r#"{"dl": "https://cdn.example/crates/{crate}/{version}", "api": "https://corp.example"}"#,
/// )?;
/// let urls: Vec<String> = config.locations().map(|location| location.url).collect();
/// assert_eq!(urls, ["https://cdn.example/crates/", "https://corp.example/api/v1/"]);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Deserialize)]
pub struct IndexConfig {
    /// URL of downloads, with or without markers such as `{crate}`.
    pub dl: String,
    /// Base URL of the web API.
    #[serde(default)]
    pub api: Option<String>,
    /// True if cargo must send a token with every request; cargo fails without one.
    #[serde(default, rename = "auth-required")]
    pub auth_required: bool,
}

impl IndexConfig {
    /// Locations that the index names, as URLs of the caller's type. A text that is no such URL is left out.
    pub fn locations<U: FromStr>(&self) -> impl Iterator<Item = IndexLocation<U>> {
        let named = [
            ("downloads", "downloads (`dl`) are", download_prefix(&self.dl)),
            ("api", "the API (`api`) is", self.api.as_deref().map(api_prefix)),
        ];
        named.into_iter().filter_map(|(purpose, what, url)| {
            let text = url?;
            Some(IndexLocation {
                purpose,
                what,
                url: text.parse().ok()?,
                is_whole_host: is_whole_host(&text),
            })
        })
    }
}

impl IndexConfig {
    /// Note for the person about an `api` that ends with a slash: cargo appends `/api/v1/` to it as it is.
    pub fn api_slash_note(&self) -> Option<String> {
        let api = self.api.as_deref().filter(|api| api.ends_with('/'))?;
        Some(format!(
            "the index's `api`, {api}, ends with a slash, so cargo asks for {api}/api/v1/…; regauth refuses such a path, which \
             servers read in two ways, so `cargo publish`, `yank` and `search` fail; ask the registry's operators to remove \
             the slash in the index's config.json"
        ))
    }
}

/// Location that an index names.
#[derive(Debug)]
pub struct IndexLocation<U> {
    /// Stable name of its use: `downloads` or `api`.
    pub purpose: &'static str,
    /// Subject and verb of a sentence about it, such as "the API (`api`) is".
    pub what: &'static str,
    /// Common prefix of all requests to it.
    pub url: U,
    /// True if that prefix is all of a host, for example because the first segment of `dl` has a marker.
    pub is_whole_host: bool,
}

impl<U: Display> IndexLocation<U> {
    /// Note for the person about a location outside the index's own host.
    pub fn other_host_note(&self, name: &RegistryName) -> String {
        let Self { what, url, .. } = self;
        format!(
            "{what} at {url}, another host, which does not get the token; if it needs it: `regauthctl add-scope {name} {url}`"
        )
    }

    /// The location as an offer to the person.
    pub fn offer(&self) -> OfferedLocation {
        OfferedLocation {
            url: self.url.to_string(),
            purpose: self.purpose.to_owned(),
        }
    }

    /// Note for the person about a location on the index's own host that is not added by itself: an index may name
    /// folders, but not the whole host, which others may share.
    pub fn whole_host_note(&self, name: &RegistryName) -> String {
        let Self { what, url, .. } = self;
        format!(
            "{what} anywhere on {url}: the index names no folder, and the whole host does not get the token; if all of it \
             belongs to `{name}`: `regauthctl add-scope {name} {url}`"
        )
    }
}

/// Note for the person about an index with `auth-required`.
pub const AUTH_REQUIRED: &str = "the index says auth-required: cargo insists on having a token, and accepts any value; \
                                 `regauthctl setup cargo` gives it a placeholder";

/// Prefix of all downloads: `dl` up to its first marker, cut at the last slash. Without markers cargo appends
/// `/{crate}/{version}/download`.
fn download_prefix(dl: &str) -> Option<String> {
    let (scheme, rest) = dl.split_once("://")?;
    let folder = match rest.split_once('{') {
        Some((before, _)) => before.rsplit_once('/')?.0,
        None => rest.trim_end_matches('/'),
    };
    Some(format!("{scheme}://{folder}/"))
}

/// True for a prefix without a path.
fn is_whole_host(prefix: &str) -> bool {
    let after_scheme = prefix.split_once("://").map_or(prefix, |(_, rest)| rest);
    after_scheme.trim_end_matches('/').split(['/', '?', '#']).count() == 1
}

/// Prefix of all API requests: cargo appends `/api/v1/` to the base (the Cargo book, "Web API").
fn api_prefix(base: &str) -> String {
    format!("{}/api/v1/", base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn download_prefix_ends_at_the_last_slash_before_a_marker() {
        for (dl, prefix) in [
            ("https://a.example/api/v1/crates", "https://a.example/api/v1/crates/"),
            ("https://a.example/dl/{crate}/{version}", "https://a.example/dl/"),
            ("https://a.example/dl/x-{crate}.crate", "https://a.example/dl/"),
            ("https://a.example/{prefix}/x", "https://a.example/"),
        ] {
            assert_eq!(download_prefix(dl).as_deref(), Some(prefix), "{dl}");
        }
        for dl in ["https://{crate}.example/", "https://a.example{crate}/", "not a url"] {
            assert_eq!(download_prefix(dl), None, "{dl}");
        }
    }

    #[test]
    fn a_marker_in_the_first_segment_means_the_whole_host() {
        for (dl, expected) in [
            ("https://a.example/x?token={crate}", true),
            ("https://a.example/{prefix}/x", true),
            ("https://a.example", true),
            ("https://a.example//{crate}", true),
            ("https://a.example/dl/{crate}", false),
            ("https://a.example/dl", false),
        ] {
            let text = format!(r#"{{"dl":"{dl}","api":"https://a.example"}}"#);
            let config: IndexConfig = serde_json::from_str(&text).unwrap();
            let whole: Vec<_> = config.locations::<String>().map(|place| place.is_whole_host).collect();
            assert_eq!(whole, [expected, false], "{dl}");
        }
    }

    #[test]
    fn an_api_with_a_slash_at_its_end_has_a_note() {
        let note = |api: &str| {
            let text = format!(r#"{{"dl":"https://a.example/dl","api":{api}}}"#);
            let config: IndexConfig = serde_json::from_str(&text).unwrap();
            config.api_slash_note()
        };
        assert!(
            note(r#""https://a.example/x/""#)
                .unwrap()
                .contains("https://a.example/x//api/v1/")
        );
        assert_eq!(note(r#""https://a.example/x""#), None);
        assert_eq!(note("null"), None);
    }

    #[test]
    fn locations_are_downloads_and_the_api_if_there_is_one() {
        let urls = |text: &str| -> Vec<String> {
            let config: IndexConfig = serde_json::from_str(text).unwrap();
            config.locations().map(|location| location.url).collect()
        };
        assert_eq!(
            urls(r#"{"dl":"https://a.example/dl","api":"https://a.example/x/","more":1}"#),
            ["https://a.example/dl/", "https://a.example/x/api/v1/"]
        );
        assert_eq!(
            urls(r#"{"dl":"https://a.example/dl","api":null}"#),
            ["https://a.example/dl/"]
        );
    }
}
