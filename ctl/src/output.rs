//! What a person or a script gets to read: text, or with `--json` exactly one JSON document. The exit code too.
//!
//! All that the program writes goes through here. A reader that went away (`regauthctl list | head -1`) is no failure.

use std::io::{self, ErrorKind as IoErrorKind, Write};

use regauth_shared::frame::Answer;
use regauth_shared::{ErrorBody, exit_code};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::client::Reply;
use crate::error::failed;

/// What a command has to say when the daemon did what was asked.
pub(crate) struct Report {
    text: String,
    body: Option<Box<RawValue>>,
    exit_code: u8,
}

impl Report {
    /// The daemon's answer in words. With `--json` the answer itself is printed, as it came.
    pub(crate) fn new<T>(reply: Reply<T>, words: impl FnOnce(&T) -> String) -> Self {
        Self {
            text: words(&reply.answer),
            body: Some(reply.body),
            exit_code: exit_code::DONE,
        }
    }

    /// What this program found out or did by itself.
    ///
    /// # Errors
    /// None that can occur: every answer has a JSON form.
    pub(crate) fn of<T: Serialize>(answer: &T, text: String) -> Result<Self, ErrorBody> {
        let body = to_raw_value(answer).map_err(|error| failed(format!("the answer has no JSON form: {error}")))?;
        Ok(Self {
            text,
            body: Some(body),
            exit_code: exit_code::DONE,
        })
    }

    /// Nothing to say, in no form: another program has said it all.
    pub(crate) fn silent(exit_code: u8) -> Self {
        Self {
            text: String::new(),
            body: None,
            exit_code,
        }
    }

    /// A text for another program, such as a shell: it has no other form.
    pub(crate) fn script(text: String) -> Self {
        Self {
            text,
            ..Self::silent(exit_code::DONE)
        }
    }

    /// The same with more lines for a person; `--json` stays as it is.
    #[must_use]
    pub(crate) fn and(mut self, lines: &str) -> Self {
        self.text.push_str(lines);
        self
    }

    /// The same with another exit code, for an answer that holds bad news.
    #[must_use]
    pub(crate) fn exit_code(self, exit_code: u8) -> Self {
        Self { exit_code, ..self }
    }
}

/// Prints what came of a command and says how the process ends.
pub(crate) fn conclude(result: Result<Report, ErrorBody>, json: bool) -> u8 {
    match result {
        Ok(report) => {
            let text = match report.body {
                Some(body) if json => format!("{body}\n"),
                Some(_) => printable(&report.text),
                None => report.text,
            };
            print(&text, report.exit_code)
        }
        Err(error) if json => {
            let exit_code = error.kind.exit_code();
            match serde_json::to_string(&Answer::<()>::Err(error)) {
                Ok(line) => print(&format!("{line}\n"), exit_code),
                Err(_) => exit_code,
            }
        }
        Err(error) => {
            complain(&error);
            error.kind.exit_code()
        }
    }
}

/// Writes text to stdout and gives the exit code back, or another one when the text could not be written.
pub(crate) fn print(text: &str, exit_code: u8) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != IoErrorKind::BrokenPipe => {
            complain(&crate::error::io("cannot write to stdout")(error));
            exit_code::FAILED
        }
        _ => exit_code,
    }
}

/// Writes text to stderr. Nobody is left to tell when that fails.
pub(crate) fn print_to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Says what went wrong on stderr.
pub(crate) fn complain(error: &ErrorBody) {
    let mut text = format!("error: {}\n", error.message);
    if let Some(hint) = &error.hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    print_to_stderr(&printable(&text));
}

/// An answer may quote a registry, and a registry must not steer the terminal. A tab does not.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && !matches!(c, '\n' | '\t') {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

/// Columns, aligned; the first row is the heading.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let line = |row: &Vec<String>| {
        let cells = row.iter().enumerate();
        let padded: Vec<_> = cells
            .map(|(column, cell)| format!("{cell:<0$}", width(column)))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Lines of a key and its value, aligned; a key without a value continues the one above.
pub(crate) fn pairs<K: Into<String>>(pairs: impl IntoIterator<Item = (K, String)>) -> String {
    let rows: Vec<_> = pairs.into_iter().map(|(key, value)| vec![key.into(), value]).collect();
    table(&rows)
}

/// Notes, one a line.
pub(crate) fn notes(notes: &[String]) -> String {
    notes.iter().map(|note| format!("note: {note}\n")).collect()
}

/// `1 registry`, `2 registries`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ => format!("{number} {many}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["NAME", "KIND"], ["ä", "x"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "NAME  KIND\nä     x\n");
    }

    #[test]
    fn a_registry_does_not_steer_the_terminal() {
        assert_eq!(printable("a\x1b[2J\u{9b}\r\nb"), "a\u{fffd}[2J\u{fffd}\u{fffd}\nb");
    }
}
