//! Scanner for npm's `.npmrc`: tokens by URL (npm's documentation, "Auth related configuration").

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use regauth_shared::placeholder::PLACEHOLDER;

use super::auth_scheme::{self, AuthScheme};
use super::found::{TokenLocation, TokenTarget};
use super::scan::{Scan, ScannedToken, byte_range};
use super::url_credentials::scope_of_url;
use crate::user_folders::npmrc;

/// Scans the user's file, and the file of the project in the current folder.
pub(super) fn scan(scan: &mut Scan) {
    let project = std::env::current_dir().ok().map(|folder| folder.join(".npmrc"));
    let mut files: Vec<PathBuf> = npmrc().ok().into_iter().chain(project).collect();
    files.dedup();
    for file in files {
        scan_file(&file, scan);
    }
}

/// Auth settings of one URL.
#[derive(Debug, Default)]
struct AuthSettings<'a> {
    token: Option<&'a str>,
    auth: Option<&'a str>,
    username: Option<&'a str>,
    password: Option<&'a str>,
    lines: Vec<Range<usize>>,
}

fn scan_file(file: &Path, scan: &mut Scan) {
    let Some(text) = scan.read(file) else { return };
    let mut by_url: BTreeMap<&str, AuthSettings<'_>> = BTreeMap::new();
    for line in text.split_inclusive('\n') {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim().trim_matches('"'));
        match key.strip_prefix("//").and_then(|key| key.rsplit_once(':')) {
            Some((url, name)) => {
                if let Some(field) = by_url.entry(url).or_default().field(name, value) {
                    *field = Some(value);
                    by_url.entry(url).or_default().lines.push(byte_range(&text, line));
                }
            }
            None if matches!(key, "_auth" | "_authToken" | "_password") => scan.notes.push(format!(
                "{}: {key} was skipped: it names no registry, and npm ignores it",
                file.display()
            )),
            None => {}
        }
    }
    for (url, settings) in by_url {
        scan.tokens.extend(scanned_token(url, settings, file));
    }
}

impl<'a> AuthSettings<'a> {
    /// Field of a setting; `None` if it is no auth setting or its value is no secret: a variable or the placeholder.
    fn field(&mut self, name: &str, value: &str) -> Option<&mut Option<&'a str>> {
        if value.contains("${") || value == PLACEHOLDER {
            return None;
        }
        match name {
            "_authToken" => Some(&mut self.token),
            "_auth" => Some(&mut self.auth),
            "username" => Some(&mut self.username),
            "_password" => Some(&mut self.password),
            _ => None,
        }
    }
}

fn scanned_token(url: &str, settings: AuthSettings<'_>, file: &Path) -> Option<ScannedToken> {
    let (scheme, secret) = match settings {
        AuthSettings { token: Some(token), .. } => (AuthScheme::Bearer, token.to_owned()),
        AuthSettings { auth: Some(auth), .. } => auth_scheme::decode_user_and_password(auth).map_or_else(
            || (AuthScheme::Raw, format!("Basic {auth}")),
            |(user, password)| auth_scheme::from_user_and_password(&user, &password),
        ),
        AuthSettings {
            username: Some(user),
            password: Some(password),
            ..
        } => auth_scheme::from_user_and_password(user, &auth_scheme::decode_text(password)?),
        _ => return None,
    };
    Some(ScannedToken {
        name: None,
        kind: "npm",
        target: TokenTarget::Scope(scope_of_url(&format!("https://{url}"))?),
        scheme,
        secret,
        location: TokenLocation::new(file, settings.lines),
    })
}
