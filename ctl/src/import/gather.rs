//! Asks every reader, puts what is the same together, and gives each a name.

use regauth_shared::placeholder::PLACEHOLDER;
use regauth_shared::{RegistryName, Secret};

use super::login::masked;
use super::{Entry, Findings, Found, Place, cargo, git, netrc, npm, pip};

/// Everything that is found, and what a person should know of what is not taken.
pub(crate) fn gather() -> (Vec<Found>, Vec<String>) {
    let mut findings = Findings::default();
    for look in [cargo::look, git::look, netrc::look, pip::look, npm::look] {
        look(&mut findings);
    }
    put_together(findings)
}

fn put_together(findings: Findings) -> (Vec<Found>, Vec<String>) {
    let mut notes = findings.notes;
    let mut all: Vec<Found> = Vec::new();
    for entry in findings.found {
        if entry.secret == PLACEHOLDER {
            continue;
        }
        let secret = match Secret::parse(&entry.secret) {
            Ok(secret) => secret,
            Err(error) => {
                let (file, place) = (entry.origin.file.display(), entry.place.as_str());
                notes.push(format!("{file}: of what is for {place}, {error}"));
                continue;
            }
        };
        let is_it = |found: &&mut Found| {
            found.place == entry.place && found.login == entry.login && found.secret.is_same(&secret)
        };
        match all.iter_mut().find(is_it) {
            Some(found) => found.origins.push(entry.origin),
            None => match name(&entry, &all) {
                Some(name) => all.push(Found {
                    name,
                    kind: entry.kind,
                    place: entry.place,
                    login: entry.login,
                    secret,
                    masked: masked(&entry.secret),
                    origins: vec![entry.origin],
                }),
                None => notes.push(format!("{} has no host to name it by", entry.place.as_str())),
            },
        }
    }
    (all, notes)
}

/// What its file calls it, or its host, as far as a name can say it; with a number where there is one of that name.
fn name(entry: &Entry, others: &[Found]) -> Option<RegistryName> {
    let wanted = match &entry.name {
        Some(name) => name.clone(),
        None => by_place(&entry.place, entry.kind)?,
    };
    let taken = |name: &RegistryName| others.iter().any(|found| found.name == *name);
    numbered(&wanted, taken)
}

/// The first of `name`, `name-2`, `name-3`, … that is not taken.
pub(super) fn numbered(wanted: &str, taken: impl Fn(&RegistryName) -> bool) -> Option<RegistryName> {
    let usable = |c: char| {
        if c.is_ascii_alphanumeric() || c == '_' {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let text: String = wanted.chars().map(usable).take(MOST).collect();
    let text = text.trim_start_matches(['-', '_']).trim_end_matches('-');
    let tries = (1..).map(|number| match number {
        1 => text.to_owned(),
        number => format!("{text}-{number}"),
    });
    tries.map_while(|text| text.parse().ok()).find(|name| !taken(name))
}

fn by_place(place: &Place, kind: &str) -> Option<String> {
    let url = url::Url::parse(place.url()).ok()?;
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

/// Leaves room for a number.
const MOST: usize = 58;

#[cfg(test)]
mod tests {
    use super::super::{Cut, Login, Origin};
    use super::*;

    fn entry(name: Option<&str>, kind: &'static str, place: &str, secret: &str) -> Entry {
        Entry {
            name: name.map(str::to_owned),
            kind,
            place: Place::Scope(place.to_owned()),
            login: Login::Bearer,
            secret: secret.to_owned(),
            origin: Origin {
                file: "/f".into(),
                cut: Cut::ByHand,
            },
        }
    }

    #[test]
    fn the_same_token_twice_is_one_and_everything_has_a_name_of_its_own() {
        let found = vec![
            entry(Some("My.Corp"), "cargo", "https://a.example/i/", "one"),
            entry(None, "git", "https://a.example/", "two"),
            entry(None, "generic", "https://a.example/", "two"),
            entry(None, "git", "https://a.example/", "three"),
            entry(None, "npm", "https://[::1]:4/", "four"),
            entry(None, "git", "https://github.com/", "five"),
            entry(None, "git", "https://github.com/", PLACEHOLDER),
            entry(None, "git", "https://gone.example/", "no\ttoken"),
        ];
        let (found, notes) = put_together(Findings {
            found,
            notes: Vec::new(),
        });
        let names: Vec<_> = found
            .iter()
            .map(|found| (found.name.as_str(), found.origins.len()))
            .collect();
        let wanted = [
            ("my-corp", 1),
            ("a-example", 2),
            ("a-example-2", 1),
            ("1-4-npm", 1),
            ("github", 1),
        ];
        assert_eq!(names, wanted);
        assert!(notes.len() == 1 && !notes[0].contains("token\""), "{notes:?}");
    }
}
