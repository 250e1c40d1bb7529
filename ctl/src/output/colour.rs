//! Colours and line breaks of text for a person at a terminal. Pure, apart from the question whether there is one.
//!
//! Colours are added when text is printed, after control characters were replaced: so no text of a registry or a daemon can
//! bring its own. They mark words that begin a line (`error:`, `hint:`), headings of tables, and states.

use std::fmt::Write as _;

use anstream::stream::RawStream;
use anstream::{AutoStream, ColorChoice};
use anstyle::{AnsiColor, Style};

/// True if a stream gets colours: a terminal, unless `NO_COLOR` is set; or any stream with `CLICOLOR_FORCE`.
pub(super) fn is_coloured(stream: &impl RawStream) -> bool {
    AutoStream::choice(stream) != ColorChoice::Never
}

/// Adds colours to a text, line by line.
pub(super) fn paint(text: &str) -> String {
    text.split_inclusive('\n').map(paint_line).collect()
}

/// Breaks lines that begin with a label at the width of the terminal. Tables and settings to copy stay as they are, and so
/// does what is in backticks: a command that is copied must be one line.
pub(super) fn wrap(text: &str, width: u16) -> String {
    let width = usize::from(width);
    let wrap_line = |line: &str| {
        let indent = match PROSE_BELOW.iter().any(|start| line.starts_with(start)) {
            true => INDENT_BELOW,
            false => INDENT,
        };
        let is_prose = indent == INDENT_BELOW || label(line).is_some();
        match is_prose && line.trim_end().chars().count() > width {
            true => break_words(line, width, indent),
            false => line.to_owned(),
        }
    };
    text.split_inclusive('\n').map(wrap_line).collect()
}

/// Breaks a text at blanks. It begins in the column `start`; following lines begin with `indent` blanks.
pub(crate) fn fill(text: &str, width: usize, start: usize, indent: usize) -> String {
    let mut filled = String::new();
    let mut column = start;
    for word in words(text) {
        let length = word.chars().count();
        if !filled.is_empty() && column + 1 + length > width {
            let _ = write!(filled, "\n{:indent$}", "");
            column = indent;
        } else if !filled.is_empty() {
            filled.push(' ');
            column += 1;
        }
        filled.push_str(word);
        column += length;
    }
    filled
}

fn break_words(line: &str, width: usize, indent: usize) -> String {
    let start = line.get(..line.len() - line.trim_start().len()).unwrap_or_default();
    let filled = start.to_owned() + &fill(line.trim(), width, start.len(), indent);
    match line.ends_with('\n') {
        true => filled + "\n",
        false => filled,
    }
}

/// Words of a text; what is in backticks is one word.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let mut in_backticks = false;
        let end = rest.char_indices().find(|(_, c)| {
            in_backticks ^= *c == '`';
            *c == ' ' && !in_backticks
        });
        // A backtick without a partner quotes nothing.
        let end = match end {
            None if in_backticks => rest.find(' '),
            end => end.map(|(at, _)| at),
        };
        let (word, more) = rest.split_at(end.unwrap_or(rest.len()));
        words.push(word);
        rest = more.trim_start();
    }
    words
}

fn paint_line(line: &str) -> String {
    if is_heading(line) {
        return painted(line, Style::new().bold());
    }
    if let Some((label, style)) = label(line) {
        let (first, rest) = line.split_at(label.len());
        return painted(first, style) + rest;
    }
    paint_states(line)
}

/// Label that begins a line, with its style.
fn label(line: &str) -> Option<(&'static str, Style)> {
    let found = LABELS.iter().find(|(label, _)| line.starts_with(label));
    found.map(|(label, colour)| (*label, colour.on_default().bold()))
}

/// True for the first line of a table: words in capitals, in columns.
fn is_heading(line: &str) -> bool {
    let line = line.trim_end();
    let is_capital = |c: char| c.is_ascii_uppercase() || c == ' ' || c == '/' || c == '%';
    line.contains("  ") && line.starts_with(|c: char| c.is_ascii_uppercase()) && line.chars().all(is_capital)
}

/// Colours a state that is a cell of a table, or stands in parentheses.
fn paint_states(line: &str) -> String {
    let mut text = String::new();
    let mut rest = line;
    while let Some((at, state, style)) = next_state(rest) {
        let (before, from) = rest.split_at(at);
        let (word, after) = from.split_at(state.len());
        text += before;
        text += &painted(word, style);
        rest = after;
    }
    text + rest
}

fn next_state(line: &str) -> Option<(usize, &'static str, Style)> {
    let found = STATES.iter().filter_map(|(state, colour)| {
        let at = line
            .match_indices(state)
            .map(|(at, _)| at)
            .find(|at| stands_alone(line, *at, state))?;
        Some((at, *state, colour.on_default()))
    });
    found.min_by_key(|(at, ..)| *at)
}

fn stands_alone(line: &str, at: usize, state: &str) -> bool {
    let before = line.get(..at).unwrap_or_default();
    let after = line.get(at + state.len()..).unwrap_or_default();
    let begins = before.ends_with("  ") || before.ends_with('(');
    begins && (after.trim_end().is_empty() || after.starts_with("  ") || after.starts_with([',', ')', ';']))
}

fn painted(text: &str, style: Style) -> String {
    let visible = text.trim_end();
    let blanks = text.get(visible.len()..).unwrap_or_default();
    format!("{style}{visible}{style:#}{blanks}")
}

/// Indentation of a continued line.
const INDENT: usize = 2;
/// Lines below a finding of `doctor`, and the indentation of their continuation.
const PROSE_BELOW: [&str; 2] = ["  why:", "  fix:"];
const INDENT_BELOW: usize = 7;

const LABELS: [(&str, AnsiColor); 7] = [
    ("error:", AnsiColor::Red),
    ("broken:", AnsiColor::Red),
    ("warning:", AnsiColor::Yellow),
    ("note:", AnsiColor::Yellow),
    ("hint:", AnsiColor::Cyan),
    ("next:", AnsiColor::Cyan),
    ("fixed:", AnsiColor::Green),
];

const STATES: [(&str, AnsiColor); 9] = [
    ("ready", AnsiColor::Green),
    ("accepted", AnsiColor::Green),
    ("open", AnsiColor::Green),
    ("rejected", AnsiColor::Red),
    ("expired", AnsiColor::Red),
    ("unreadable", AnsiColor::Red),
    ("missing", AnsiColor::Yellow),
    ("locked", AnsiColor::Yellow),
    ("failing", AnsiColor::Yellow),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_labels_headings_and_states_and_nothing_else() {
        let painted = paint("error: x\nNAME  STATE\nready  corp  ready  -\nis ready\n  corp (rejected), next\n");
        assert_eq!(
            painted,
            "\u{1b}[1m\u{1b}[31merror:\u{1b}[0m x\n\u{1b}[1mNAME  STATE\u{1b}[0m\n\
             ready  corp  \u{1b}[32mready\u{1b}[0m  -\nis ready\n  corp (\u{1b}[31mrejected\u{1b}[0m), next\n"
        );
    }

    #[test]
    fn breaks_prose_between_words_and_never_a_command_or_a_table() {
        let text = "hint: run `regauthctl add-scope corp https://x/` or `regauthctl rotate corp` now\nNAME  A VERY LONG TABLE LINE THAT STAYS\n";
        assert_eq!(
            wrap(text, 40),
            "hint: run\n  `regauthctl add-scope corp https://x/`\n  or `regauthctl rotate corp` now\n\
             NAME  A VERY LONG TABLE LINE THAT STAYS\n"
        );
        assert_eq!(fill("one `two three", 8, 0, 0), "one `two\nthree");
        assert_eq!(
            wrap("  fix: run this or that\n", 16),
            "  fix: run this\n       or that\n"
        );
        assert_eq!(wrap("note: short\n", 40), "note: short\n");
    }
}
