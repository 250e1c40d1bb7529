//! `pip.conf`, `.npmrc`, `gradle.properties` and the like, edited line by line: all other lines stay byte for byte.
//!
//! Own code, because the INI crates lose comments, blank lines and pip's continuation lines.

use super::secrets;
use super::setting::{Applied, AppliedSetting, Reverted, Setting, SettingValue};

/// Separator between a key and its value.
#[derive(Clone, Copy)]
pub(super) enum Separator {
    /// `=` or `:`, as in Python's configparser, where indented lines continue a value.
    Either,
    /// `=` only, because npm's keys contain colons.
    Equals,
    /// `=`, `:` or a blank, as in Java's properties, where a backslash at the end continues a line.
    Properties,
    /// `=`, as in wget's file, where keys have any case and `-` is `_`.
    Wgetrc,
}

/// Applies settings. A key is section and key, or only a key in a file without sections.
pub(super) fn apply(text: &str, settings: &[Setting], separator: Separator) -> Applied {
    let mut file = IniFile::parse(text, separator);
    let mut applied = Vec::new();
    for setting in settings {
        let (section, key) = split_key(&setting.key);
        let written = setting.value.text();
        let entry = file.find(section, key);
        let present = entry.as_ref().map(|entry| entry.value.clone());
        let is_unwanted = match setting.value {
            SettingValue::ReplaceOnly(_) => present.is_none(),
            SettingValue::Placeholder(_) => present.as_deref().is_some_and(secrets::is_secret_value),
            _ => false,
        };
        if present.as_ref() == Some(&written) || is_unwanted {
            continue;
        }
        let before = entry.as_ref().map(|entry| file.lines_of(entry));
        let line = separator.line(key, &written);
        match entry {
            Some(entry) => file.replace(&entry, &line),
            None => file.insert(section, &line),
        }
        applied.push(AppliedSetting {
            key: setting.key.clone(),
            written,
            before,
            element: None,
        });
    }
    Applied {
        text: file.text(),
        settings: applied,
    }
}

/// Value of a key outside of sections in an `.npmrc`.
pub(super) fn npm_value(text: &str, key: &str) -> Option<String> {
    let file = IniFile::parse(text, Separator::Equals);
    Some(file.find(None, key)?.value)
}

/// Reverts settings.
pub(super) fn revert(text: &str, applied: &[AppliedSetting], separator: Separator) -> Reverted {
    let mut file = IniFile::parse(text, separator);
    let mut kept = Vec::new();
    for setting in applied {
        let (section, key) = split_key(&setting.key);
        match file.find(section, key) {
            Some(entry) if entry.value == setting.written => {
                file.replace(&entry, setting.before.as_deref().unwrap_or_default());
            }
            Some(_) => kept.push(key.to_owned()),
            None => {}
        }
    }
    Reverted {
        text: file.text(),
        kept,
    }
}

struct IniFile {
    lines: Vec<String>,
    line_ending: &'static str,
    separator: Separator,
}

/// Key with its value, and the lines that it takes.
struct Entry {
    first_line: usize,
    line_count: usize,
    value: String,
}

impl IniFile {
    fn parse(text: &str, separator: Separator) -> Self {
        Self {
            lines: text.split_inclusive('\n').map(str::to_owned).collect(),
            line_ending: if text.contains("\r\n") { "\r\n" } else { "\n" },
            separator,
        }
    }

    fn text(&self) -> String {
        self.lines.concat()
    }

    fn find(&self, section: Option<&str>, key: &str) -> Option<Entry> {
        let mut current = None;
        let mut found: Option<Entry> = None;
        for (number, line) in self.lines.iter().enumerate() {
            let trimmed = line.trim();
            if !self.separator.has_sections() {
                let is_new = !self.continues(number);
                let value = self.separator.value(trimmed, key).filter(|_| is_new);
                found = value.map(|value| self.with_continuations(number, value)).or(found);
            } else if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                current = Some(name.trim().to_owned());
            } else if current.as_deref() == section && !self.is_continuation(line) {
                let value = self.separator.value(trimmed, key);
                // Both pip and npm use the last entry.
                found = value.map(|value| self.with_continuations(number, value)).or(found);
            }
        }
        found
    }

    fn with_continuations(&self, first_line: usize, value: &str) -> Entry {
        let rest = self.lines.iter().enumerate().skip(first_line + 1);
        let continuations: Vec<&str> = rest
            .take_while(|(number, line)| self.is_continuation(line) || self.continues(*number))
            .map(|(_, line)| line.trim())
            .collect();
        Entry {
            first_line,
            line_count: 1 + continuations.len(),
            value: std::iter::once(value)
                .chain(continuations)
                .collect::<Vec<_>>()
                .join("\n"),
        }
    }

    fn is_continuation(&self, line: &str) -> bool {
        matches!(self.separator, Separator::Either) && line.starts_with([' ', '\t']) && !line.trim().is_empty()
    }

    /// True if the line belongs to the one before, which ends in an odd number of backslashes.
    fn continues(&self, number: usize) -> bool {
        let before = number.checked_sub(1).and_then(|before| self.lines.get(before));
        let Some(before) = before.filter(|_| matches!(self.separator, Separator::Properties)) else {
            return false;
        };
        let content = before.trim_end_matches(['\n', '\r']);
        let is_comment = content.trim_start().starts_with(['#', '!']) && !self.continues(number - 1);
        !is_comment && (content.len() - content.trim_end_matches('\\').len()) % 2 == 1
    }

    fn lines_of(&self, entry: &Entry) -> String {
        let lines = self.lines.get(entry.first_line..entry.first_line + entry.line_count);
        lines.unwrap_or_default().concat()
    }

    /// Replaces the lines of an entry; an empty replacement removes them.
    fn replace(&mut self, entry: &Entry, by: &str) {
        let new = (!by.is_empty()).then(|| self.with_line_ending(by));
        let lines = entry.first_line..entry.first_line + entry.line_count;
        self.lines.splice(lines, new);
    }

    /// Inserts a line at the end of its section, before trailing blank lines. Creates a missing section.
    fn insert(&mut self, section: Option<&str>, line: &str) {
        if let Some(last) = self.lines.last_mut()
            && !last.ends_with('\n')
        {
            last.push_str(self.line_ending);
        }
        let (start, end) = match self.section_lines(section) {
            Some(range) => range,
            None => {
                let header = self.with_line_ending(&format!("[{}]", section.unwrap_or_default()));
                self.lines.push(header);
                (self.lines.len(), self.lines.len())
            }
        };
        let body = self.lines.get(start..end).unwrap_or_default();
        let used = body
            .iter()
            .rposition(|line| !line.trim().is_empty())
            .map_or(0, |at| at + 1);
        let line = self.with_line_ending(line);
        self.lines.insert(start + used, line);
    }

    /// Range of lines from the one after the section's header to the next header.
    fn section_lines(&self, section: Option<&str>) -> Option<(usize, usize)> {
        let has_sections = self.separator.has_sections();
        let is_header = |line: &String| has_sections && line.trim().starts_with('[');
        let start = match section {
            None => 0,
            Some(name) => 1 + self.lines.iter().position(|line| line.trim() == format!("[{name}]"))?,
        };
        let rest = self.lines.iter().skip(start);
        let length = rest.clone().position(is_header).unwrap_or_else(|| rest.count());
        Some((start, start + length))
    }

    fn with_line_ending(&self, line: &str) -> String {
        if line.ends_with('\n') {
            line.to_owned()
        } else {
            format!("{line}{}", self.line_ending)
        }
    }
}

impl Separator {
    fn line(self, key: &str, value: &str) -> String {
        match self {
            Self::Either | Self::Wgetrc => format!("{key} = {value}"),
            Self::Equals | Self::Properties => format!("{key}={value}"),
        }
    }

    /// Value of the line, if the line sets this key. pip reads `_` as `-`.
    fn value<'a>(self, line: &'a str, key: &str) -> Option<&'a str> {
        if line.starts_with(['#', ';']) {
            return None;
        }
        let (name, value) = match self {
            Self::Either => line.split_once(['=', ':'])?,
            Self::Equals | Self::Wgetrc => line.split_once('=')?,
            Self::Properties => line.split_once(['=', ':', ' ', '\t'])?,
        };
        let name = name.trim();
        let with_dashes = |name: &str| name.to_lowercase().replace('_', "-");
        let matches = match self {
            Self::Either | Self::Wgetrc => with_dashes(name) == with_dashes(key),
            Self::Equals | Self::Properties => name == key,
        };
        let value = value.trim();
        // `key = value`, separated at the blank.
        let value = match self {
            Self::Properties => value.trim_start_matches(['=', ':']).trim_start(),
            _ => value,
        };
        matches.then_some(value)
    }

    fn has_sections(self) -> bool {
        matches!(self, Self::Either | Self::Equals)
    }
}

fn split_key(key: &[String]) -> (Option<&str>, &str) {
    match key {
        [section, key] => (Some(section), key),
        _ => (None, key.first().map_or("", String::as_str)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(key: &[&str], value: &str) -> Setting {
        Setting {
            key: key.iter().map(ToString::to_string).collect(),
            value: SettingValue::Text(value.to_owned()),
        }
    }

    #[test]
    fn applies_to_the_right_section_and_reverts() {
        let settings = [
            setting(&["global", "proxy"], "http://p"),
            setting(&["global", "cert"], "/b"),
        ];
        for (before, after) in [
            ("", "[global]\nproxy = http://p\ncert = /b\n"),
            (
                "[global]\ntimeout = 5\n\n[install]\nuser = yes",
                "[global]\ntimeout = 5\nproxy = http://p\ncert = /b\n\n[install]\nuser = yes\n",
            ),
            (
                "[global]\r\nproxy: http://corp\r\n; note\r\n",
                "[global]\r\nproxy = http://p\r\n; note\r\ncert = /b\r\n",
            ),
            (
                "[global]\nextra-index-url =\n  https://a\n  https://b\nPROXY=x\n",
                "[global]\nextra-index-url =\n  https://a\n  https://b\nproxy = http://p\ncert = /b\n",
            ),
        ] {
            let first = apply(before, &settings, Separator::Either);
            assert_eq!(first.text, after);
            let again = apply(&first.text, &settings, Separator::Either);
            assert!(again.settings.is_empty() && again.text == after, "{again:?}");
            let edited = format!("{after}# an edit\n");
            let back = revert(&edited, &first.settings, Separator::Either).text;
            assert!(!back.contains("http://p") && back.ends_with("# an edit\n"), "{back}");
            assert_eq!(back.contains("http://corp"), before.contains("http://corp"));
        }
    }

    #[test]
    fn properties_and_wgetrc_are_read_as_their_programs_do() {
        for (separator, before, value) in [
            (Separator::Properties, "a.b = x", Some("x")),
            (Separator::Properties, "a.b:x", Some("x")),
            (Separator::Properties, "c=1\na.b\tx", Some("x")),
            (
                Separator::Properties,
                "# a.b=x\\\na.b=y\\\n  a.b=z\n",
                Some("y\\\na.b=z"),
            ),
            (Separator::Properties, "c=\\\na.b=x\nA.b=y", None),
            (Separator::Wgetrc, "A.B = x", Some("x")),
            (Separator::Wgetrc, "a.b: x\n# a.b=x", None),
        ] {
            let file = IniFile::parse(before, separator);
            assert_eq!(
                file.find(None, "a.b").map(|entry| entry.value).as_deref(),
                value,
                "{before}"
            );
            let applied = apply(before, &[setting(&["a.b"], "new")], separator);
            assert_eq!(
                IniFile::parse(&applied.text, separator)
                    .find(None, "a.b")
                    .unwrap()
                    .value,
                "new"
            );
            let reverted = revert(&applied.text, &applied.settings, separator).text;
            assert_eq!(reverted.trim_end(), before.trim_end());
        }
    }

    #[test]
    fn accepts_colons_in_npm_keys_and_keeps_an_edited_value() {
        let settings = [
            setting(&["//npm.corp.example/:_authToken"], "x"),
            setting(&["cafile"], "/b"),
        ];
        let applied = apply("registry=https://npm.corp.example/\n", &settings, Separator::Equals);
        assert_eq!(
            applied.text,
            "registry=https://npm.corp.example/\n//npm.corp.example/:_authToken=x\ncafile=/b\n"
        );
        let reverted = revert(
            &applied.text.replace("/b", "/mine"),
            &applied.settings,
            Separator::Equals,
        );
        assert_eq!(reverted.text, "registry=https://npm.corp.example/\ncafile=/mine\n");
        assert_eq!(reverted.kept, ["cafile"]);
    }
}
