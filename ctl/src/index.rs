//! What a cargo index says of itself, read as a client would: a sparse one by curl, one that is a git repository by git;
//! through the proxy, trusting the bundle. What it names and no scope covers gets no token.

use std::process::Command;

use regauth_shared::response::RegistryView;
use serde_json::Value;
use url::Url;

use crate::setup::on_path;

/// The way through the daemon.
pub(crate) struct Way<'a> {
    /// The proxy's URL.
    pub(crate) proxy: &'a str,
    /// The bundle's path.
    pub(crate) bundle: &'a str,
}

/// A place that an index names and that no scope covers.
pub(crate) struct Place {
    /// What is there, with its verb.
    pub(crate) what: &'static str,
    /// What all requests there begin with.
    pub(crate) url: Url,
}

impl Place {
    /// Whether it is on the host of the index itself.
    pub(crate) fn is_at(&self, index: &str) -> bool {
        let index = index.strip_prefix("sparse+").unwrap_or(index);
        Url::parse(index).is_ok_and(|index| index.origin() == self.url.origin())
    }
}

/// An index's `config.json`; none where the program that would ask is missing, or the registry does not answer.
pub(crate) fn config(way: &Way<'_>, index: &str) -> Option<Value> {
    let text = match index.strip_prefix("sparse+") {
        Some(sparse) => by_curl(way, sparse)?,
        None => by_git(way, index)?,
    };
    serde_json::from_slice(&text).ok()
}

/// What an index's `config.json` names (the Cargo book, "Index Format") and no scope of its registry covers.
pub(crate) fn uncovered(view: &RegistryView, config: &Value) -> Vec<Place> {
    let text = |key| config.get(key).and_then(Value::as_str);
    let places = [
        ("downloads (`dl`) are", text("dl").and_then(downloads)),
        ("the API (`api`) is", text("api").and_then(api)),
    ];
    let places = places
        .into_iter()
        .filter_map(|(what, url)| Some(Place { what, url: url? }));
    let is_covered = |place: &Place| view.scopes.iter().any(|scope| place.url.as_str().starts_with(scope));
    places.filter(|place| !is_covered(place)).collect()
}

/// `dl` up to its first marker, cut at the last slash; without markers cargo appends `/{crate}/{version}/download`.
fn downloads(dl: &str) -> Option<Url> {
    match dl.split_once('{') {
        Some((before, _)) => Url::parse(before).ok()?.join(".").ok(),
        None => folder(dl),
    }
}

fn api(api: &str) -> Option<Url> {
    folder(&format!("{}/api/v1", api.trim_end_matches('/')))
}

fn folder(url: &str) -> Option<Url> {
    Url::parse(&format!("{}/", url.trim_end_matches('/'))).ok()
}

fn by_curl(way: &Way<'_>, sparse: &str) -> Option<Vec<u8>> {
    let mut curl = Command::new(on_path("curl")?);
    curl.args(["-q", "--silent", "--fail", "--max-time", "10", "--noproxy", ""])
        .args(["--proxy", way.proxy, "--cacert", way.bundle])
        .arg(format!("{sparse}config.json"));
    said(&mut curl)
}

/// One commit without its files, then the one file.
fn by_git(way: &Way<'_>, index: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().ok()?;
    let git = |arguments: &[&str]| {
        let mut git = Command::new(on_path("git")?);
        git.env("GIT_TERMINAL_PROMPT", "0")
            .env("NO_PROXY", "")
            .env_remove("no_proxy")
            // It beats the setting.
            .env("GIT_SSL_CAINFO", way.bundle)
            .args(["-c", &format!("http.proxy={}", way.proxy)])
            // A setting for one URL would beat the one for all.
            .args(["-c", &format!("http.{index}.proxy={}", way.proxy)])
            .args([
                "-c",
                "credential.helper=",
                "-c",
                "http.lowSpeedLimit=10",
                "-c",
                "http.lowSpeedTime=10",
            ])
            .arg("-C")
            .arg(folder.path())
            .args(arguments);
        said(&mut git)
    };
    let clone = [
        "clone",
        "--quiet",
        "--depth=1",
        "--filter=blob:none",
        "--no-checkout",
        "--no-tags",
        index,
        ".",
    ];
    git(&clone)?;
    git(&["show", "HEAD:config.json"])
}

fn said(command: &mut Command) -> Option<Vec<u8>> {
    let output = command.output().ok()?;
    output.status.success().then_some(output.stdout)
}

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
            assert_eq!(downloads(dl).unwrap().as_str(), place, "{dl}");
        }
        assert_eq!(downloads("https://{crate}.example/"), None);
        assert_eq!(
            api("https://a.example/x/").unwrap().as_str(),
            "https://a.example/x/api/v1/"
        );
    }
}
