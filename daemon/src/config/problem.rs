//! What is wrong with a configuration file, and where. No problem repeats a value: any of them may be a token that
//! was put in the wrong place.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// Everything that is wrong with one file, in its order; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    /// Names the file that the problems are in; until then it is `config.toml`.
    #[must_use]
    pub fn in_file(mut self, path: &Path) -> Self {
        self.file = path.display().to_string();
        self
    }

    /// The problems, in the order of the file.
    pub fn as_slice(&self) -> &[Problem] {
        &self.list
    }
}

/// One line each, as compilers write them: `config.toml:12:3: unknown key …`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{problem}", self.file)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong and, where that is known, what would be right.
    pub message: String,
}

/// `12:3: unknown key …`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Collects the problems of one text while it is read.
///
/// After a syntax error the parser goes on as well as it can. What it makes of the line in question is a guess, and so
/// is everything after an error that may have taken the next lines along: an unclosed header, array or long string.
pub(super) struct Findings<'t> {
    text: &'t str,
    list: Vec<Problem>,
    guessed_lines: BTreeSet<usize>,
    guessed_from: Option<usize>,
}

impl<'t> Findings<'t> {
    /// Begins with what the parser found: where, and what is wrong there.
    pub(super) fn new(text: &'t str, errors: &[(usize, String)]) -> Self {
        let mut findings = Self {
            text,
            list: Vec::new(),
            guessed_lines: BTreeSet::new(),
            guessed_from: None,
        };
        for (at, message) in errors {
            let (line, column) = findings.place(*at);
            findings.list.push(Problem {
                line,
                column,
                message: message.clone(),
            });
        }
        findings.guessed_lines = findings.list.iter().map(|problem| problem.line).collect();
        findings.guessed_from =
            (findings.guessed_lines.iter().copied()).find(|line| !text.lines().nth(line - 1).is_some_and(stands_alone));
        findings
    }

    /// Records what is wrong at a byte of the text.
    pub(super) fn report(&mut self, at: usize, message: String) {
        let (line, column) = self.place(at);
        let guessed = self.guessed_lines.contains(&line) || self.guessed_from.is_some_and(|first| line >= first);
        if !guessed {
            self.list.push(Problem { line, column, message });
        }
    }

    /// Records that something is not there, unless it may be in a part that could not be read.
    pub(super) fn report_missing(&mut self, at: usize, message: String) {
        if self.guessed_lines.is_empty() {
            self.report(at, message);
        }
    }

    /// The line that a byte of the text is in, from 1.
    pub(super) fn line(&self, at: usize) -> usize {
        self.place(at).0
    }

    /// Hands out what was read if nothing is wrong with it.
    pub(super) fn conclude<T>(self, read: T) -> Result<T, Problems> {
        if self.list.is_empty() {
            Ok(read)
        } else {
            Err(self.problems())
        }
    }

    /// Hands out what is wrong, where that is known to be something.
    pub(super) fn problems(mut self) -> Problems {
        self.list.sort();
        Problems {
            file: DEFAULT_NAME.to_owned(),
            list: self.list,
        }
    }

    fn place(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        (before.matches('\n').count() + 1, column + 1)
    }
}

/// Whether an error in this line stays in it: `key = value` where the value cannot go on in the next line.
fn stands_alone(line: &str) -> bool {
    let goes_on = |value: &str| ["[", "{", "\"\"\"", "'''"].iter().any(|start| value.starts_with(start));
    match line.split_once('=') {
        Some((key, value)) => !key.trim_start().starts_with('[') && !goes_on(value.trim_start()),
        None => false,
    }
}

const DEFAULT_NAME: &str = "config.toml";
