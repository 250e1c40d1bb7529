//! Scanner for pip's configuration: index URLs with a user and password (pip's documentation, "Configuration").

use std::path::{Path, PathBuf};

use super::found::{TokenLocation, TokenTarget};
use super::scan::{Scan, byte_range};
use super::url_credentials::UrlCredentials;
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
    for value in index_values(&text) {
        for url in value.split_whitespace().filter_map(UrlCredentials::parse) {
            let location = TokenLocation::new(file, vec![byte_range(&text, url.userinfo)]);
            let mut token = url.into_token("pypi", location);
            if let TokenTarget::Scope(scope) = &mut token.target {
                widen_to_archives(scope);
            }
            scan.tokens.push(token);
        }
    }
}

/// Values of the settings that name indexes, with their continuation lines.
fn index_values(text: &str) -> Vec<&str> {
    let mut values = Vec::new();
    let mut in_index_setting = false;
    for line in text.split_inclusive('\n') {
        let is_comment = line.trim_start().starts_with(['#', ';']);
        let is_continuation = line.starts_with([' ', '\t']);
        let value = match line.split_once(['=', ':']) {
            _ if is_comment => continue,
            _ if is_continuation => line,
            Some((key, value)) => {
                in_index_setting = INDEX_SETTINGS.contains(&key.trim().to_lowercase().replace('_', "-").as_str());
                value
            }
            None => {
                in_index_setting = false;
                continue;
            }
        };
        if in_index_setting {
            values.push(value);
        }
    }
    values
}

/// Widens the scope from the index to its parent, because archives are beside the index, not below it.
fn widen_to_archives(scope: &mut String) {
    let index = ["simple/", "+simple/"]
        .iter()
        .find(|index| scope.ends_with(&format!("/{index}")));
    scope.truncate(scope.len() - index.map_or(0, |index| index.len()));
}

const INDEX_SETTINGS: [&str; 3] = ["index-url", "extra-index-url", "find-links"];
