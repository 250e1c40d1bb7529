//! Problems of a team's file, each with its line and column.

use regauth_shared::ErrorBody;

use crate::error;

/// Collector of the problems of one text.
pub(super) struct Problems<'t> {
    text: &'t str,
    file: &'t str,
    lines: Vec<(usize, String)>,
}

impl<'t> Problems<'t> {
    /// No problems yet. `file` is the name in messages.
    pub(super) fn new(text: &'t str, file: &'t str) -> Self {
        Self {
            text,
            file,
            lines: Vec::new(),
        }
    }

    /// Records a problem at a byte offset. No message repeats a value: it may be a token in the wrong place.
    pub(super) fn report(&mut self, offset: usize, message: impl Into<String>) {
        self.lines.push((offset, message.into()));
    }

    /// Returns the value, or an error with all problems in the order of the text.
    pub(super) fn finish<T>(mut self, value: T) -> Result<T, ErrorBody> {
        if self.lines.is_empty() {
            return Ok(value);
        }
        self.lines.sort();
        let lines: Vec<_> = self
            .lines
            .iter()
            .map(|(offset, message)| self.line(*offset, message))
            .collect();
        Err(
            error::usage(format!("{} cannot be used:\n{}", self.file, lines.join("\n")))
                .hint("nothing was added; ask whoever maintains the file, or correct it"),
        )
    }

    fn line(&self, offset: usize, message: &str) -> String {
        let before = self.text.get(..offset).unwrap_or(self.text);
        let line = before.matches('\n').count() + 1;
        let start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(start..).map_or(0, |text| text.chars().count()) + 1;
        format!("{}:{line}:{column}: {message}", self.file)
    }
}
