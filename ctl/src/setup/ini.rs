//! pip.conf and .npmrc, line by line: what is not ours stays as it is, byte for byte.

use super::format::{Done, Set, Setting, Unset, Value};

/// What stands between a key and its value.
#[derive(Clone, Copy)]
pub(super) enum Separator {
    /// `=` or `:`, as Python's configparser reads it; a value goes on in indented lines.
    Either,
    /// `=` only: npm's keys have colons in them.
    Equals,
}

/// Puts settings in; a key is `section`, `key`, or only `key` for a file without sections.
pub(super) fn set(text: &str, settings: &[Setting], separator: Separator) -> Set {
    let mut file = File::parse(text, separator);
    let mut done = Vec::new();
    for setting in settings {
        let (section, key) = split(&setting.key);
        let ours = setting.value.text();
        let found = file.find(section, key);
        let present = found.as_ref().map(|found| found.value.clone());
        if present.as_ref() == Some(&ours) || (present.is_none() && matches!(setting.value, Value::Instead(_))) {
            continue;
        }
        let before = found.as_ref().map(|found| file.lines_of(found));
        match found {
            Some(found) => file.replace(&found, &separator.line(key, &ours)),
            None => file.add(section, &separator.line(key, &ours)),
        }
        done.push(Done {
            key: setting.key.clone(),
            ours,
            before,
            element: None,
        });
    }
    Set {
        text: file.text(),
        done,
    }
}

/// Takes out what was put in.
pub(super) fn unset(text: &str, done: &[Done], separator: Separator) -> Unset {
    let mut file = File::parse(text, separator);
    let mut kept = Vec::new();
    for done in done {
        let (section, key) = split(&done.key);
        match file.find(section, key) {
            Some(found) if found.value == done.ours => file.replace(&found, done.before.as_deref().unwrap_or_default()),
            Some(_) => kept.push(key.to_owned()),
            None => {}
        }
    }
    Unset {
        text: file.text(),
        kept,
    }
}

struct File {
    lines: Vec<String>,
    ending: &'static str,
    separator: Separator,
}

/// A setting that is there.
struct Found {
    first: usize,
    lines: usize,
    value: String,
}

impl File {
    fn parse(text: &str, separator: Separator) -> Self {
        Self {
            lines: text.split_inclusive('\n').map(str::to_owned).collect(),
            ending: if text.contains("\r\n") { "\r\n" } else { "\n" },
            separator,
        }
    }

    fn text(&self) -> String {
        self.lines.concat()
    }

    fn find(&self, section: Option<&str>, key: &str) -> Option<Found> {
        let mut current = None;
        let mut found: Option<Found> = None;
        for (number, line) in self.lines.iter().enumerate() {
            let trimmed = line.trim();
            if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                current = Some(name.trim().to_owned());
            } else if current.as_deref() == section && !self.goes_on(line) {
                let value = self.separator.value(trimmed, key);
                // The last one counts, in pip and in npm.
                found = value.map(|value| self.whole(number, value)).or(found);
            }
        }
        found
    }

    /// A value and the lines in which it goes on.
    fn whole(&self, first: usize, value: &str) -> Found {
        let rest = self.lines.iter().skip(first + 1);
        let more: Vec<&str> = rest
            .take_while(|line| self.goes_on(line))
            .map(|line| line.trim())
            .collect();
        Found {
            first,
            lines: 1 + more.len(),
            value: std::iter::once(value).chain(more).collect::<Vec<_>>().join("\n"),
        }
    }

    fn goes_on(&self, line: &str) -> bool {
        matches!(self.separator, Separator::Either) && line.starts_with([' ', '\t']) && !line.trim().is_empty()
    }

    fn lines_of(&self, found: &Found) -> String {
        let lines = self.lines.get(found.first..found.first + found.lines);
        lines.unwrap_or_default().concat()
    }

    fn replace(&mut self, found: &Found, by: &str) {
        let new = (!by.is_empty()).then(|| self.ended(by));
        self.lines.splice(found.first..found.first + found.lines, new);
    }

    /// At the end of its section, before the blank lines there; the section is made where it is missing.
    fn add(&mut self, section: Option<&str>, line: &str) {
        if let Some(last) = self.lines.last_mut()
            && !last.ends_with('\n')
        {
            last.push_str(self.ending);
        }
        let (start, end) = match self.section(section) {
            Some(range) => range,
            None => {
                let header = self.ended(&format!("[{}]", section.unwrap_or_default()));
                self.lines.push(header);
                (self.lines.len(), self.lines.len())
            }
        };
        let body = self.lines.get(start..end).unwrap_or_default();
        let used = body
            .iter()
            .rposition(|line| !line.trim().is_empty())
            .map_or(0, |at| at + 1);
        let line = self.ended(line);
        self.lines.insert(start + used, line);
    }

    /// From the line after its header to the line of the next header.
    fn section(&self, section: Option<&str>) -> Option<(usize, usize)> {
        let is_header = |line: &String| line.trim().starts_with('[');
        let start = match section {
            None => 0,
            Some(name) => 1 + self.lines.iter().position(|line| line.trim() == format!("[{name}]"))?,
        };
        let rest = self.lines.iter().skip(start);
        let length = rest.clone().position(is_header).unwrap_or_else(|| rest.count());
        Some((start, start + length))
    }

    fn ended(&self, line: &str) -> String {
        if line.ends_with('\n') {
            line.to_owned()
        } else {
            format!("{line}{}", self.ending)
        }
    }
}

impl Separator {
    fn line(self, key: &str, value: &str) -> String {
        match self {
            Self::Either => format!("{key} = {value}"),
            Self::Equals => format!("{key}={value}"),
        }
    }

    /// The value, when the line sets this key. pip takes `_` for `-`.
    fn value<'a>(self, line: &'a str, key: &str) -> Option<&'a str> {
        if line.starts_with(['#', ';']) {
            return None;
        }
        let (name, value) = match self {
            Self::Either => line.split_once(['=', ':'])?,
            Self::Equals => line.split_once('=')?,
        };
        let name = name.trim();
        let same = match self {
            Self::Either => name.to_lowercase().replace('_', "-") == key,
            Self::Equals => name == key,
        };
        same.then(|| value.trim())
    }
}

fn split(key: &[String]) -> (Option<&str>, &str) {
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
            value: Value::Text(value.to_owned()),
        }
    }

    #[test]
    fn a_setting_goes_to_its_section_and_leaves_again() {
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
            let first = set(before, &settings, Separator::Either);
            assert_eq!(first.text, after);
            let again = set(&first.text, &settings, Separator::Either);
            assert!(again.done.is_empty() && again.text == after, "{again:?}");
            let edited = format!("{after}# an edit\n");
            let back = unset(&edited, &first.done, Separator::Either).text;
            assert!(!back.contains("http://p") && back.ends_with("# an edit\n"), "{back}");
            assert_eq!(back.contains("http://corp"), before.contains("http://corp"));
        }
    }

    #[test]
    fn npm_keys_have_colons_and_an_edited_value_stays() {
        let settings = [
            setting(&["//npm.corp.example/:_authToken"], "x"),
            setting(&["cafile"], "/b"),
        ];
        let set = set("registry=https://npm.corp.example/\n", &settings, Separator::Equals);
        assert_eq!(
            set.text,
            "registry=https://npm.corp.example/\n//npm.corp.example/:_authToken=x\ncafile=/b\n"
        );
        let unset = unset(&set.text.replace("/b", "/mine"), &set.done, Separator::Equals);
        assert_eq!(unset.text, "registry=https://npm.corp.example/\ncafile=/mine\n");
        assert_eq!(unset.kept, ["cafile"]);
    }
}
