//! npm's `.npmrc` (npm's documentation, "Auth related configuration"): tokens under the place that they are for.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use regauth_shared::placeholder::PLACEHOLDER;

use super::text::{lines, range_of, read, scope};
use super::{Entry, Findings, Login, Origin, Place, login};
use crate::user_folders::{home, path_variable as variable};

/// The person's file, and that of the project in this folder.
pub(super) fn look(findings: &mut Findings) {
    let own = variable("NPM_CONFIG_USERCONFIG").or_else(|| Some(home().ok()?.join(".npmrc")));
    let project = std::env::current_dir().ok().map(|folder| folder.join(".npmrc"));
    let mut files: Vec<PathBuf> = own.into_iter().chain(project).collect();
    files.dedup();
    for file in files {
        look_into(&file, findings);
    }
}

/// What is said of one place.
#[derive(Debug, Default)]
struct Said<'a> {
    token: Option<&'a str>,
    auth: Option<&'a str>,
    username: Option<&'a str>,
    password: Option<&'a str>,
    lines: Vec<Range<usize>>,
}

fn look_into(file: &Path, findings: &mut Findings) {
    let Some(text) = read(file, findings) else { return };
    let mut places: BTreeMap<&str, Said<'_>> = BTreeMap::new();
    for (_, line) in lines(&text) {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let Some((place, what)) = key.trim().strip_prefix("//").and_then(|key| key.rsplit_once(':')) else {
            if matches!(key.trim(), "_auth" | "_authToken" | "_password") {
                let note = format!(
                    "{}: {} is for no place in particular; npm ignores it by now",
                    file.display(),
                    key.trim()
                );
                findings.notes.push(note);
            }
            continue;
        };
        let value = value.trim().trim_matches('"');
        // A variable is not a secret, and what setup puts there is none either.
        if value.contains("${") || value == PLACEHOLDER {
            continue;
        }
        let said = places.entry(place).or_default();
        let field = match what {
            "_authToken" => &mut said.token,
            "_auth" => &mut said.auth,
            "username" => &mut said.username,
            "_password" => &mut said.password,
            _ => continue,
        };
        *field = Some(value);
        said.lines.push(range_of(&text, line));
    }
    for (place, said) in places {
        findings.found.extend(entry(place, said, file));
    }
}

fn entry(place: &str, said: Said<'_>, file: &Path) -> Option<Entry> {
    let (login, secret) = match said {
        Said { token: Some(token), .. } => (Login::Bearer, token.to_owned()),
        Said { auth: Some(auth), .. } => login::decoded(auth).map_or_else(
            || (Login::Raw, format!("Basic {auth}")),
            |(user, password)| login::basic(&user, &password),
        ),
        Said {
            username: Some(user),
            password: Some(password),
            ..
        } => login::basic(user, &login::plain(password)?),
        _ => return None,
    };
    Some(Entry {
        name: None,
        kind: "npm",
        place: Place::Scope(scope(&format!("https://{place}"))?),
        login,
        secret,
        origin: Origin::bytes(file, said.lines),
    })
}
