//! `~/.netrc`, which curl, git and pip read (curl's documentation, "netrc"; netrc(5)).
//!
//! Words, with blanks between them; comments from `#` to the end of the line; a macro ends at a blank line. The crates
//! that parse it do not say where in the text an entry stands, which is what taking one out needs.

use std::ops::Range;
use std::path::Path;

use super::text::{read, scope};
use super::{Entry, Findings, Origin, Place, login};
use crate::user_folders::{home, path_variable as variable};

/// The file that `NETRC` names, or the one at home.
pub(super) fn look(findings: &mut Findings) {
    if let Some(file) = variable("NETRC").or_else(|| Some(home().ok()?.join(".netrc"))) {
        look_into(&file, findings);
    }
}

fn look_into(file: &Path, findings: &mut Findings) {
    let Some(text) = read(file, findings) else { return };
    for machine in machines(&text) {
        let Some(place) = scope(&format!("https://{}/", machine.host)) else {
            continue;
        };
        let (login, secret) = login::basic(&machine.login, &machine.password);
        findings.found.push(Entry {
            name: None,
            kind: "generic",
            place: Place::Scope(place),
            login,
            secret,
            origin: Origin::bytes(file, vec![machine.lines]),
        });
    }
}

#[derive(Debug, Default)]
struct Machine {
    host: String,
    login: String,
    password: String,
    lines: Range<usize>,
}

/// Those that have a password.
fn machines(text: &str) -> Vec<Machine> {
    let words = words(text);
    let mut machines: Vec<Machine> = Vec::new();
    let mut in_machine = false;
    let mut rest = words.iter();
    while let Some(word) = rest.next() {
        let mut next = || {
            rest.next()
                .map(|word| (word.text.clone(), word.range.end))
                .unwrap_or_default()
        };
        match (word.text.as_str(), machines.last_mut()) {
            ("machine", _) => {
                let (host, end) = next();
                let lines = word.range.start..end;
                machines.push(Machine {
                    host,
                    lines,
                    ..Machine::default()
                });
                in_machine = true;
            }
            ("default" | "macdef", _) => in_machine = false,
            ("login" | "account" | "password", Some(machine)) if in_machine => {
                let (value, end) = next();
                machine.lines.end = end.max(machine.lines.end);
                match word.text.as_str() {
                    "login" => machine.login = value,
                    "password" => machine.password = value,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    machines.retain(|machine| !machine.password.is_empty());
    for machine in &mut machines {
        machine.lines = whole_lines(text, &machine.lines);
    }
    machines
}

struct Word {
    text: String,
    range: Range<usize>,
}

/// Without comments, and without what macros consist of.
fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(start) = find(text, at, |c| !c.is_whitespace()) {
        let rest = text.get(start..).unwrap_or_default();
        let end = if rest.starts_with('#') {
            find(text, start, |c| c == '\n')
        } else if rest.starts_with('"') {
            end_of_quoted(rest).map(|length| start + length)
        } else {
            find(text, start, char::is_whitespace)
        };
        at = end.unwrap_or(text.len());
        let word = text.get(start..at).unwrap_or_default();
        if word == "macdef" {
            at = text
                .get(at..)
                .and_then(|rest| rest.find("\n\n"))
                .map_or(text.len(), |length| at + length);
        }
        if !word.starts_with('#') {
            words.push(Word {
                text: unquoted(word),
                range: start..at,
            });
        }
    }
    words
}

fn find(text: &str, from: usize, is_it: impl Fn(char) -> bool) -> Option<usize> {
    text.get(from..)?.find(is_it).map(|at| from + at)
}

fn end_of_quoted(text: &str) -> Option<usize> {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.map(|(at, _)| at + 1)
}

fn unquoted(word: &str) -> String {
    match word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => inner.replace("\\\"", "\"").replace("\\\\", "\\"),
        None => word.to_owned(),
    }
}

/// The lines that an entry has to itself go with their endings; of a line that it shares, its own part.
fn whole_lines(text: &str, entry: &Range<usize>) -> Range<usize> {
    let before = text.get(..entry.start).unwrap_or_default();
    let after = text.get(entry.end..).unwrap_or_default();
    let line_before = before.rsplit('\n').next().unwrap_or_default();
    let line_after = after.split_inclusive('\n').next().unwrap_or_default();
    let alone = line_before.trim().is_empty() && line_after.trim().is_empty();
    if alone {
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
    fn machines_are_found_with_the_lines_that_they_have_to_themselves() {
        let text = "# mine\nmachine a.example login me password p1\n\nmachine b.example\n\tlogin \"me too\" # who\n\
                    \tpassword \"p\\\"2\"\nmacdef init\nmachine password x\n\nmachine c.example login only\n\
                    default login anonymous password guest\nmachine d.example login u password p4 machine e.example \
                    password p5\n";
        let found = machines(text);
        let said: Vec<_> = found
            .iter()
            .map(|machine| [&*machine.host, &*machine.login, &*machine.password])
            .collect();
        let wanted = [
            ["a.example", "me", "p1"],
            ["b.example", "me too", "p\"2"],
            ["d.example", "u", "p4"],
            ["e.example", "", "p5"],
        ];
        assert_eq!(said, wanted);
        let mut rest = text.to_owned();
        for machine in found.iter().rev() {
            rest.replace_range(machine.lines.clone(), "");
        }
        let left = "# mine\n\nmacdef init\nmachine password x\n\nmachine c.example login only\n\
                    default login anonymous password guest\n\n";
        assert_eq!(rest, left);
    }
}
