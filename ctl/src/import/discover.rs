//! Discovery: runs every scanner, merges equal tokens, and names each one.

use regauth_shared::placeholder::PLACEHOLDER;
use regauth_shared::{RegistryName, Secret};

use super::auth_scheme::mask;
use super::found::{FoundToken, TokenTarget};
use super::scan::{Scan, ScannedToken};
use super::{cargo, git, netrc, npm, pip};

/// Finds the tokens of all clients. The second part is notes for the user on tokens that cannot be imported.
pub(crate) fn discover() -> (Vec<FoundToken>, Vec<String>) {
    let mut scan = Scan::default();
    for scan_client in [cargo::scan, git::scan, netrc::scan, pip::scan, npm::scan] {
        scan_client(&mut scan);
    }
    merge(scan)
}

fn merge(scan: Scan) -> (Vec<FoundToken>, Vec<String>) {
    let mut notes = scan.notes;
    let mut found: Vec<FoundToken> = Vec::new();
    for token in scan.tokens {
        if token.secret == PLACEHOLDER {
            continue;
        }
        match Secret::parse(&token.secret) {
            Ok(secret) => notes.extend(add(&mut found, token, secret)),
            Err(error) => {
                let (file, target) = (token.location.file.display(), token.target.as_str());
                notes.push(format!("{file}: the token for {target} was skipped: {error}"));
            }
        }
    }
    (found, notes)
}

/// Adds a token, or another location of a known one. Returns a note if the token cannot be named.
fn add(found: &mut Vec<FoundToken>, token: ScannedToken, secret: Secret) -> Option<String> {
    let is_same = |known: &&mut FoundToken| {
        known.target == token.target && known.scheme == token.scheme && known.secret.is_same(&secret)
    };
    if let Some(known) = found.iter_mut().find(is_same) {
        known.locations.push(token.location);
        return None;
    }
    let Some(name) = unused_name(&token, found) else {
        return Some(format!(
            "the token for {} was skipped: its URL has no host to name the registry after",
            token.target.as_str()
        ));
    };
    found.push(FoundToken {
        name,
        kind: token.kind,
        target: token.target,
        scheme: token.scheme,
        secret,
        masked: mask(&token.secret),
        locations: vec![token.location],
    });
    None
}

/// Name from the file, or from the host of the target, with a number if another token has that name. A name of the file
/// stays as it is, if it can.
fn unused_name(token: &ScannedToken, others: &[FoundToken]) -> Option<RegistryName> {
    let is_taken = |name: &RegistryName| {
        let mut names = others.iter().map(|other| &other.name);
        names.any(|other| other == name || other.differs_only_in_case(name))
    };
    let wanted = match &token.name {
        Some(name) => match name.parse().ok().filter(|name| !is_taken(name)) {
            Some(own) => return Some(own),
            None => name.clone(),
        },
        None => name_after_host(&token.target, token.kind)?,
    };
    number_name(&wanted, is_taken)
}

/// Returns the first of `name`, `name-2`, `name-3`, … that is not taken, with invalid characters replaced by `-`.
pub(super) fn number_name(wanted: &str, is_taken: impl Fn(&RegistryName) -> bool) -> Option<RegistryName> {
    let replace_invalid = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let text: String = wanted.chars().map(replace_invalid).take(MAX_BASE_LENGTH).collect();
    let text = text.trim_start_matches(['-', '_']).trim_end_matches('-');
    let candidates = (1..).map(|number| match number {
        1 => text.to_owned(),
        number => format!("{text}-{number}"),
    });
    candidates
        .map_while(|text| text.parse().ok())
        .find(|name| !is_taken(name))
}

fn name_after_host(target: &TokenTarget, kind: &str) -> Option<String> {
    let url = url::Url::parse(target.url()).ok()?;
    let host = url.host_str()?.trim_matches(['[', ']']);
    let host = match host.strip_prefix("www.").unwrap_or(host) {
        "github.com" => "github",
        "gitlab.com" => "gitlab",
        "bitbucket.org" => "bitbucket",
        other => other,
    };
    let port = url.port().map_or_else(String::new, |port| format!("-{port}"));
    Some(match kind {
        "pypi" | "npm" => format!("{host}{port}-{kind}"),
        _ => format!("{host}{port}"),
    })
}

/// Leaves room for a number within the longest valid name.
const MAX_BASE_LENGTH: usize = 58;

#[cfg(test)]
mod tests {
    use super::super::auth_scheme::AuthScheme;
    use super::super::found::TokenLocation;
    use super::*;

    fn token(name: Option<&str>, kind: &'static str, scope: &str, secret: &str) -> ScannedToken {
        ScannedToken {
            name: name.map(str::to_owned),
            kind,
            target: TokenTarget::Scope(scope.to_owned()),
            scheme: AuthScheme::Bearer,
            secret: secret.to_owned(),
            location: TokenLocation::new("/f", Vec::new()),
        }
    }

    #[test]
    fn merges_equal_tokens_and_gives_each_its_own_name() {
        let tokens = vec![
            token(Some("My.Corp"), "cargo", "https://a.example/i/", "one"),
            token(None, "git", "https://a.example/", "two"),
            token(None, "generic", "https://a.example/", "two"),
            token(None, "git", "https://a.example/", "three"),
            token(None, "npm", "https://[::1]:4/", "four"),
            token(None, "git", "https://github.com/", "five"),
            token(None, "git", "https://github.com/", PLACEHOLDER),
            token(None, "git", "https://gone.example/", "no\ttoken"),
        ];
        let (found, notes) = merge(Scan {
            tokens,
            notes: Vec::new(),
        });
        let names: Vec<_> = found
            .iter()
            .map(|found| (found.name.as_str(), found.locations.len()))
            .collect();
        let wanted = [
            ("My.Corp", 1),
            ("a-example", 2),
            ("a-example-2", 1),
            ("1-4-npm", 1),
            ("github", 1),
        ];
        assert_eq!(names, wanted);
        assert!(notes.len() == 1 && !notes[0].contains("token\""), "{notes:?}");
    }
}
