//! Scanner for pip's configuration: index URLs with a user and password (pip's documentation, "Configuration").

use std::path::{Path, PathBuf};

use super::found::{TokenLocation, TokenTarget};
use super::python_ini;
use super::scan::{Scan, byte_range};
use super::url_credentials::{UrlCredentials, UserOnly, user_only};
use crate::program::on_path;
use crate::user_folders::{home, path_variable, xdg_config};

/// Scans all files that pip reads: the machine's, the user's and the virtual environment's.
pub(super) fn scan(scan: &mut Scan) {
    for file in files() {
        scan_file(&file, scan);
    }
}

fn files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = ["/etc/xdg/pip/pip.conf", "/etc/pip.conf"].map(PathBuf::from).into();
    if let Ok(home) = home() {
        files.push(home.join("Library/Application Support/pip/pip.conf"));
        files.push(home.join(".pip/pip.conf"));
    }
    files.extend(xdg_config().ok().map(|folder| folder.join("pip/pip.conf")));
    files.extend(path_variable("VIRTUAL_ENV").map(|folder| folder.join("pip.conf")));
    files.extend(path_variable("PIP_CONFIG_FILE"));
    files.dedup();
    files
}

fn scan_file(file: &Path, scan: &mut Scan) {
    let Some(text) = scan.read(file) else { return };
    let options = python_ini::options(&text).into_iter();
    let lines = options
        .filter(|option| names_indexes(&option.key))
        .flat_map(|option| option.lines);
    let urls = lines.filter_map(|line| text.get(line)).flat_map(str::split_whitespace);
    for url in urls {
        let Some(credentials) = UrlCredentials::parse(url) else {
            note_user_without_password(url, file, scan);
            continue;
        };
        let location = TokenLocation::new(file, vec![byte_range(&text, credentials.userinfo)]);
        let mut token = credentials.into_token("pypi", location);
        if let TokenTarget::Scope(scope) = &mut token.target {
            widen_to_archives(scope);
        }
        scan.tokens.push(token);
    }
}

/// A user without a password is a token for some registries. Pip asks the keyring for the password if there is one, so
/// then the user is a name.
fn note_user_without_password(url: &str, file: &Path, scan: &mut Scan) {
    if let Some(UserOnly::MaybeToken { scope }) = user_only(url)
        && on_path("keyring").is_none()
    {
        scan.notes.push(format!(
            "{}: the URL of {scope} has a user without a password; if that is a token, add it with `regauthctl \
             add-registry NAME --kind pypi --scope {scope}`",
            file.display()
        ));
    }
}

/// True for the options that name indexes. Pip reads `_` as `-`.
fn names_indexes(key: &str) -> bool {
    INDEX_SETTINGS.contains(&key.replace('_', "-").trim_start_matches("--"))
}

/// Widens the scope from the index to its parent, because archives are beside the index, not below it.
fn widen_to_archives(scope: &mut String) {
    let index = ["simple/", "+simple/"]
        .iter()
        .find(|index| scope.ends_with(&format!("/{index}")));
    scope.truncate(scope.len() - index.map_or(0, |index| index.len()));
}

const INDEX_SETTINGS: [&str; 3] = ["index-url", "extra-index-url", "find-links"];
