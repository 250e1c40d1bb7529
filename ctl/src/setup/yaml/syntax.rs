//! Faults that keep every YAML reader from reading a file. Pure.
//!
//! This is no parser: it finds the common faults, each with its line, and accepts what it does not know. So a client's file is
//! never called broken that the client can read. Own code for that reason: saphyr-parser 0.3 refuses forms that js-yaml and
//! psych read, such as a closing bracket at the start of a line.

use super::brackets::Brackets;
use super::line::{first_mapping_colon, without_comment};

/// Line with a fault, counted from 1. The line is not quoted: it may hold a password.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Number of the line.
    pub(super) line: usize,
    /// Description of the fault.
    pub(super) what: &'static str,
}

/// The first fault of a text.
pub(super) fn first_fault(text: &str) -> Option<Fault> {
    let mut scanner = Scanner::default();
    for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        scanner.line = index + 1;
        if let Err(what) = scanner.read(line) {
            return Some(Fault {
                line: scanner.line,
                what,
            });
        }
    }
    match scanner.open {
        Open::Flow(_, line) => Some(Fault { line, what: NO_PARTNER }),
        _ => None,
    }
}

/// State between two lines.
#[derive(Default)]
struct Scanner {
    /// Number of the present line.
    line: usize,
    /// Indentations of the open blocks, outermost first.
    blocks: Vec<usize>,
    /// Indentation of the last entry.
    entry: usize,
    open: Open,
}

/// Element that the next line may continue.
#[derive(Default)]
enum Open {
    /// A key without a value: a block may follow.
    #[default]
    Key,
    /// A plain value, which may have more lines.
    Plain,
    /// A value that has ended.
    Ended,
    /// Text after `|` or `>`.
    BlockScalar,
    /// A value in quotation marks or brackets, since the line.
    Flow(Brackets, usize),
    /// A form that is not looked at.
    Unknown,
}

impl Scanner {
    fn read(&mut self, line: &str) -> Result<(), &'static str> {
        if matches!(self.open, Open::Flow(..)) {
            return self.continue_value(line);
        }
        let content = line.trim_start();
        let margin = line.get(..line.len() - content.len()).unwrap_or_default();
        let is_in_text = matches!(self.open, Open::BlockScalar) && margin.len() > self.entry;
        if is_in_text || content.is_empty() || content.starts_with('#') {
            return Ok(());
        }
        let starts_document = margin.is_empty() && ["---", "...", "%"].iter().any(|mark| content.starts_with(mark));
        if starts_document {
            self.blocks.clear();
            self.open = match without_comment(content) {
                "---" | "..." => Open::Key,
                _ => Open::Unknown,
            };
            return Ok(());
        }
        // Within a plain value, a tab is a blank.
        if margin.contains('\t') && !matches!(self.open, Open::Plain | Open::Unknown) {
            return Err("a tab indents it, where YAML takes blanks only");
        }
        self.read_content(margin.len(), content)
    }

    /// Reads a line that is neither blank nor inside a value with an end of its own.
    fn read_content(&mut self, indent: usize, content: &str) -> Result<(), &'static str> {
        let is_deeper = self.blocks.last().is_none_or(|block| indent > *block);
        match self.open {
            Open::Plain if is_deeper => return check_plain(content),
            Open::Ended if is_deeper => return Err("it is indented, and the line above has a value already"),
            Open::Unknown if is_deeper => return Ok(()),
            _ => {}
        }
        let is_entry = is_item(content) || first_mapping_colon(content).is_some();
        if !is_entry && is_deeper {
            return self.read_value(content);
        }
        if !is_entry && content.starts_with(|c: char| c.is_alphanumeric()) {
            return Err("it has no `:` after the key");
        }
        while self.blocks.last().is_some_and(|block| indent < *block) {
            self.blocks.pop();
        }
        if self.blocks.last() != Some(&indent) {
            if !self.blocks.is_empty() && !is_deeper {
                return Err("its indentation is that of no line above");
            }
            self.blocks.push(indent);
        }
        self.read_entry(indent, content)
    }

    /// Reads `- …` or `key: …`.
    fn read_entry(&mut self, indent: usize, content: &str) -> Result<(), &'static str> {
        self.entry = indent;
        if is_item(content) {
            let rest = content.get(1..).unwrap_or_default();
            let item = rest.trim_start();
            let column = indent + 1 + rest.len() - item.len();
            // A mapping in an item has the column of its first key.
            if is_item(item) || first_mapping_colon(item).is_some() {
                self.blocks.push(column);
                return self.read_entry(column, item);
            }
            return self.read_value(item);
        }
        let Some(colon) = first_mapping_colon(content) else {
            self.open = Open::Unknown;
            return Ok(());
        };
        if content.starts_with(RESERVED) {
            return Err(NEEDS_QUOTES);
        }
        self.read_value(content.get(colon + 1..).unwrap_or_default().trim_start())
    }

    /// Reads the value that begins here.
    fn read_value(&mut self, value: &str) -> Result<(), &'static str> {
        let begins_complex_key = [": ", "? "].iter().any(|mark| value.starts_with(mark));
        self.open = match value.chars().next() {
            None | Some('#') => Open::Key,
            Some('|' | '>') => Open::BlockScalar,
            Some('&' | '!' | '*') => Open::Unknown,
            Some(_) if begins_complex_key || [":", "?"].contains(&value) => Open::Unknown,
            Some(first) if RESERVED.contains(&first) => return Err(NEEDS_QUOTES),
            Some('"' | '\'' | '[' | '{') => {
                self.open = Open::Flow(Brackets::default(), self.line);
                return self.continue_value(value);
            }
            Some(_) => {
                self.open = Open::Plain;
                return check_plain(value);
            }
        };
        Ok(())
    }

    /// Reads on in a value in quotation marks or brackets.
    fn continue_value(&mut self, text: &str) -> Result<(), &'static str> {
        let Open::Flow(mut brackets, since) = std::mem::take(&mut self.open) else {
            return Ok(());
        };
        let end = brackets.read(text)?;
        let Some(end) = end else {
            self.open = Open::Flow(brackets, since);
            return Ok(());
        };
        let rest = text.get(end..).unwrap_or_default().trim();
        self.open = match rest {
            // The value was a key.
            _ if rest.starts_with(':') => Open::Unknown,
            _ if rest.is_empty() || rest.starts_with('#') => Open::Ended,
            _ => return Err("text follows a value that has ended"),
        };
        Ok(())
    }
}

/// True for `- …`.
fn is_item(content: &str) -> bool {
    content == "-" || content.starts_with("- ")
}

/// Checks a line of a value without quotation marks.
fn check_plain(text: &str) -> Result<(), &'static str> {
    match first_mapping_colon(text) {
        Some(_) => Err("a value without quotation marks has a `:`, or a key is not at the start of its own line"),
        None => Ok(()),
    }
}

/// Characters that begin no value without quotation marks (YAML 1.2.2, section 5.3).
const RESERVED: [char; 3] = ['@', '`', '%'];
const NO_PARTNER: &str = "a quotation mark or a bracket has no partner";
const NEEDS_QUOTES: &str = "a key or a value that begins with @, ` or % needs quotation marks";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_found_with_its_line() {
        for (text, line) in [
            ("a: 1\nb: \"open\nc: 2\n", 2),
            ("a: 'it''s\n", 1),
            ("a: {b: [c\nd: e\n", 1),
            ("a: [b}\n", 1),
            ("a:\n\tb: c\n", 2),
            ("a: b: c\n", 1),
            ("a:\n  b\n  c: d\n", 3),
            ("a: b\n  c: d\n", 2),
            ("a: \"b\"\n  c: d\n", 2),
            ("a: \"b\" c\n", 1),
            ("a:\n    b: 1\n  c: 2\n", 3),
            ("npmScopes:\n  @corp:\n    x: 1\n", 2),
            ("a: @corp\n", 1),
            ("a:\n  - b: c: d\n", 2),
        ] {
            assert_eq!(first_fault(text).map(|fault| fault.line), Some(line), "{text}");
        }
    }

    #[test]
    fn forms_that_a_client_reads_have_no_fault() {
        for text in [
            "",
            "---\na: 1\n...\n",
            "a: http://host:1/ # why: not\nb: 'it''s: #1'\nc: \"\\\"x: y\\\"\" # d\n",
            "a:\n- b\n- c: 1\n  d: 2\n-\n  e: 3\nf: 1\n",
            "a:\n  - - b\n    - c\n  - d\n",
            "a: |\n  b: c: d\n\t\n  \"e\nf: >-\n  [\n",
            "a: {b: c,\n  d: [e, \"f]\"]} # g\nh: [\n]\n",
            "a: \"b\n  c: d\"\ne: b\n  more words\n\n# comment\nf:\n  words\n  of two lines\n",
            "a: &x\n  b: c\nd: *x\ne: !!str f\n",
            "\"//npm.corp:8443\":\n  b: 1\n'c: d': e\n? f\n: g\n",
            "a:\r\n  b: c\r\nd: e\r\n",
            "a: b#c\nurl: x:y\n",
            "don't: it's\nb: [it's, 5']\n",
            "\u{feff}a:\tb\t# c: d\n--- e: f\ng: h: i\n",
            "{\"a\":\"b, }\", c: \"d\"}\n",
            "\"a\\\"b\": c\n[d]: e\n",
        ] {
            assert_eq!(first_fault(text), None, "{text}");
        }
    }
}
