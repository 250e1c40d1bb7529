//! Reads the `config.json` of a cargo index as a client would: a sparse index with curl, a git repository with git.
//!
//! Requests go through the proxy and trust the bundle. Locations that an index names and no scope covers get no token.

use std::process::Command;
use std::time::Duration;

use regauth_shared::index::{IndexConfig, IndexLocation};
use regauth_shared::response::RegistryView;
use url::Url;

use crate::child_output::{self, Limits};
use crate::program::on_path;
use crate::progress::Progress;

/// Connection settings for a client of the daemon.
pub(crate) struct ProxySettings<'a> {
    /// URL of the proxy.
    pub(crate) proxy: &'a str,
    /// Path of the bundle.
    pub(crate) bundle: &'a str,
}

/// Fetches an index's `config.json`; `None` if curl or git is missing, or the registry does not answer.
pub(crate) fn fetch_config(settings: &ProxySettings<'_>, index: &str) -> Option<IndexConfig> {
    let _progress = Progress::start("reading the index");
    let text = match index.strip_prefix("sparse+") {
        Some(sparse) => fetch_with_curl(settings, sparse)?,
        None => fetch_with_git(settings, index)?,
    };
    serde_json::from_slice(&text).ok()
}

/// Locations that the index names and no scope of its registry covers.
pub(crate) fn uncovered(view: &RegistryView, config: &IndexConfig) -> Vec<IndexLocation<Url>> {
    let is_covered = |place: &IndexLocation<Url>| view.scopes.iter().any(|scope| place.url.as_str().starts_with(scope));
    config.locations().filter(|place| !is_covered(place)).collect()
}

/// True if a location is on the host of the index itself.
pub(crate) fn is_on_index_host(place: &IndexLocation<Url>, index: &str) -> bool {
    let index = index.strip_prefix("sparse+").unwrap_or(index);
    Url::parse(index).is_ok_and(|index| index.origin() == place.url.origin())
}

fn fetch_with_curl(settings: &ProxySettings<'_>, sparse: &str) -> Option<Vec<u8>> {
    let mut curl = Command::new(on_path("curl")?);
    // Without --globoff, a [1-1000] in the URL would be a thousand transfers.
    curl.args(["-q", "--globoff", "--silent", "--fail"])
        .args(["--max-time", "10", "--noproxy", ""])
        .args(["--proxy", settings.proxy, "--cacert", settings.bundle])
        .arg(format!("{sparse}config.json"));
    stdout(&mut curl)
}

/// Clones one commit without its files, then reads the one file.
fn fetch_with_git(settings: &ProxySettings<'_>, index: &str) -> Option<Vec<u8>> {
    let folder = tempfile::tempdir().ok()?;
    let git = |arguments: &[&str]| {
        let mut git = Command::new(on_path("git")?);
        git.env("GIT_TERMINAL_PROMPT", "0")
            .env("NO_PROXY", "")
            .env_remove("no_proxy")
            // Overrides http.sslCAInfo in every configuration file.
            .env("GIT_SSL_CAINFO", settings.bundle)
            .args(["-c", &format!("http.proxy={}", settings.proxy)])
            // A setting for one URL would override the general one.
            .args(["-c", &format!("http.{index}.proxy={}", settings.proxy)])
            .args(["-c", "credential.helper="])
            .args(["-c", "http.lowSpeedLimit=10", "-c", "http.lowSpeedTime=10"])
            .arg("-C")
            .arg(folder.path())
            .args(arguments);
        stdout(&mut git)
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

/// Output of a command that succeeds.
fn stdout(command: &mut Command) -> Option<Vec<u8>> {
    let output = child_output::read(command, "", LIMITS).ok()?;
    output.status.success().then_some(output.stdout)
}

/// `config.json` has a few URLs. The clone of a large index takes its time.
const LIMITS: Limits = Limits {
    bytes: 1024 * 1024,
    time: Duration::from_secs(120),
};
