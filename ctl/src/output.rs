//! Prints results: text for a person or, with `--json`, exactly one JSON document. Returns the exit code.
//!
//! All output of the program goes through this module. A closed stdout (`regauthctl list | head -1`) is not an error.

mod colour;
mod columns;

use std::io::{self, ErrorKind as IoErrorKind, IsTerminal, Write};
use std::os::fd::AsFd;

use anstream::stream::RawStream;
use clap::builder::StyledStr;
use regauth_shared::frame::Answer;
use regauth_shared::{ErrorBody, exit_code};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::client::Reply;
use crate::error::failed;
use crate::own_commands::{with_flags, with_flags_in_error};
pub(crate) use colour::fill;

/// Result of a command: its text, its JSON and its exit code.
pub(crate) struct Report {
    text: String,
    body: Option<Box<RawValue>>,
    exit_code: u8,
    /// True for a file or a script: commands in it stay as they are.
    is_verbatim: bool,
}

impl Report {
    /// Report of a daemon's answer. `describe` makes the text; `--json` prints the answer as received.
    pub(crate) fn from_reply<T>(reply: Reply<T>, describe: impl FnOnce(&T) -> String) -> Self {
        Self {
            text: describe(&reply.answer),
            body: Some(reply.body),
            exit_code: exit_code::DONE,
            is_verbatim: false,
        }
    }

    /// Report of a result that this program made itself.
    ///
    /// # Errors
    /// The value has no JSON form; none of this crate's values lacks one.
    pub(crate) fn from_value<T: Serialize>(value: &T, text: String) -> Result<Self, ErrorBody> {
        let body = to_raw_value(value).map_err(|error| failed(format!("the answer has no JSON form: {error}")))?;
        Ok(Self {
            text,
            body: Some(body),
            exit_code: exit_code::DONE,
            is_verbatim: false,
        })
    }

    /// Report without output, for a command that ran another program.
    pub(crate) fn silent(exit_code: u8) -> Self {
        Self {
            text: String::new(),
            body: None,
            exit_code,
            is_verbatim: true,
        }
    }

    /// Report of a script for another program, such as a shell: `--json` prints it unchanged.
    pub(crate) fn script(text: String) -> Self {
        Self {
            text,
            ..Self::silent(exit_code::DONE)
        }
    }

    /// Prints the text as it is, for a program that reads it as a file: no flags, colours and line breaks are added.
    #[must_use]
    pub(crate) fn verbatim(self) -> Self {
        Self {
            is_verbatim: true,
            ..self
        }
    }

    /// Appends lines to the text; the JSON is unchanged.
    #[must_use]
    pub(crate) fn with_lines(mut self, lines: &str) -> Self {
        self.text.push_str(lines);
        self
    }

    /// Replaces the exit code, for an answer that reports a problem.
    #[must_use]
    pub(crate) fn with_exit_code(self, exit_code: u8) -> Self {
        Self { exit_code, ..self }
    }
}

/// Prints the result of a command and returns the exit code. With `--json`, an answer is printed as received.
pub(crate) fn finish(result: Result<Report, ErrorBody>, json: bool) -> u8 {
    match result.map_err(with_flags_in_error) {
        Ok(report) => {
            let text = match report.body {
                Some(body) if json => format!("{body}\n"),
                _ if report.is_verbatim => for_program(report.text),
                _ => for_person(&without_control_characters(&with_flags(&report.text)), &io::stdout()),
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
            print_error(&error);
            error.kind.exit_code()
        }
    }
}

/// Writes text to stdout. Returns `exit_code`, or 1 if the text could not be written.
pub(crate) fn print(text: &str, exit_code: u8) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != IoErrorKind::BrokenPipe => {
            print_error(&crate::error::io("cannot write to stdout")(error));
            exit_code::FAILED
        }
        _ => exit_code,
    }
}

/// Writes one line of a stream.
///
/// # Errors
/// Those of the output; a reader that has left is [`IoErrorKind::BrokenPipe`].
pub(crate) fn write_line(output: &mut impl Write, line: &str) -> io::Result<()> {
    if is_printable_ascii(line.as_bytes()) {
        output.write_all(line.as_bytes())?;
    } else {
        output.write_all(one_line(line).as_bytes())?;
    }
    output.write_all(b"\n")
}

/// Most lines are, and need no look at each character. Whole blocks are tested, which the compiler makes vectors of.
fn is_printable_ascii(text: &[u8]) -> bool {
    let is_printable = |block: &[u8]| block.iter().fold(true, |all, byte| all & (b' '..=b'~').contains(byte));
    let (blocks, rest) = text.as_chunks::<32>();
    blocks.iter().all(|block| is_printable(block)) && is_printable(rest)
}

/// Writes text for a person to stderr. Control characters are replaced: it may quote a registry or its index.
pub(crate) fn print_to_stderr(text: &str) {
    print_styled_to_stderr(&without_control_characters(&with_flags(text)));
}

/// Writes text with escape sequences of this program to stderr, and ignores errors: there is no other place to report them.
pub(crate) fn print_styled_to_stderr(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Writes an error and its hint to stderr.
pub(crate) fn print_error(error: &ErrorBody) {
    let mut text = format!("error: {}\n", error.message);
    if let Some(hint) = &error.hint {
        text.push_str(&format!("hint: {hint}\n"));
    }
    let text = without_control_characters(&with_flags(&text));
    print_styled_to_stderr(&for_person(&text, &io::stderr()));
}

/// Leaves a file as it is. A terminal gets no control characters of it.
fn for_program(text: String) -> String {
    match io::stdout().is_terminal() {
        true => without_control_characters(&text),
        false => text,
    }
}

/// Breaks long lines and adds colours, if the stream is a terminal.
fn for_person(text: &str, stream: &(impl RawStream + AsFd)) -> String {
    let wrapped = match width_of(stream) {
        Some(width) => colour::wrap(text, width),
        None => text.to_owned(),
    };
    match colour::is_coloured(stream) {
        true => colour::paint(&wrapped),
        false => wrapped,
    }
}

/// Text of clap, with its styles if stdout is a terminal.
pub(crate) fn help(text: &StyledStr) -> String {
    let text = match colour::is_coloured(&io::stdout()) {
        true => text.ansi().to_string(),
        false => text.to_string(),
    };
    format!("{}\n", text.trim_end())
}

/// Replaces control characters other than line feeds and tabs, and those that change the direction of text.
///
/// An answer may quote a registry, and a hostile registry could send escape sequences to the terminal.
fn without_control_characters(text: &str) -> String {
    let is_hostile = |c: char| !matches!(c, '\n' | '\t') && (c.is_control() || is_invisible_format(c));
    text.chars()
        .map(|c| if is_hostile(c) { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// Replaces what could begin another line as well: a program may lie in a folder whose name has a line feed.
pub(crate) fn one_line(text: &str) -> String {
    without_control_characters(text).replace(['\n', '\t'], "\u{fffd}")
}

/// True for characters that reorder or break lines: UAX #9 (bidirectional text), line and paragraph separators.
fn is_invisible_format(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Columns of the terminal that stdout is; `None` if it is none.
pub(crate) fn width() -> Option<u16> {
    width_of(&io::stdout())
}

fn width_of(stream: &impl AsFd) -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(stream).ok()?;
    Some(size.ws_col).filter(|columns| *columns > 0)
}

/// Cuts the start of a path that is wider than `width`: ends differ more often.
pub(crate) fn cut_start(path: &str, width: usize) -> String {
    let length = path.chars().count();
    if length <= width {
        return path.to_owned();
    }
    let kept = path.chars().skip(length + 1 - width.max(1));
    std::iter::once('…').chain(kept).collect()
}

/// Formats rows as aligned columns; the first row is the heading. At a terminal, cells that are too wide continue below.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    match width() {
        Some(width) => aligned(&columns::fit(rows, width.into())),
        None => aligned(rows),
    }
}

/// Formats rows as aligned columns, each on one line.
pub(crate) fn aligned(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let mut widths = vec![0; columns];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let line = |row: &Vec<String>| {
        let padded: Vec<_> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{:<width$}", one_line(cell)))
            .collect();
        format!("{}\n", padded.join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

/// Formats lines of a key and a value, aligned. A line with an empty key continues the one above. At a terminal, long values
/// are broken between words.
pub(crate) fn key_values<K: Into<String>>(pairs: impl IntoIterator<Item = (K, String)>) -> String {
    let rows: Vec<_> = pairs.into_iter().map(|(key, value)| vec![key.into(), value]).collect();
    let text = aligned(&rows);
    let keys = rows.iter().filter_map(|row| row.first());
    let column = 2 + keys.map(|key| key.chars().count()).max().unwrap_or_default();
    match width() {
        Some(width) => text
            .lines()
            .map(|line| break_value(line, column, width.into()))
            .collect(),
        None => text,
    }
}

/// Breaks the value of a line that is wider than the terminal.
fn break_value(line: &str, column: usize, width: usize) -> String {
    let end_of_key = line.char_indices().nth(column).map(|(at, _)| at);
    match end_of_key.and_then(|at| line.split_at_checked(at)) {
        Some((key, value)) if line.chars().count() > width => {
            format!("{key}{}\n", fill(value, width, column, column))
        }
        _ => format!("{line}\n"),
    }
}

/// Formats notes, one a line: a note may quote an index, which must not write lines of its own.
pub(crate) fn notes(notes: &[String]) -> String {
    let in_line = |note: &String| one_line(&note.trim_end().replace('\n', " "));
    notes.iter().map(|note| format!("note: {}\n", in_line(note))).collect()
}

/// Formats a number with its noun: `1 registry`, `2 registries`.
pub(crate) fn count(number: u64, singular: &str, plural: &str) -> String {
    match number {
        1 => format!("1 {singular}"),
        _ => format!("{number} {plural}"),
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
    fn a_cell_cannot_begin_another_line() {
        let row = ["/tmp/a\n12:00 corp", "\u{202e}x\u{2028}"].map(str::to_owned).to_vec();
        assert_eq!(table(&[row]), "/tmp/a\u{fffd}12:00 corp  \u{fffd}x\u{fffd}\n");
    }

    #[test]
    fn a_note_cannot_begin_another_line() {
        let hostile = "see\nAdded corp.\r\u{1b}[2J\u{202e}".to_owned();
        assert_eq!(
            notes(&[hostile, "two".to_owned()]),
            "note: see Added corp.\u{fffd}\u{fffd}[2J\u{fffd}\nnote: two\n"
        );
    }

    #[test]
    fn a_line_of_a_stream_cannot_begin_another_one() {
        let printable = "{\"path\":\"/index/se/rd/serde\",\"method\":\"GET\"} ~";
        for (end, shown) in [
            ("", ""),
            ("\n", "\u{fffd}"),
            ("\u{7f}", "\u{fffd}"),
            ("\u{1b}[2J", "\u{fffd}[2J"),
            ("ü\u{202e}", "ü\u{fffd}"),
        ] {
            let mut output = Vec::new();
            write_line(&mut output, &format!("{printable}{end}{printable}")).unwrap();
            let expected = format!("{printable}{shown}{printable}\n");
            assert_eq!(String::from_utf8(output).unwrap(), expected);
        }
    }

    #[test]
    fn a_long_value_continues_below_itself() {
        let line = "next step  run `regauthctl rotate corp` again";
        let broken = "next step  run\n           `regauthctl rotate corp`\n           again\n";
        assert_eq!(break_value(line, 11, 36), broken);
        assert_eq!(break_value("key  short", 5, 36), "key  short\n");
    }

    #[test]
    fn a_long_path_shows_its_end() {
        assert_eq!(cut_start("/index/se/rd/serde", 18), "/index/se/rd/serde");
        assert_eq!(cut_start("/index/se/rd/serde", 9), "…rd/serde");
        assert_eq!(cut_start("/ü", 1), "…");
    }

    #[test]
    fn replaces_terminal_escape_sequences() {
        assert_eq!(
            without_control_characters("a\x1b[2J\u{9b}\r\nb"),
            "a\u{fffd}[2J\u{fffd}\u{fffd}\nb"
        );
    }
}
