//! Reader for `.npmrc` that gives the same settings as npm's own reader, the package `ini`, with their lines.
//!
//! Own code, because the INI crates read neither npm's quotes nor its escapes, and tell no positions.

use std::ops::Range;

/// Setting outside of any section. npm does not read settings inside a section.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NpmSetting {
    /// Key, with quotes and escapes resolved.
    pub(super) key: String,
    /// Value, with quotes and escapes resolved; `None` if it is no text, such as a key without `=`.
    pub(super) value: Option<String>,
    /// Bytes of the line, with its ending.
    pub(super) line: Range<usize>,
}

/// Reads the settings in the order of the file. If a key occurs twice, npm uses the last one.
pub(super) fn settings(text: &str) -> Vec<NpmSetting> {
    let mut settings = Vec::new();
    for line in lines(text) {
        let content = text
            .get(line.clone())
            .unwrap_or_default()
            .trim_end_matches(['\r', '\n']);
        let trimmed = content.trim_start();
        if trimmed.is_empty() || trimmed.starts_with([';', '#']) || content.starts_with('=') {
            continue;
        }
        if is_section(content) {
            break;
        }
        let (key, value) = match content.split_once('=') {
            Some((key, value)) => (key, unquote(value)),
            None => (content, None),
        };
        // A key in brackets makes a list, and no auth setting is one.
        if let Some(key) = unquote(key).filter(|key| !key.ends_with("[]")) {
            settings.push(NpmSetting { key, value, line });
        }
    }
    settings
}

/// Lines with their endings. `ini` ends a line at CR, at LF, and at any number of them.
fn lines(text: &str) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    std::iter::from_fn(move || {
        let rest = text.get(start..).filter(|rest| !rest.is_empty())?;
        let end = rest.find(['\r', '\n']).map_or(rest.len(), |at| {
            at + if rest.get(at..).is_some_and(|ending| ending.starts_with("\r\n")) {
                2
            } else {
                1
            }
        });
        start += end;
        Some(start - end..start)
    })
}

fn is_section(line: &str) -> bool {
    let inner = line
        .strip_prefix('[')
        .and_then(|rest| rest.trim_end().strip_suffix(']'));
    inner.is_some_and(|inner| !inner.contains(']'))
}

/// Resolves quotes, escapes and comments, as `unsafe` of the package `ini` does. `None` if the result is no text.
fn unquote(raw: &str) -> Option<String> {
    let raw = raw.trim();
    let is_in = |quote: char| raw.starts_with(quote) && raw.ends_with(quote);
    if !is_in('"') && !is_in('\'') {
        return Some(unescape(raw));
    }
    let inner = match raw.strip_prefix('\'') {
        Some(rest) => rest.strip_suffix('\'').unwrap_or_default(),
        None => raw,
    };
    match serde_json::from_str(inner) {
        Ok(serde_json::Value::String(text)) => Some(text),
        // npm writes a number back as digits, which are the same only as long as a double is exact.
        Ok(serde_json::Value::Number(number)) if inner.len() <= EXACT_DIGITS => {
            Some(number.to_string()).filter(|text| text == inner)
        }
        Ok(_) => None,
        Err(_) => Some(inner.to_owned()),
    }
}

/// Removes escapes, and cuts the text at a comment, which begins with an unescaped `;` or `#` anywhere.
fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut characters = raw.chars();
    while let Some(character) = characters.next() {
        match character {
            ';' | '#' => break,
            '\\' => match characters.next() {
                Some(escaped @ (';' | '#' | '\\')) => text.push(escaped),
                Some(other) => text.extend(['\\', other]),
                None => text.push('\\'),
            },
            other => text.push(other),
        }
    }
    text.trim().to_owned()
}

const EXACT_DIGITS: usize = 15;

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};
    use std::process::Command;

    use super::super::generated::{Generator, ask};
    use super::*;

    fn pairs(text: &str) -> Vec<(String, Option<String>)> {
        let pair = |setting: NpmSetting| (setting.key, setting.value);
        settings(text).into_iter().map(pair).collect()
    }

    #[test]
    fn reads_quotes_escapes_and_comments() {
        for (line, value) in [
            ("k=T ; mine", Some("T")),
            ("k='T'", Some("T")),
            ("k=\"T # no comment\"", Some("T # no comment")),
            ("k = a\\;b\\#c\\\\d\\e", Some("a;b#c\\d\\e")),
            ("k='123'", Some("123")),
            ("k='true'", None),
            ("k", None),
            ("\"k\"=T==", Some("T==")),
        ] {
            assert_eq!(pairs(line), [("k".to_owned(), value.map(str::to_owned))], "{line}");
        }
        assert_eq!(pairs("; k=1\n# k=2\n\n[section]\nk=3\n"), []);
        let lines: Vec<_> = settings("a=1\r\nb=2\nc=3")
            .into_iter()
            .map(|setting| setting.line)
            .collect();
        assert_eq!(lines, [0..5, 5..9, 9..12]);
    }

    /// npm's own copy of `ini`, if npm is installed here.
    fn npms_ini() -> Option<PathBuf> {
        let npm = std::fs::canonicalize(which::which("npm").ok()?).ok()?;
        let folders = npm.ancestors().map(|folder| folder.join("node_modules/ini"));
        folders.filter(|folder: &PathBuf| folder.is_dir()).find(|_| true)
    }

    /// Decodes each text with npm's `ini`, in one process.
    fn decoded_by_npm(ini: &Path, texts: &[String]) -> Vec<serde_json::Map<String, serde_json::Value>> {
        let script = "const ini = require(process.argv[1]); const texts = JSON.parse(require('fs').readFileSync(0)); \
                      console.log(JSON.stringify(texts.map(text => ini.decode(text))))";
        ask(Command::new("node").args(["-e", script]).arg(ini), texts).unwrap()
    }

    #[test]
    fn reads_generated_files_as_npm_does() {
        let Some(ini) = npms_ini() else { return };
        const PIECES: &str = "//a.example/:_authToken|k|=|=|=|T0|'|\"|;|#|\\| | |\t|[|]|é|12|true|${V}|\\\"|:";
        let pieces: Vec<&str> = PIECES.split('|').collect();
        let mut generator = Generator::new(1);
        let texts: Vec<String> = (0..3000)
            .map(|_| {
                let line = |generator: &mut Generator| generator.text(&pieces, 9);
                let lines: Vec<String> = (0..4).map(|_| line(&mut generator)).collect();
                lines.join(generator.pick(&["\n", "\r\n", "\n\n"]))
            })
            .collect();
        for (text, decoded) in texts.iter().zip(decoded_by_npm(&ini, &texts)) {
            let is_text = |(key, value): &(&String, &serde_json::Value)| value.is_string() && !key.ends_with("[]");
            for (key, value) in decoded.iter().filter(is_text) {
                let ours = pairs(text)
                    .into_iter()
                    .rfind(|(other, _)| other == key)
                    .and_then(|(_, value)| value);
                assert_eq!(ours.as_deref(), value.as_str(), "{key:?} in {text:?}");
            }
            for (key, _) in pairs(text)
                .into_iter()
                .filter(|(key, value)| value.is_some() && key != "__proto__")
            {
                assert!(decoded.contains_key(&key), "npm has no {key:?} in {text:?}");
            }
        }
    }
}
