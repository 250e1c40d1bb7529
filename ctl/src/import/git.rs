//! Scanner for git: rewritten URLs with a password, `http.extraHeader`, and the files of `git credential-store`.

use std::path::{Path, PathBuf};
use std::process::Command;

use url::Url;

use super::auth_scheme;
use super::found::{TokenLocation, TokenTarget};
use super::git_config;
use super::scan::{Scan, ScannedToken, byte_range};
use super::url_credentials::{UrlCredentials, scope_of_url};
use crate::user_folders::{home, xdg_config};

/// Scans the configuration of the user and the machine, and the credential files.
pub(super) fn scan(scan: &mut Scan) {
    let mut credential_files = default_credential_files();
    for setting in settings() {
        if let Some(base) = rewrite_base(&setting.key) {
            scan_rewrite(base, &setting, scan);
        } else if setting.key.ends_with(".extraheader") {
            scan_header(&setting, scan);
        } else if setting.key.starts_with("credential.") && setting.key.ends_with(".helper") {
            credential_files.extend(credential_file(&setting.value));
        }
    }
    credential_files.sort();
    credential_files.dedup();
    for file in credential_files {
        scan_credentials(&file, scan);
    }
}

struct Setting {
    file: PathBuf,
    key: String,
    value: String,
}

/// Asks git for its settings: origin, NUL, key, newline, value, NUL. Runs outside of any repository, because a
/// repository's configuration belongs to its project.
fn settings() -> Vec<Setting> {
    let mut git = Command::new("git");
    git.args(["config", "--list", "-z", "--show-origin"]).current_dir("/");
    let Ok(output) = git.output() else { return Vec::new() };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = text.split('\0');
    let mut settings = Vec::new();
    while let (Some(origin), Some(setting)) = (fields.next(), fields.next()) {
        let (key, value) = setting.split_once('\n').unwrap_or((setting, ""));
        if let Some(file) = origin.strip_prefix("file:") {
            settings.push(Setting {
                file: PathBuf::from(file),
                key: key.to_owned(),
                value: value.to_owned(),
            });
        }
    }
    settings
}

fn rewrite_base(key: &str) -> Option<&str> {
    let rest = key.strip_prefix("url.")?;
    [".insteadof", ".pushinsteadof"]
        .iter()
        .find_map(|end| rest.strip_suffix(end))
}

/// Scans `url.BASE.insteadOf`. Only user and password are removed, in every section header with that base, so git still
/// rewrites the URLs.
fn scan_rewrite(base: &str, setting: &Setting, scan: &mut Scan) {
    let Some(url) = UrlCredentials::parse(base) else {
        return;
    };
    let Some(text) = scan.read(&setting.file) else { return };
    let settings = git_config::settings(&text);
    let of_base = settings.iter().filter(|other| rewrite_base(&other.key) == Some(base));
    let userinfos = of_base.filter_map(|other| {
        let subsection = text.get(other.subsection.clone()?)?;
        subsection
            .get(subsection.find(url.userinfo)?..)?
            .get(..url.userinfo.len())
    });
    let mut ranges: Vec<_> = userinfos.map(|userinfo| byte_range(&text, userinfo)).collect();
    // Several settings of one section share its header.
    ranges.dedup();
    let location = TokenLocation::new(&setting.file, ranges);
    scan.tokens.push(url.into_token("git", location));
}

/// Scans `http.URL.extraHeader`.
fn scan_header(setting: &Setting, scan: &mut Scan) {
    let Some((name, value)) = setting.value.split_once(':') else {
        return;
    };
    if !name.trim().eq_ignore_ascii_case("authorization") {
        return;
    }
    let url = setting
        .key
        .strip_prefix("http.")
        .and_then(|rest| rest.strip_suffix(".extraheader"));
    let Some(scope) = url.and_then(scope_without_user) else {
        scan.notes.push(format!(
            "{}: the token in http.extraHeader was skipped: git sends it to every host, so its registry is unknown",
            setting.file.display()
        ));
        return;
    };
    let Some(text) = scan.read(&setting.file) else { return };
    let settings = git_config::settings(&text).into_iter();
    let of_this_url = settings.filter(|other| other.key == setting.key && other.value == setting.value);
    let ranges = of_this_url.map(|other| other.range).collect();
    let (scheme, secret) = auth_scheme::from_header(value);
    scan.tokens.push(ScannedToken {
        name: None,
        kind: "git",
        target: TokenTarget::Scope(scope),
        scheme,
        secret,
        location: TokenLocation::new(&setting.file, ranges),
    });
}

/// Scope of the URL in a section header. Git matches its user name with the request's, and sends no such name itself.
fn scope_without_user(url: &str) -> Option<String> {
    let mut url = Url::parse(url).ok()?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    scope_of_url(url.as_str())
}

/// Scans a file of `git credential-store`, which has one URL a line. Git ends the user and password at the first `@`.
fn scan_credentials(file: &Path, scan: &mut Scan) {
    let Some(text) = scan.read(file) else { return };
    for line in text.split_inclusive('\n') {
        if let Some(url) = UrlCredentials::parse(line.trim()) {
            if url.userinfo.matches('@').count() > 1 {
                scan.notes.push(format!(
                    "{}: the password for {} was skipped: git reads its `@` as the end; write it as %40",
                    file.display(),
                    url.scope
                ));
                continue;
            }
            let location = TokenLocation::new(file, vec![byte_range(&text, line)]);
            scan.tokens.push(url.into_token("git", location));
        }
    }
}

/// Files that `git credential-store` uses without `--file` (git-credential-store(1), "FILES").
fn default_credential_files() -> Vec<PathBuf> {
    let in_home = home().map(|home| home.join(".git-credentials"));
    let in_config = xdg_config().map(|folder| folder.join("git/credentials"));
    [in_home, in_config].into_iter().filter_map(Result::ok).collect()
}

/// File of the credential helper `store --file=PATH`.
fn credential_file(helper: &str) -> Option<PathBuf> {
    let mut words = helper.split_whitespace();
    if words.next() != Some("store") {
        return None;
    }
    let arguments: Vec<&str> = words.collect();
    let file = match arguments.as_slice() {
        ["--file", file, ..] => file,
        [first, ..] => first.strip_prefix("--file=")?,
        [] => return None,
    };
    match file.strip_prefix("~/") {
        Some(below) => Some(home().ok()?.join(below)),
        None => Some(Path::new(file).to_path_buf()),
    }
}
