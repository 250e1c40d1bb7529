//! Problems of a configuration file, with line and column. No message repeats a value, because any value may be a token
//! in the wrong place.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// All problems of one file, in its order; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems {
    file: String,
    list: Vec<Problem>,
}

impl Problems {
    /// Sets the file name for messages. The default is `config.toml`.
    #[must_use]
    pub fn in_file(mut self, path: &Path) -> Self {
        self.file = path.display().to_string();
        self
    }

    /// Problems in the order of the file.
    pub fn as_slice(&self) -> &[Problem] {
        &self.list
    }
}

/// One line a problem, in the format of compilers: `config.toml:12:3: unknown key …`.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{}:{problem}", self.file)?;
        }
        Ok(())
    }
}

/// Problem at one place of the file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Description of the problem and, if known, of its fix.
    pub message: String,
}

/// `12:3: unknown key …`
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.line, self.column, self.message)
    }
}

/// Collector of the problems of one text while it is read.
///
/// After a syntax error the parser guesses the rest of the line. If the error can swallow the next lines (an unclosed
/// header, array or multi-line string), everything after it is a guess too. Guessed lines get no problems of their own.
pub(super) struct ProblemCollector<'t> {
    text: &'t str,
    list: Vec<Problem>,
    guessed_lines: BTreeSet<usize>,
    guessed_from: Option<usize>,
}

impl<'t> ProblemCollector<'t> {
    /// Starts with the syntax errors: byte offset and message.
    pub(super) fn new(text: &'t str, errors: &[(usize, String)]) -> Self {
        let mut problems = Self {
            text,
            list: Vec::new(),
            guessed_lines: BTreeSet::new(),
            guessed_from: None,
        };
        for (offset, message) in errors {
            let (line, column) = problems.position(*offset);
            problems.list.push(Problem {
                line,
                column,
                message: message.clone(),
            });
        }
        problems.guessed_lines = problems.list.iter().map(|problem| problem.line).collect();
        problems.guessed_from = (problems.guessed_lines.iter().copied())
            .find(|line| !text.lines().nth(line - 1).is_some_and(is_self_contained));
        problems
    }

    /// Records a problem at a byte offset.
    pub(super) fn report(&mut self, offset: usize, message: String) {
        let (line, column) = self.position(offset);
        let guessed = self.guessed_lines.contains(&line) || self.guessed_from.is_some_and(|first| line >= first);
        if !guessed {
            self.list.push(Problem { line, column, message });
        }
    }

    /// Records that a key is missing, unless it may be in a guessed line.
    pub(super) fn report_missing(&mut self, offset: usize, message: String) {
        if self.guessed_lines.is_empty() {
            self.report(offset, message);
        }
    }

    /// Line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.position(offset).0
    }

    /// Returns the value that was read, or the problems.
    pub(super) fn finish<T>(self, value: T) -> Result<T, Problems> {
        if self.list.is_empty() {
            Ok(value)
        } else {
            Err(self.into_problems())
        }
    }

    /// Problems found so far, of which there is at least one.
    pub(super) fn into_problems(mut self) -> Problems {
        self.list.sort();
        Problems {
            file: DEFAULT_NAME.to_owned(),
            list: self.list,
        }
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        (before.matches('\n').count() + 1, column + 1)
    }
}

/// Can an error in this line not reach the next one? True for `key = value` if the value cannot go on in the next line.
fn is_self_contained(line: &str) -> bool {
    let is_multi_line = |value: &str| ["[", "{", "\"\"\"", "'''"].iter().any(|start| value.starts_with(start));
    match line.split_once('=') {
        Some((key, value)) => !key.trim_start().starts_with('[') && !is_multi_line(value.trim_start()),
        None => false,
    }
}

const DEFAULT_NAME: &str = "config.toml";
