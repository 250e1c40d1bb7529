//! Output of the demo: headings, paragraphs, commands, their output, tables. No other file prints.
//!
//! Lines have at most 90 columns. Bold and colour appear on a terminal only, and never if `NO_COLOR` is set.

use std::io::{self, IsTerminal, Write};

/// Writer to stdout with a style.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terminal {
    colour: bool,
}

impl Terminal {
    /// Writes to stdout, in colour if stdout is a terminal.
    pub(crate) fn stdout() -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
        Self {
            colour: io::stdout().is_terminal() && !no_colour && !dumb,
        }
    }

    /// Prints the underlined title.
    pub(crate) fn title(self, text: &str) -> io::Result<()> {
        write_out(&format!(
            "\n{}\n{}\n",
            self.styled(BOLD, text),
            "=".repeat(text.chars().count())
        ))
    }

    /// Prints the heading of a step.
    pub(crate) fn heading(self, number: usize, text: &str) -> io::Result<()> {
        write_out(&format!("\n{}\n", self.styled(BOLD, &format!("{number}. {text}"))))
    }

    /// Prints an explanation.
    pub(crate) fn paragraph(self, text: &str) -> io::Result<()> {
        write_out(&format!("\n{}\n", wrapped(text, TEXT_INDENT, TEXT_INDENT)))
    }

    /// Prints shell commands, one a line.
    pub(crate) fn command(self, text: &str) -> io::Result<()> {
        let lines: String = text
            .lines()
            .map(|line| format!("{}\n", self.styled(CYAN, &with_continuations(line))))
            .collect();
        write_out(&format!("\n{lines}"))
    }

    /// Prints the output of a command or the content of a file, at most [`MAX_LINES`] lines.
    pub(crate) fn output(self, text: &str) -> io::Result<()> {
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let (shown, hidden) = lines.split_at(lines.len().min(MAX_LINES));
        for line in shown {
            let indent = format!("{OUTPUT_INDENT}{}", " ".repeat(line.len() - line.trim_start().len()));
            write_out(&format!(
                "{}\n",
                self.styled(DIM, &wrapped(line, &indent, &format!("{indent}  ")))
            ))?;
        }
        if !hidden.is_empty() {
            write_out(&format!("{OUTPUT_INDENT}... and {} more lines\n", hidden.len()))?;
        }
        Ok(())
    }

    /// Prints a table row with three columns. The verdict is green if `good`, else red.
    pub(crate) fn verdict(self, label: &str, detail: &str, verdict: &str, good: bool) -> io::Result<()> {
        let verdict = self.styled(if good { GREEN } else { RED }, verdict);
        write_out(&format!("{OUTPUT_INDENT}{label:<44} {detail:<22} {verdict}\n"))
    }

    /// Prints a table row with two columns.
    pub(crate) fn figure(self, label: &str, value: &str) -> io::Result<()> {
        let column = format!("{OUTPUT_INDENT}{label:<44} ");
        let rest = " ".repeat(column.chars().count());
        write_out(&format!("{column}{}\n", wrapped(value, &rest, &rest).trim_start()))
    }

    /// Prints an error with its causes, then the end of the daemon's log unless it is empty.
    pub(crate) fn failure(self, error: &anyhow::Error, log: &str) -> io::Result<()> {
        write_out(&format!("\n{}\n", self.styled(RED, "The demo failed.")))?;
        for line in format!("{error:#}").lines() {
            write_out(&format!("{}\n", wrapped(line, TEXT_INDENT, TEXT_INDENT)))?;
        }
        if log.is_empty() {
            return Ok(());
        }
        write_out(&format!("\n{TEXT_INDENT}Last lines of regauthd's log:\n"))?;
        self.output(log)
    }

    fn styled(self, style: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Wraps lines at blanks. A word longer than a line stays whole, so that it can be copied.
fn wrapped(text: &str, first: &str, rest: &str) -> String {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let indent = if lines.is_empty() { first } else { rest };
        if !line.is_empty() && indent.len() + line.chars().count() + 1 + word.chars().count() > COLUMNS {
            lines.push(format!("{indent}{line}"));
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    let indent = if lines.is_empty() { first } else { rest };
    lines.push(format!("{indent}{line}"));
    lines.join("\n")
}

/// Wraps a command with shell continuations, so that it can be pasted.
fn with_continuations(text: &str) -> String {
    let first = format!("{TEXT_INDENT}$ ");
    let rest = format!("{TEXT_INDENT}    ");
    wrapped(text, &first, &rest).replace('\n', " \\\n")
}

const COLUMNS: usize = 90;
const MAX_LINES: usize = 14;
const TEXT_INDENT: &str = "   ";
const OUTPUT_INDENT: &str = "     ";
const BOLD: &str = "1";
const DIM: &str = "2";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wraps_long_lines_but_not_long_words() {
        let text = format!("{} {}", "word ".repeat(30), "x".repeat(200));
        let lines = wrapped(&text, "", "  ");
        assert!(
            lines
                .lines()
                .all(|line| line.len() <= COLUMNS || line.trim() == "x".repeat(200))
        );
        assert_eq!(lines.split_whitespace().count(), 31);
    }

    #[test]
    fn a_wrapped_command_can_be_pasted() {
        let typed = with_continuations(&"regauthctl --flag ".repeat(10));
        assert!(typed.lines().count() > 1);
        assert!(typed.lines().rev().skip(1).all(|line| line.ends_with(" \\")));
    }
}
