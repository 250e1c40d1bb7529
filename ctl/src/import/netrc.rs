//! Scanner for `~/.netrc`, which curl, git and pip read (netrc(5); Python's module `netrc`; curl's `netrc.c`).
//!
//! Own parser, because the netrc crates do not tell the position of an entry in the text, which its removal needs. It
//! reads as Python does. An entry that Python rejects, or that curl reads differently, is skipped with a note: its token
//! could be wrong, or that of another host.

use std::ops::Range;
use std::path::Path;

use super::auth_scheme;
use super::found::{TokenLocation, TokenTarget};
use super::scan::{Scan, ScannedToken};
use super::url_credentials::scope_of_host;
use crate::user_folders::{home, path_variable};

/// Scans the file that `NETRC` names, or `~/.netrc`.
pub(super) fn scan(scan: &mut Scan) {
    if let Some(file) = path_variable("NETRC").or_else(|| Some(home().ok()?.join(".netrc"))) {
        scan_file(&file, scan);
    }
}

fn scan_file(file: &Path, scan: &mut Scan) {
    let Some(text) = scan.read(file) else { return };
    let (machines, skipped) = machines(&text);
    let note = |(line, reason)| format!("{}, line {line}: an entry was skipped: {reason}", file.display());
    scan.notes.extend(skipped.into_iter().map(note));
    for (machine, scope) in machines {
        let (scheme, secret) = auth_scheme::from_user_and_password(&machine.login, &machine.password);
        scan.tokens.push(ScannedToken {
            name: None,
            kind: "generic",
            target: TokenTarget::Scope(scope),
            scheme,
            secret,
            location: TokenLocation::new(file, vec![extend_to_lines(&text, &machine.range)]),
        });
    }
}

/// Number of the line and reason of each entry that was skipped.
type Skipped = Vec<(usize, &'static str)>;

/// Parses the `machine` entries that have a password, each with its scope.
fn machines(text: &str) -> (Vec<(Machine, String)>, Skipped) {
    let mut parser = Parser::new(text);
    let entries = parser.entries();
    let mut skipped = parser.skipped;
    let mut machines = Vec::new();
    for entry in entries.into_iter().filter(|entry| !entry.password.is_empty()) {
        match scope_of_host(&entry.host) {
            Some(scope) => machines.push((entry, scope)),
            None => skipped.push((
                line_of(text, entry.range.start),
                "`machine` needs the name of a host, without a scheme or path",
            )),
        }
    }
    skipped.sort_unstable();
    (machines, skipped)
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.get(..at).unwrap_or_default().matches('\n').count()
}

/// Entry of a host.
#[derive(Debug, Default)]
struct Machine {
    host: String,
    login: String,
    password: String,
    range: Range<usize>,
}

/// Word of the file, with quotes and escapes removed.
#[derive(Clone, Debug)]
struct Word {
    text: String,
    range: Range<usize>,
    /// False if a reader of the format takes another text for it, or no end of its quotes was found.
    is_certain: bool,
}

impl Word {
    fn is_keyword(&self) -> bool {
        KEYWORDS.contains(&self.text.as_str())
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    skipped: Skipped,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            skipped: Vec::new(),
        }
    }

    fn entries(&mut self) -> Vec<Machine> {
        let mut entries = Vec::new();
        while let Some(word) = self.next_keyword() {
            match word.text.as_str() {
                "machine" => entries.extend(self.entry(&word, true)),
                "default" => drop(self.entry(&word, false)),
                "macdef" => self.skip_macro(&word),
                _ => self.skip_entry(&word, "it has a word that is none of netrc's, so its end is unknown"),
            }
        }
        entries
    }

    /// Reads an entry after its keyword, up to the keyword of the next one. `None` if it is skipped.
    fn entry(&mut self, keyword: &Word, has_host: bool) -> Option<Machine> {
        let mut entry = Machine {
            range: keyword.range.clone(),
            ..Machine::default()
        };
        if has_host {
            entry.host = self.value(keyword, &mut entry.range)?;
        }
        loop {
            let before = self.at;
            let Some(word) = self.next_keyword() else { break };
            match word.text.as_str() {
                "login" | "user" => entry.login = self.value(&word, &mut entry.range)?,
                "password" => entry.password = self.value(&word, &mut entry.range)?,
                "account" => drop(self.value(&word, &mut entry.range)?),
                "machine" | "default" | "macdef" => {
                    self.at = before;
                    break;
                }
                _ => {
                    self.skip_entry(
                        keyword,
                        "it has a word that is none of netrc's; quote a value with blanks",
                    );
                    return None;
                }
            }
        }
        if !has_host && !entry.password.is_empty() {
            self.skipped.push((
                line_of(self.text, keyword.range.start),
                "`default` names no host, so its registry is unknown",
            ));
        }
        Some(entry)
    }

    /// Value after a keyword: the next word, whatever it is. A keyword on another line is no value.
    fn value(&mut self, keyword: &Word, entry: &mut Range<usize>) -> Option<String> {
        let before = self.at;
        let Some(word) = self.next_word() else {
            self.skip_entry(keyword, "a value is missing at the end of the file");
            return None;
        };
        let gap = self.text.get(keyword.range.end..word.range.start).unwrap_or_default();
        let is_on_another_line = gap.contains(['\n', '\r']);
        if is_on_another_line && (word.is_keyword() || word.text.starts_with('#')) {
            self.at = before;
            self.skip_entry(keyword, "a value is missing at the end of a line");
            return None;
        }
        if !word.is_certain {
            self.skip_entry(keyword, "curl and Python read its quotes or backslashes differently");
            return None;
        }
        entry.end = word.range.end;
        Some(word.text)
    }

    /// Records that the entry of a word is skipped, and continues at the next line that begins with a keyword.
    fn skip_entry(&mut self, word: &Word, reason: &'static str) {
        self.skipped.push((line_of(self.text, word.range.start), reason));
        while let Some(line) = self.rest().find('\n') {
            self.at += line + 1;
            let first = self.rest().split_whitespace().next().unwrap_or_default();
            if ENTRY_KEYWORDS.contains(&first) {
                return;
            }
        }
        self.at = self.text.len();
    }

    /// Skips the body of a macro, which ends at an empty line.
    fn skip_macro(&mut self, keyword: &Word) {
        if self.next_word().is_none() {
            return;
        }
        let mut lines = self.rest().split_inclusive('\n');
        // The rest of the line with the name belongs to the body.
        let mut length = lines.next().map_or(0, str::len);
        for line in lines {
            length += line.len();
            if matches!(line, "\n" | "\r\n") {
                self.at += length;
                return;
            }
        }
        self.at = self.text.len();
        self.skipped.push((
            line_of(self.text, keyword.range.start),
            "a `macdef` without an empty line after it takes the rest of the file",
        ));
    }

    /// Next word where a keyword is expected: a word that begins with `#` is a comment up to the end of its line.
    fn next_keyword(&mut self) -> Option<Word> {
        loop {
            let word = self.next_word()?;
            if !word.text.starts_with('#') {
                return Some(word);
            }
            self.at = word.range.end;
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn next_word(&mut self) -> Option<Word> {
        let start = self.at + self.rest().find(|c| !BLANKS.contains(&c))?;
        let rest = self.text.get(start..).unwrap_or_default();
        let mut word = Word {
            text: String::new(),
            range: start..self.text.len(),
            is_certain: true,
        };
        let is_quoted = rest.starts_with('"');
        let mut characters = rest.char_indices().skip(usize::from(is_quoted));
        let mut has_end = !is_quoted;
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => {
                    let escaped = characters.next().map(|(_, escaped)| escaped);
                    // curl keeps a backslash outside of quotes, and takes \n, \r and \t in quotes for control characters.
                    word.is_certain &= is_quoted && matches!(escaped, Some('"' | '\\'));
                    word.text.extend(escaped);
                }
                '"' if is_quoted => {
                    has_end = true;
                    word.range.end = start + at + 1;
                    break;
                }
                blank if !is_quoted && BLANKS.contains(&blank) => {
                    word.range.end = start + at;
                    break;
                }
                // Curl's words end with the line.
                '\n' | '\r' => {
                    word.is_certain = false;
                    word.text.push(character);
                }
                other => word.text.push(other),
            }
        }
        word.is_certain &= has_end;
        self.at = word.range.end;
        Some(word)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
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

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];
/// Keywords that begin an entry.
const ENTRY_KEYWORDS: [&str; 3] = ["machine", "default", "macdef"];
const KEYWORDS: [&str; 7] = ["machine", "default", "macdef", "login", "user", "account", "password"];

#[cfg(test)]
mod tests;
