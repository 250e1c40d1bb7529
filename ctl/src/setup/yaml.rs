//! YAML with block mappings, edited line by line: `.yarnrc.yml` and `.gemrc`. All other lines stay byte for byte.
//!
//! Own code, because YAML crates lose comments and order. A form that it does not know is refused, never guessed.

mod brackets;
mod line;
mod syntax;

use std::ops::Range;

use regauth_shared::ErrorBody;

use self::line::{is_plain_key, is_plain_value, key_and_value, quoted};
use self::syntax::Fault;
use super::secrets;
use super::setting::{Applied, AppliedSetting, Reverted, Setting, SettingValue};
use crate::error;

/// Applies settings. A key is the path through mappings.
///
/// # Errors
/// A line that matters is not `key: value` or the key of an indented block.
pub(super) fn apply(text: &str, settings: &[Setting]) -> Result<Applied, ErrorBody> {
    let mut file = YamlFile::parse(text)?;
    let mut applied = Vec::new();
    for setting in settings {
        let written = setting.value.text();
        let search = file.find(&setting.key)?;
        let present = search.entry().and_then(|entry| entry.value.clone());
        let is_kept_secret = matches!(setting.value, SettingValue::Placeholder(_))
            && present.as_deref().is_some_and(secrets::is_secret_value);
        if present.as_ref() == Some(&written) || is_kept_secret {
            continue;
        }
        let before = match search {
            Search::Found(entry) => Some(file.replace(&entry, &written)),
            Search::Missing { depth, at, indent } => {
                let path = setting.key.get(depth..).unwrap_or_default();
                file.insert(at, indent, path, &written);
                None
            }
        };
        applied.push(AppliedSetting {
            key: setting.key.clone(),
            written,
            before,
            element: None,
        });
    }
    Ok(Applied {
        text: file.lines.concat(),
        settings: applied,
    })
}

/// Reverts settings. A mapping that is left empty goes too.
///
/// # Errors
/// As [`apply`].
pub(super) fn revert(text: &str, applied: &[AppliedSetting]) -> Result<Reverted, ErrorBody> {
    let mut file = YamlFile::parse(text)?;
    let mut kept = Vec::new();
    for setting in applied.iter().rev() {
        match file.find(&setting.key)? {
            Search::Found(entry) if entry.value.as_ref() == Some(&setting.written) => {
                let before = setting.before.iter().cloned();
                file.lines.splice(entry.lines, before);
                file.remove_empty_parents(&setting.key)?;
            }
            Search::Found(_) => kept.push(setting.key.join(".")),
            Search::Missing { .. } => {}
        }
    }
    Ok(Reverted {
        text: file.lines.concat(),
        kept,
    })
}

/// Value of a key; `None` if the file has none, or a form that is not known.
pub(super) fn value(text: &str, key: &[String]) -> Option<String> {
    YamlFile::parse(text).ok()?.find(key).ok()?.entry()?.value.clone()
}

struct YamlFile {
    lines: Vec<String>,
    line_ending: &'static str,
}

/// Key with its value, and the lines that both take.
struct Entry {
    key: String,
    lines: Range<usize>,
    indent: usize,
    /// Text after the key, without quotes and comment; `None` if there is none.
    value: Option<String>,
}

/// Result of a search for a path of keys.
enum Search {
    Found(Entry),
    /// The key of this depth is missing. It belongs before line `at`.
    Missing {
        depth: usize,
        at: usize,
        indent: usize,
    },
}

impl Search {
    fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Found(entry) => Some(entry),
            Self::Missing { .. } => None,
        }
    }
}

impl YamlFile {
    fn parse(text: &str) -> Result<Self, ErrorBody> {
        if let Some(fault) = syntax::first_fault(text) {
            return Err(not_yaml(&fault));
        }
        let file = Self {
            lines: text.split_inclusive('\n').map(str::to_owned).collect(),
            line_ending: if text.contains("\r\n") { "\r\n" } else { "\n" },
        };
        file.entries(0..file.lines.len())?;
        Ok(file)
    }

    fn find(&self, path: &[String]) -> Result<Search, ErrorBody> {
        let mut block = 0..self.lines.len();
        let mut indent = 0;
        for (depth, key) in path.iter().enumerate() {
            let entries = self.entries(block.clone())?;
            let own_indent = entries.first().map_or(indent, |entry| entry.indent);
            let at = entries.last().map_or(block.start, |entry| self.end_of(entry));
            let Some(entry) = entries.into_iter().find(|entry| entry.key == *key) else {
                // Without entries, a block ends where the lines do, after the file's comments.
                let at = if block.start == 0 && at == 0 { block.end } else { at };
                return Ok(Search::Missing {
                    depth,
                    at,
                    indent: own_indent,
                });
            };
            if depth + 1 == path.len() {
                return Ok(Search::Found(entry));
            }
            if entry.value.is_some() {
                return Err(unknown_form(entry.lines.start));
            }
            indent = own_indent + 2;
            block = entry.lines.start + 1..entry.lines.end;
        }
        Err(unknown_form(0))
    }

    /// Entries of the mapping in these lines.
    fn entries(&self, block: Range<usize>) -> Result<Vec<Entry>, ErrorBody> {
        let mut entries: Vec<Entry> = Vec::new();
        for number in block.clone() {
            let line = self.lines.get(number).map_or("", |line| line.trim_end());
            let content = line.trim_start();
            if content.is_empty() || content.starts_with('#') || (number == 0 && content == "---") {
                continue;
            }
            let indent = line.len() - content.len();
            let of_block = entries.first().map_or(indent, |entry| entry.indent);
            let is_list = content == "-" || content.starts_with("- ");
            if line.starts_with('\t') || indent < of_block {
                return Err(unknown_form(number));
            }
            // A list may be as little indented as its key.
            if (indent > of_block || is_list) && !entries.is_empty() {
                continue;
            }
            let (key, value) = key_and_value(content).ok_or_else(|| unknown_form(number))?;
            if let Some(last) = entries.last_mut() {
                last.lines.end = number;
            }
            entries.push(Entry {
                key,
                lines: number..block.end,
                indent,
                value,
            });
        }
        for entry in &mut entries {
            entry.lines.end = self.end_of(entry);
        }
        Ok(entries)
    }

    /// Line after the last one of an entry that is neither blank nor a comment.
    fn end_of(&self, entry: &Entry) -> usize {
        let is_used = |number: &usize| {
            let content = self.lines.get(*number).map_or("", |line| line.trim());
            !content.is_empty() && !content.starts_with('#')
        };
        entry
            .lines
            .clone()
            .rev()
            .find(is_used)
            .map_or(entry.lines.end, |last| last + 1)
    }

    /// Replaces an entry's lines, keeps the comment behind its value, and returns the old lines.
    fn replace(&mut self, entry: &Entry, value: &str) -> String {
        let old = self.lines.get(entry.lines.clone()).unwrap_or_default().concat();
        let comment = old
            .lines()
            .next()
            .and_then(|line| line.find(" #").and_then(|at| line.get(at..)));
        let comment = comment
            .filter(|comment| !comment.contains(['"', '\'']))
            .unwrap_or_default();
        let line = format!(
            "{}{}: {}{comment}{}",
            " ".repeat(entry.indent),
            quoted(&entry.key, is_plain_key),
            quoted(value, is_plain_value),
            self.line_ending
        );
        self.lines.splice(entry.lines.clone(), [line]);
        old
    }

    fn insert(&mut self, at: usize, indent: usize, path: &[String], value: &str) {
        if let Some(last) = at.checked_sub(1).and_then(|last| self.lines.get_mut(last))
            && !last.ends_with('\n')
        {
            last.push_str(self.line_ending);
        }
        let depth = path.len();
        let lines = path.iter().enumerate().map(|(number, key)| {
            let key = quoted(key, is_plain_key);
            let value = if number + 1 == depth {
                format!(" {}", quoted(value, is_plain_value))
            } else {
                String::new()
            };
            format!("{}{key}:{value}{}", " ".repeat(indent + 2 * number), self.line_ending)
        });
        let lines: Vec<_> = lines.collect();
        self.lines.splice(at..at, lines);
    }

    fn remove_empty_parents(&mut self, path: &[String]) -> Result<(), ErrorBody> {
        for depth in (1..path.len()).rev() {
            let Search::Found(parent) = self.find(path.get(..depth).unwrap_or_default())? else {
                continue;
            };
            let is_empty = parent.value.is_none() && self.entries(parent.lines.start + 1..parent.lines.end)?.is_empty();
            if !is_empty {
                break;
            }
            self.lines.drain(parent.lines);
        }
        Ok(())
    }
}

fn not_yaml(fault: &Fault) -> ErrorBody {
    error::failed(format!("the file is not YAML, line {}: {}", fault.line, fault.what))
        .hint("correct that line, or move the file away, and try again")
}

fn unknown_form(line: usize) -> ErrorBody {
    error::failed(format!(
        "line {} has a form of YAML that regauth does not edit; it edits `key: value` and indented blocks",
        line + 1
    ))
    .hint("write it so, or leave the file alone: `regauthctl setup shell` sets the environment, which the client reads too")
}

#[cfg(test)]
mod tests;
