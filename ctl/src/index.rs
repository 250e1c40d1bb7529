//! What a cargo index says of itself, read as a client would: a sparse one by curl, one that is a git repository by git;
//! through the proxy, trusting the bundle. What it names and no scope covers gets no token.

use std::process::Command;

use regauth_shared::index::{IndexConfig, IndexLocation};
use regauth_shared::response::RegistryView;
use url::Url;

use crate::program::on_path;

/// The way through the daemon.
pub(crate) struct Way<'a> {
    /// The proxy's URL.
    pub(crate) proxy: &'a str,
    /// The bundle's path.
    pub(crate) bundle: &'a str,
}

/// An index's `config.json`; none where the program that would ask is missing, or the registry does not answer.
pub(crate) fn config(way: &Way<'_>, index: &str) -> Option<IndexConfig> {
    let text = match index.strip_prefix("sparse+") {
        Some(sparse) => by_curl(way, sparse)?,
        None => by_git(way, index)?,
    };
    serde_json::from_slice(&text).ok()
}

/// What an index names and no scope of its registry covers.
pub(crate) fn uncovered(view: &RegistryView, config: &IndexConfig) -> Vec<IndexLocation<Url>> {
    let is_covered = |place: &IndexLocation<Url>| view.scopes.iter().any(|scope| place.url.as_str().starts_with(scope));
    config.locations().filter(|place| !is_covered(place)).collect()
}

/// Whether a place is on the host of the index itself.
pub(crate) fn is_at_home(place: &IndexLocation<Url>, index: &str) -> bool {
    let index = index.strip_prefix("sparse+").unwrap_or(index);
    Url::parse(index).is_ok_and(|index| index.origin() == place.url.origin())
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
