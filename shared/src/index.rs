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
    /// Locations that the index names, as URLs of the caller's type. A text that is no such URL, or that a scope cannot be,
    /// is left out: `unusable_notes` names it.
    pub fn locations<U: FromStr + Display>(&self) -> impl Iterator<Item = IndexLocation<U>> {
        self.named().into_iter().filter_map(|(purpose, what, url)| {
            let url: U = parse_location(&url?)?;
            Some(IndexLocation {
                purpose,
                what,
                is_whole_host: is_whole_host(&url.to_string()),
                url,
            })
        })
    }

    /// Notes for the person about URLs of the index that [`locations`](Self::locations) leaves out. They repeat no text of
    /// the index.
    pub fn unusable_notes<U: FromStr>(&self, name: &RegistryName) -> impl Iterator<Item = String> {
        let is_unusable = |url: Option<String>| url.and_then(|url| parse_location::<U>(&url)).is_none();
        let unusable = self
            .named()
            .into_iter()
            .filter(move |(.., url)| is_unusable(url.clone()));
        let unusable = unusable.filter(|(purpose, ..)| *purpose != "api" || self.api.is_some());
        unusable.map(move |(_, what, _)| {
            format!(
                "{what} at a URL that no scope can be, so the token does not go there; ask the registry's operators to \
                 correct the index's config.json, or run `regauthctl add-scope {name} URL` with the URL that serves them"
            )
        })
    }

    /// Purpose, subject and verb, and prefix of each location.
    fn named(&self) -> [(&'static str, &'static str, Option<String>); 2] {
        [
            ("downloads", "downloads (`dl`) are", download_prefix(&self.dl)),
            ("api", "the API (`api`) is", self.api.as_deref().map(api_prefix)),
        ]
    }
}

impl IndexConfig {
    /// Note for the person about an `api` that ends with a slash: cargo appends `/api/v1/` to it as it is.
    pub fn api_slash_note(&self) -> Option<String> {
        let api = self.api.as_deref().filter(|api| api.ends_with('/'))?;
        // The note repeats the text, which could have control characters.
        if !is_unambiguous(&api_prefix(api)) {
            return None;
        }
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

/// Parses a prefix that every program reads in one way.
fn parse_location<U: FromStr>(prefix: &str) -> Option<U> {
    is_unambiguous(prefix).then(|| prefix.parse().ok())?
}

/// True for a URL whose text says which folder it is: printable ASCII without a user name, a query, a fragment or a backslash,
/// and without empty or dot segments in any spelling. A URL parser drops tabs and resolves dots, so such a text could seem to
/// name a folder and be the whole host.
fn is_unambiguous(url: &str) -> bool {
    let Some((authority, path)) = (url.split_once("://")).and_then(|(_, rest)| rest.split_once('/')) else {
        return false;
    };
    let has_only_plain = |text: &str, more: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-._~".contains(c) || more.contains(c);
        text.chars().all(is_plain)
    };
    let Some(path) = without_escapes(path) else {
        return false;
    };
    // Some servers drop dots and blanks at the end of a segment.
    let is_clear = |segment: &str| !segment.is_empty() && !segment.ends_with(['.', ' ']);
    let mut segments = path.strip_suffix('/').unwrap_or(&path).split('/');
    url.bytes().all(|byte| byte.is_ascii_graphic())
        && has_only_plain(authority, ":[]")
        && has_only_plain(&path, " !$&'()*+,=:@/")
        && (path.is_empty() || segments.all(is_clear))
}

/// The path with its escapes decoded; `None` for an escape that some server reads in another way than others do.
fn without_escapes(path: &str) -> Option<String> {
    let mut decoded = String::new();
    let mut parts = path.split('%');
    decoded.push_str(parts.next()?);
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if !(byte.is_ascii_graphic() || byte == b' ') {
            return None;
        }
        decoded.push(byte.into());
        decoded.push_str(rest);
    }
    Some(decoded)
}

/// True for a URL, as its type prints it, without a path.
fn is_whole_host(url: &str) -> bool {
    let after_scheme = url.split_once("://").map_or(url, |(_, rest)| rest);
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
    fn a_url_that_programs_read_in_different_ways_is_no_location() {
        for url in [
            "https://a.example/x/..",
            "https://a.example/.",
            "https://a.example/%2e",
            "https://a.example/x/%2E%2e",
            "https://a.example/x%2F..",
            "https://a.example/.\t.",
            "https://a.example/x\t",
            "https://a.example/\u{1b}[2J",
            "https://a.example/\u{202e}x",
            "https://a.example/x\\..",
            "https://a.example/x%5c..",
            "https://a.example//x",
            "https://a.example/%00",
            "https://a.example/%2",
            "https://a.example/x;y",
            "https://a.example/x y",
            "https://a.example/x%20",
            "https://a.example/x.",
            "https://a.example/x?y",
            "https://a.example/x#y",
            "https://a.example/x%3fy",
            "https://a.example/x%252fy",
            "https://user@a.example/x",
            "https://a.example\\x",
            "https:/a.example/x",
        ] {
            let config = IndexConfig {
                dl: format!("{url}/{{crate}}"),
                api: Some(url.to_owned()),
                auth_required: false,
            };
            assert_eq!(config.locations::<String>().count(), 0, "{url}");
            let notes: Vec<_> = config.unusable_notes::<String>(&"corp".parse().unwrap()).collect();
            assert_eq!(notes.len(), 2, "{url} {notes:?}");
            assert!(notes.iter().all(|note| !note.contains("a.example")), "{notes:?}");
        }
        for url in [
            "https://a.example:8443/@x/a%2Fb",
            "https://[::1]/x%20y",
            "https://a.example/%40x/a+b",
        ] {
            assert!(is_unambiguous(&format!("{url}/")), "{url}");
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
        assert_eq!(note(r#""https://a.example/\u001b[2J/x/""#), None);
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
