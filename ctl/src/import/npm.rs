//! Scanner for npm's `.npmrc`: tokens by URL (npm's documentation, "Auth related configuration").

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use regauth_shared::placeholder::PLACEHOLDER;

use super::auth_scheme::{self, AuthScheme};
use super::found::{TokenLocation, TokenTarget};
use super::npm_ini::{self, NpmSetting};
use super::scan::{Scan, ScannedToken, has_variable};
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

/// Auth settings of one URL, each the last one of its name, which is the one that npm uses.
#[derive(Debug, Default)]
struct AuthSettings {
    token: Option<AuthSetting>,
    auth: Option<AuthSetting>,
    username: Option<AuthSetting>,
    password: Option<AuthSetting>,
}

/// Value of a setting, and its line.
#[derive(Debug)]
struct AuthSetting {
    value: String,
    line: Range<usize>,
}

fn scan_file(file: &Path, scan: &mut Scan) {
    let Some(text) = scan.read(file) else { return };
    let mut by_url: BTreeMap<String, AuthSettings> = BTreeMap::new();
    for setting in npm_ini::settings(&text) {
        match setting
            .key
            .strip_prefix("//")
            .and_then(|_| setting.key.rsplit_once(':'))
        {
            Some((url, name)) => {
                if let Some(field) = by_url.entry(url.to_owned()).or_default().field(name) {
                    *field = usable(&setting);
                }
            }
            None if matches!(&*setting.key, "_auth" | "_authToken" | "_password") => scan.notes.push(format!(
                "{}: {} was skipped: it names no registry, and npm ignores it",
                file.display(),
                setting.key
            )),
            None => {}
        }
    }
    for (url, settings) in by_url {
        scan.tokens.extend(scanned_token(&url, settings, file));
    }
}

/// Value of a setting; `None` if it is no secret: empty, a variable or the placeholder.
fn usable(setting: &NpmSetting) -> Option<AuthSetting> {
    let is_secret = |value: &&String| !value.is_empty() && *value != PLACEHOLDER && !has_variable(value);
    let value = setting.value.as_ref().filter(is_secret)?.clone();
    Some(AuthSetting {
        value,
        line: setting.line.clone(),
    })
}

impl AuthSettings {
    fn field(&mut self, name: &str) -> Option<&mut Option<AuthSetting>> {
        match name {
            "_authToken" => Some(&mut self.token),
            "_auth" => Some(&mut self.auth),
            "username" => Some(&mut self.username),
            "_password" => Some(&mut self.password),
            _ => None,
        }
    }
}

/// Token that npm sends, in its order: `_authToken`, user and password, `_auth`. Only its lines are removed later.
fn scanned_token(url: &str, settings: AuthSettings, file: &Path) -> Option<ScannedToken> {
    let (scheme, secret, lines) = match settings {
        AuthSettings { token: Some(token), .. } => (AuthScheme::Bearer, token.value, vec![token.line]),
        AuthSettings {
            username: Some(user),
            password: Some(password),
            ..
        } => {
            let decoded = auth_scheme::decode_text(&password.value)?;
            let (scheme, secret) = auth_scheme::from_user_and_password(&user.value, &decoded);
            (scheme, secret, vec![user.line, password.line])
        }
        AuthSettings { auth: Some(auth), .. } => {
            let (scheme, secret) = auth_scheme::decode_user_and_password(&auth.value).map_or_else(
                || (AuthScheme::Raw, format!("Basic {}", auth.value)),
                |(user, password)| auth_scheme::from_user_and_password(&user, &password),
            );
            (scheme, secret, vec![auth.line])
        }
        _ => return None,
    };
    Some(ScannedToken {
        name: None,
        kind: "npm",
        target: TokenTarget::Scope(scope_of_url(&format!("https:{url}"))?),
        scheme,
        secret,
        location: TokenLocation::new(file, lines),
    })
}
