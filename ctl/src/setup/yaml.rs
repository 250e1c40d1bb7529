//! YAML with block mappings, edited line by line: `.yarnrc.yml` and `.gemrc`. All other lines stay byte for byte.
//!
//! Own code, because YAML crates lose comments and order. A form that it does not know is refused, never guessed.

use std::ops::Range;

use regauth_shared::ErrorBody;

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

/// Key and value of a line; `None` for a line of another form.
fn key_and_value(content: &str) -> Option<(String, Option<String>)> {
    let (key, rest) = match content.chars().next()? {
        quote @ ('"' | '\'') => {
            let (key, rest) = content.get(1..)?.split_once(quote)?;
            (key.to_owned(), rest.trim_start().strip_prefix(':')?)
        }
        '[' | '{' | '?' | '&' | '*' | '!' | '|' | '>' | '%' | '@' | '`' | '-' | '<' => return None,
        _ => {
            let ends = content.match_indices(':').map(|(at, _)| at);
            let is_end = |at: &usize| {
                content
                    .get(at + 1..)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
            };
            let at = ends.into_iter().find(is_end)?;
            (content.get(..at)?.trim_end().to_owned(), content.get(at + 1..)?)
        }
    };
    let rest = rest.trim();
    let value = match rest.chars().next() {
        None | Some('#') => None,
        Some(quote @ ('"' | '\'')) => {
            let inner = rest.get(1..)?;
            let end = inner.find(quote).unwrap_or(inner.len());
            inner.get(..end).map(str::to_owned)
        }
        Some(_) => Some(rest.split(" #").next().unwrap_or(rest).trim_end().to_owned()),
    };
    Some((key, value))
}

fn quoted(text: &str, is_plain: impl Fn(char) -> bool) -> String {
    if !text.is_empty() && text.chars().all(is_plain) {
        text.to_owned()
    } else {
        format!("\"{}\"", text.replace('\\', r"\\").replace('"', "\\\""))
    }
}

fn is_plain_key(c: char) -> bool {
    c.is_ascii_alphanumeric() || ":_-".contains(c)
}

fn is_plain_value(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/:._-+=~".contains(c)
}

fn unknown_form(line: usize) -> ErrorBody {
    error::failed(format!(
        "line {} has a form of YAML that regauth does not edit; it edits `key: value` and indented blocks",
        line + 1
    ))
    .hint("write it so, or leave the file alone: `regauthctl setup shell` sets the environment, which the client reads too")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Vec<Setting> {
        let setting = |key: &[&str], value: SettingValue| Setting {
            key: key.iter().map(ToString::to_string).collect(),
            value,
        };
        vec![
            setting(&["httpsProxy"], SettingValue::Text("http://p:1".to_owned())),
            setting(
                &["npmRegistries", "//npm.corp:8443", "npmAuthToken"],
                SettingValue::Placeholder("none".to_owned()),
            ),
        ]
    }

    #[track_caller]
    fn check(before: &str, after: &str) {
        let first = apply(before, &settings()).unwrap();
        assert_eq!(first.text, after);
        let again = apply(after, &settings()).unwrap();
        assert!(again.settings.is_empty() && again.text == after, "{again:?}");
        let back = revert(after, &first.settings).unwrap();
        assert!(back.kept.is_empty());
        assert_eq!(back.text.trim_end(), before.trim_end());
    }

    const TOKEN: &str = "  \"//npm.corp:8443\":\n    npmAuthToken: none\n";

    #[test]
    fn applies_and_reverts_with_comments_and_order_kept() {
        check("", &format!("httpsProxy: http://p:1\nnpmRegistries:\n{TOKEN}"));
        check(
            "# mine\nnodeLinker: node-modules # two\n\nplugins:\n- a\n- b\n\n# the end\n",
            &format!(
                "# mine\nnodeLinker: node-modules # two\n\nplugins:\n- a\n- b\nhttpsProxy: http://p:1\nnpmRegistries:\n\
                 {TOKEN}\n# the end\n"
            ),
        );
        check(
            "npmRegistries:\n  # other\n  '//other':\n    npmAlwaysAuth: true\nhttpsProxy: 'http://corp' # why\nx: 1",
            &format!(
                "npmRegistries:\n  # other\n  '//other':\n    npmAlwaysAuth: true\n{TOKEN}httpsProxy: http://p:1\nx: 1"
            )
            .replace("p:1\nx", "p:1 # why\nx"),
        );
        check(
            "npmRegistries:\n    \"//npm.corp:8443\":\n        npmAlwaysAuth: true\n",
            "npmRegistries:\n    \"//npm.corp:8443\":\n        npmAlwaysAuth: true\n        npmAuthToken: none\nhttpsProxy: \
             http://p:1\n",
        );
    }

    #[test]
    fn keeps_line_endings_and_values_changed_since() {
        let first = apply("a: 1\r\nb: |\r\n  httpsProxy: x\r\n", &settings()).unwrap();
        assert!(
            first.text.lines().count() == 7 && first.text.matches("\r\n").count() == 7,
            "{}",
            first.text
        );
        let edited = first.text.replace("http://p:1", "http://mine");
        let back = revert(&edited, &first.settings).unwrap();
        assert_eq!(back.kept, ["httpsProxy"]);
        assert_eq!(
            back.text,
            "a: 1\r\nb: |\r\n  httpsProxy: x\r\nhttpsProxy: http://mine\r\n"
        );
    }

    #[test]
    fn a_token_of_the_user_stays() {
        let mine = "npmRegistries:\n  \"//npm.corp:8443\":\n    npmAuthToken: s3cret\n";
        let applied = apply(mine, &settings()).unwrap();
        assert!(applied.text.starts_with(mine), "{}", applied.text);
        let key = settings().pop().unwrap().key;
        assert_eq!(value(mine, &key).as_deref(), Some("s3cret"));
    }

    #[test]
    fn refuses_other_forms_with_the_line() {
        for (text, line) in [
            ("- a\n- b\n", 1),
            ("{a: 1}\n", 1),
            ("a: 1\n---\nb: 2\n", 2),
            ("a: 1\nwords\n", 2),
            ("a: 1\nnpmRegistries: {}\n", 2),
            ("a:\n\tb: 1\n", 2),
            ("  a: 1\nb: 2\n", 2),
            ("npmRegistries:\n  - a\n", 2),
            ("<<: *base\n", 1),
        ] {
            let refused = apply(text, &settings()).unwrap_err();
            assert!(
                refused.message.contains(&format!("line {line} ")),
                "{text}: {}",
                refused.message
            );
        }
    }
}
