//! Reader for git's configuration files that tells the position of each setting (git-config(1), "Syntax").
//!
//! Own code, because `git config` tells no positions. Git itself tells which files count and which values they give; this
//! reader only finds them again in the text.

use std::ops::Range;

/// Setting with its position.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct GitSetting {
    /// Key as `git config --list` prints it: section and name in lower case, the subsection as it is.
    pub(super) key: String,
    /// Value with quotes and escapes resolved; empty for a key without `=`.
    pub(super) value: String,
    /// Bytes to delete so that the setting is gone: its lines, or its part of a line with a section header.
    pub(super) range: Range<usize>,
    /// Subsection in the header, between its quotes.
    pub(super) subsection: Option<Range<usize>>,
}

/// Reads all settings. Ends at the first text that is no configuration.
pub(super) fn settings(text: &str) -> Vec<GitSetting> {
    let mut reader = Reader {
        text,
        at: if text.starts_with('\u{feff}') { 3 } else { 0 },
    };
    let mut section = Section::default();
    let mut settings = Vec::new();
    while let Some((start, next)) = reader.skip_blanks() {
        match next {
            '#' | ';' => reader.skip_line(),
            '[' => match reader.section() {
                Some(read) => section = read,
                None => break,
            },
            _ => match reader.setting(start, &section) {
                Some(setting) => settings.push(setting),
                None => break,
            },
        }
    }
    settings
}

#[derive(Debug, Default)]
struct Section {
    /// Key of the section, with a dot at the end.
    prefix: String,
    subsection: Option<Range<usize>>,
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// Next character. A CR before an LF is no character of its own.
    fn next(&mut self) -> Option<char> {
        if self.rest().starts_with("\r\n") {
            self.at += 1;
        }
        let next = self.rest().chars().next()?;
        self.at += next.len_utf8();
        Some(next)
    }

    fn peek(&self) -> Option<char> {
        let rest = self.rest();
        rest.strip_prefix('\r')
            .filter(|rest| rest.starts_with('\n'))
            .unwrap_or(rest)
            .chars()
            .next()
    }

    /// Position and first character of the next text.
    fn skip_blanks(&mut self) -> Option<(usize, char)> {
        let start = self.at + self.rest().find(|c: char| !c.is_ascii_whitespace() && c != '\u{b}')?;
        self.at = start;
        Some((start, self.peek()?))
    }

    fn skip_line(&mut self) {
        self.at += self.rest().find('\n').map_or(self.rest().len(), |length| length + 1);
    }

    fn section(&mut self) -> Option<Section> {
        self.next();
        let mut name = String::new();
        loop {
            match self.next()? {
                ']' => {
                    let prefix = format!("{name}.");
                    return Some(Section {
                        prefix,
                        subsection: None,
                    });
                }
                ' ' | '\t' => break,
                character if character.is_ascii_alphanumeric() || matches!(character, '-' | '.') => {
                    name.push(character.to_ascii_lowercase());
                }
                _ => return None,
            }
        }
        while matches!(self.peek()?, ' ' | '\t') {
            self.next();
        }
        if self.next()? != '"' {
            return None;
        }
        let start = self.at;
        let mut subsection = String::new();
        loop {
            match self.next()? {
                '"' => break,
                '\n' => return None,
                '\\' => subsection.push(self.next().filter(|escaped| *escaped != '\n')?),
                character => subsection.push(character),
            }
        }
        let end = self.at - 1;
        (self.next()? == ']').then(|| Section {
            prefix: format!("{name}.{subsection}."),
            subsection: Some(start..end),
        })
    }

    fn setting(&mut self, start: usize, section: &Section) -> Option<GitSetting> {
        let mut name = String::new();
        while let Some(character) = self.peek().filter(|c| c.is_ascii_alphanumeric() || *c == '-') {
            name.push(character.to_ascii_lowercase());
            self.next();
        }
        if !name.starts_with(|first: char| first.is_ascii_alphabetic()) {
            return None;
        }
        while matches!(self.peek(), Some(' ' | '\t')) {
            self.next();
        }
        let value = match self.next() {
            None | Some('\n') => String::new(),
            Some('=') => self.value()?,
            Some(_) => return None,
        };
        Some(GitSetting {
            key: format!("{}{name}", section.prefix),
            value,
            range: self.removable(start),
            subsection: section.subsection.clone(),
        })
    }

    /// Reads a value up to the end of its last line.
    fn value(&mut self) -> Option<String> {
        let (mut value, mut blanks) = (String::new(), String::new());
        let (mut is_quoted, mut is_comment) = (false, false);
        loop {
            let character = match self.next() {
                Some('\n') | None => return (!is_quoted).then_some(value),
                Some(character) => character,
            };
            if is_comment {
                continue;
            }
            if !is_quoted && (character.is_ascii_whitespace() || character == '\u{b}') {
                if !value.is_empty() {
                    blanks.push(character);
                }
                continue;
            }
            if !is_quoted && matches!(character, '#' | ';') {
                is_comment = true;
                continue;
            }
            // Blanks before a comment or the end are dropped, all others count.
            value.push_str(&std::mem::take(&mut blanks));
            let text = match character {
                '"' => {
                    is_quoted = !is_quoted;
                    None
                }
                '\\' => match self.next()? {
                    '\n' => None,
                    't' => Some('\t'),
                    'b' => Some('\u{8}'),
                    'n' => Some('\n'),
                    escaped @ ('\\' | '"') => Some(escaped),
                    _ => return None,
                },
                other => Some(other),
            };
            value.extend(text);
        }
    }

    /// Range from the setting to the end of its last line: with the blanks before it and the line ending if the line
    /// begins with it, else without the ending, because the line has a section header too.
    fn removable(&self, start: usize) -> Range<usize> {
        let before = self.text.get(..start).unwrap_or_default();
        let indent = before.len() - before.trim_end_matches([' ', '\t']).len();
        let is_first_in_line = matches!(
            before.trim_end_matches([' ', '\t']).chars().next_back(),
            None | Some('\n')
        );
        if is_first_in_line {
            return start - indent..self.at;
        }
        let read = self.text.get(start..self.at).unwrap_or_default();
        start..start + read.trim_end_matches(['\r', '\n']).len()
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::super::generated::Generator;
    use super::*;

    #[test]
    fn removes_exactly_the_lines_of_a_setting() {
        let text = "[http \"https://a.example/\"] extraHeader = A: x # mine\r\n\tproxy = p\n[http \"https://b.example/\"]\n  \
                    extraHeader = \"A: \\\n  x\" ; end\n\n[user]\n\tname = me";
        let all = settings(text);
        let keys: Vec<_> = all.iter().map(|setting| (&*setting.key, &*setting.value)).collect();
        let wanted = [
            ("http.https://a.example/.extraheader", "A: x"),
            ("http.https://a.example/.proxy", "p"),
            ("http.https://b.example/.extraheader", "A:   x"),
            ("user.name", "me"),
        ];
        assert_eq!(keys, wanted);
        assert_eq!(text.get(all[0].subsection.clone().unwrap()), Some("https://a.example/"));
        let mut rest = text.to_owned();
        for setting in all.iter().rev() {
            rest.replace_range(setting.range.clone(), "");
        }
        assert_eq!(
            rest,
            "[http \"https://a.example/\"] \r\n[http \"https://b.example/\"]\n\n[user]\n"
        );
    }

    /// Removes each setting alone.
    fn assert_removal_leaves_the_rest(text: &str) {
        let keys = |settings: &[GitSetting]| settings.iter().map(|setting| setting.key.clone()).collect::<Vec<_>>();
        let all = settings(text);
        for (number, setting) in all.iter().enumerate() {
            let mut rest = text.to_owned();
            rest.replace_range(setting.range.clone(), "");
            let mut wanted = keys(&all);
            wanted.remove(number);
            assert_eq!(keys(&settings(&rest)), wanted, "{text:?} without {number}");
        }
    }

    #[test]
    fn reads_generated_files_as_git_does() {
        const HEADERS: &str = "[http \"https://a.example/\"]|[url \"h\\\"x\\\\y\"]|[a.B]|[Core]|[a  \"]\"]|";
        const VALUES: &str = "\"|\"|\\n|\\\n|\\\"|\\\\|#|;| |\t|v|A: x|é|]|=";
        let [headers, values] = [HEADERS, VALUES].map(|pieces| pieces.split('|').collect::<Vec<_>>());
        let keys = ["extraHeader", "key", "a-1", "# k", ";"];
        let ends = ["\n", "\n\t", "\r\n", "\n\n", " # c\n", ""];
        let mut generator = Generator::new(12);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config");
        let mut agreed = 0;
        for _ in 0..600 {
            let mut text = String::from("[core]");
            for _ in 0..4 {
                text += generator.pick(&headers);
                text += generator.pick(&ends);
                text += generator.pick(&keys);
                text += generator.pick(&[" = ", "=", "\t=", " "]);
                text += &generator.text(&values, 5);
                text += generator.pick(&ends);
            }
            std::fs::write(&file, &text).unwrap();
            let mut git = Command::new("git");
            git.args(["config", "--list", "-z", "--file"])
                .arg(&file)
                .current_dir("/");
            let output = git.output().unwrap();
            if !output.status.success() {
                continue;
            }
            let printed = String::from_utf8(output.stdout).unwrap();
            // Blanks are left out: git before 2.46 makes each one a space.
            let without_blanks = |value: &str| value.replace([' ', '\t'], "");
            let by_git: Vec<_> = printed
                .split_terminator('\0')
                .map(|setting| setting.split_once('\n').unwrap_or((setting, "")))
                .map(|(key, value)| (key, without_blanks(value)))
                .collect();
            let all = settings(&text);
            let ours: Vec<_> = all
                .iter()
                .map(|setting| (&*setting.key, without_blanks(&setting.value)))
                .collect();
            assert_eq!(ours, by_git, "{text:?}");
            agreed += by_git.len();
            assert_removal_leaves_the_rest(&text);
        }
        assert!(agreed > 50, "only {agreed} settings were compared");
    }
}
