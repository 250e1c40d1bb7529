//! Scanner for `~/.netrc`, which curl, git and pip read (curl's documentation, "netrc"; netrc(5)).
//!
//! Own parser, because the netrc crates do not tell the position of an entry in the text, which its removal needs.

use std::ops::Range;
use std::path::Path;

use super::auth_scheme;
use super::found::{TokenLocation, TokenTarget};
use super::scan::{Scan, ScannedToken};
use super::url_credentials::scope_of_url;
use crate::user_folders::{home, path_variable};

/// Scans the file that `NETRC` names, or `~/.netrc`.
pub(super) fn scan(scan: &mut Scan) {
    if let Some(file) = path_variable("NETRC").or_else(|| Some(home().ok()?.join(".netrc"))) {
        scan_file(&file, scan);
    }
}

fn scan_file(file: &Path, scan: &mut Scan) {
    let Some(text) = scan.read(file) else { return };
    for machine in machines(&text) {
        let Some(scope) = scope_of_url(&format!("https://{}/", machine.host)) else {
            continue;
        };
        let (scheme, secret) = auth_scheme::from_user_and_password(&machine.login, &machine.password);
        scan.tokens.push(ScannedToken {
            name: None,
            kind: "generic",
            target: TokenTarget::Scope(scope),
            scheme,
            secret,
            location: TokenLocation::new(file, vec![machine.range]),
        });
    }
}

#[derive(Debug, Default)]
struct Machine {
    host: String,
    login: String,
    password: String,
    range: Range<usize>,
}

/// Parses the `machine` entries that have a password, with the ranges to remove.
fn machines(text: &str) -> Vec<Machine> {
    let mut machines = parse_entries(&tokenize(text));
    machines.retain(|machine| !machine.password.is_empty());
    for machine in &mut machines {
        machine.range = extend_to_lines(text, &machine.range);
    }
    machines
}

fn parse_entries(tokens: &[Token]) -> Vec<Machine> {
    let mut machines: Vec<Machine> = Vec::new();
    let mut in_machine = false;
    let mut rest = tokens.iter();
    while let Some(keyword) = rest.next() {
        let mut next_value = || {
            let value = rest.next();
            value
                .map(|value| (value.text.clone(), value.range.end))
                .unwrap_or_default()
        };
        match (keyword.text.as_str(), machines.last_mut()) {
            ("machine", _) => {
                let (host, end) = next_value();
                machines.push(Machine {
                    host,
                    range: keyword.range.start..end,
                    ..Machine::default()
                });
                in_machine = true;
            }
            ("default" | "macdef", _) => in_machine = false,
            (field @ ("login" | "account" | "password"), Some(machine)) if in_machine => {
                let (value, end) = next_value();
                machine.range.end = end.max(machine.range.end);
                match field {
                    "login" => machine.login = value,
                    "password" => machine.password = value,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    machines
}

/// Word of the file, with quotes removed.
struct Token {
    text: String,
    range: Range<usize>,
}

/// Splits the text at blanks. Skips comments, which run from `#` to the end of the line, and the bodies of macros,
/// which end at a blank line.
fn tokenize(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut position = 0;
    while let Some(start) = find_from(text, position, |c| !c.is_whitespace()) {
        let rest = text.get(start..).unwrap_or_default();
        let end = if rest.starts_with('#') {
            find_from(text, start, |c| c == '\n')
        } else if rest.starts_with('"') {
            quoted_length(rest).map(|length| start + length)
        } else {
            find_from(text, start, char::is_whitespace)
        };
        position = end.unwrap_or(text.len());
        let word = text.get(start..position).unwrap_or_default();
        if word == "macdef" {
            let body = text.get(position..).unwrap_or_default();
            position = body.find("\n\n").map_or(text.len(), |length| position + length);
        }
        let range = start..position;
        if !word.starts_with('#') {
            let text = unquote(word);
            tokens.push(Token { text, range });
        }
    }
    tokens
}

fn find_from(text: &str, from: usize, matches: impl Fn(char) -> bool) -> Option<usize> {
    text.get(from..)?.find(matches).map(|at| from + at)
}

fn quoted_length(text: &str) -> Option<usize> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| at + 1)
}

fn unquote(word: &str) -> String {
    match word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => word.to_owned(),
    }
}

/// Extends an entry to full lines with their endings if nothing else is on them, else to the blanks behind it.
fn extend_to_lines(text: &str, entry: &Range<usize>) -> Range<usize> {
    let before = text.get(..entry.start).unwrap_or_default();
    let after = text.get(entry.end..).unwrap_or_default();
    let line_before = before.rsplit('\n').next().unwrap_or_default();
    let line_after = after.split_inclusive('\n').next().unwrap_or_default();
    if line_before.trim().is_empty() && line_after.trim().is_empty() {
        entry.start - line_before.len()..entry.end + line_after.len()
    } else {
        let blanks = line_after.len() - line_after.trim_start_matches([' ', '\t']).len();
        entry.start..entry.end + blanks
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_machines_and_the_lines_to_remove_with_them() {
        let text = "# mine\nmachine a.example login me password p1\n\nmachine b.example\n\tlogin \"me too\" # who\n\
                    \tpassword \"p\\\"2\"\nmacdef init\nmachine password x\n\nmachine c.example login only\n\
                    default login anonymous password guest\nmachine d.example login u password p4 machine e.example \
                    password p5\n";
        let found = machines(text);
        let parsed: Vec<_> = found
            .iter()
            .map(|machine| [&*machine.host, &*machine.login, &*machine.password])
            .collect();
        let wanted = [
            ["a.example", "me", "p1"],
            ["b.example", "me too", "p\"2"],
            ["d.example", "u", "p4"],
            ["e.example", "", "p5"],
        ];
        assert_eq!(parsed, wanted);
        let mut rest = text.to_owned();
        for machine in found.iter().rev() {
            rest.replace_range(machine.range.clone(), "");
        }
        let left = "# mine\n\nmacdef init\nmachine password x\n\nmachine c.example login only\n\
                    default login anonymous password guest\n\n";
        assert_eq!(rest, left);
    }
}
