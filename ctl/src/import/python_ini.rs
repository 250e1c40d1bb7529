//! Reader for `pip.conf` that gives the same values as Python's `configparser`, which pip uses, with their positions.

use std::ops::Range;

/// Value of an option.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PythonOption {
    /// Section, as it is in the file.
    pub(super) section: String,
    /// Key in lower case.
    pub(super) key: String,
    /// Bytes of each line of the value, without the blanks around it.
    pub(super) lines: Vec<Range<usize>>,
}

/// Reads all options. Lines outside of a section and lines that are no option are left out; pip rejects such a file.
pub(super) fn options(text: &str) -> Vec<PythonOption> {
    let mut options: Vec<PythonOption> = Vec::new();
    let mut section: Option<String> = None;
    // Indentation of the option whose value may go on.
    let mut open: Option<usize> = None;
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let at = start;
        start += line.len();
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let value = at + indent..at + indent + trimmed.len();
        if open.is_some_and(|option| indent > option) {
            options
                .last_mut()
                .into_iter()
                .for_each(|option| option.lines.push(value.clone()));
            continue;
        }
        open = None;
        if let Some(name) = section_name(trimmed) {
            section = Some(name.to_owned());
            continue;
        }
        let (Some(section), Some((key, rest))) = (&section, trimmed.split_once(['=', ':'])) else {
            continue;
        };
        let key = key.trim_end();
        if key.is_empty() {
            continue;
        }
        open = Some(indent);
        let length = rest.trim_start().len();
        let lines = (length > 0).then(|| value.end - length..value.end);
        options.push(PythonOption {
            section: section.clone(),
            key: key.to_lowercase(),
            lines: lines.into_iter().collect(),
        });
    }
    options
}

/// Name in a section header. Python takes everything up to the last bracket, and ignores the text behind it.
fn section_name(line: &str) -> Option<&str> {
    let rest = line.strip_prefix('[')?;
    let name = rest.get(..rest.rfind(']')?)?;
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    use super::super::generated::{Generator, ask};
    use super::*;

    type Sections = BTreeMap<String, BTreeMap<String, String>>;

    fn sections(text: &str) -> Sections {
        let mut sections = Sections::new();
        for option in options(text) {
            let value: Vec<&str> = option.lines.into_iter().filter_map(|line| text.get(line)).collect();
            sections
                .entry(option.section)
                .or_default()
                .insert(option.key, value.join("\n"));
        }
        sections
    }

    #[test]
    fn an_indented_line_continues_a_value() {
        let text = "[global]\nindex-url = https://a\n  https://b\n# note\n\n   https://c\ntimeout: 5\n  [x]\n[install]\n  a=1\n  b=2\n";
        let read = sections(text);
        assert_eq!(read["global"]["index-url"], "https://a\nhttps://b\nhttps://c");
        assert_eq!(read["global"]["timeout"], "5\n[x]");
        assert_eq!((&*read["install"]["a"], &*read["install"]["b"]), ("1", "2"));
    }

    /// Sections of each text as `configparser` reads them; `None` for a text that it rejects.
    fn read_by_python(texts: &[String]) -> Option<Vec<Option<Sections>>> {
        let script = "import configparser, json, sys\n\
                      def read(text):\n\
                      \x20parser = configparser.RawConfigParser()\n\
                      \x20try: parser.read_string(text)\n\
                      \x20except configparser.Error: return None\n\
                      \x20return {name: dict(parser.items(name)) for name in parser.sections()}\n\
                      print(json.dumps([read(text) for text in json.load(sys.stdin)]))";
        ask(Command::new("python3").args(["-c", script]), texts)
    }

    #[test]
    fn reads_generated_files_as_python_does() {
        const PIECES: &str =
            "[global]\n|[install]\n|index-url|Key|=| = |:|\n|\n|\n  |\n\t|v|https://a|# c|;| |[x]|]|\r\n|\n\n";
        let pieces: Vec<&str> = PIECES.split('|').collect();
        let mut generator = Generator::new(22);
        let texts: Vec<String> = (0..8000)
            .map(|_| format!("[global]\n{}", generator.text(&pieces, 12)))
            .collect();
        let Some(read) = read_by_python(&texts) else { return };
        let mut agreed = 0;
        for (text, mut by_python) in texts.iter().zip(read).filter_map(|(text, read)| Some((text, read?))) {
            by_python.retain(|_, options| !options.is_empty());
            for value in by_python.values_mut().flat_map(BTreeMap::values_mut) {
                // Empty lines inside a value hold no URL.
                *value = value
                    .split('\n')
                    .filter(|line| !line.trim().is_empty())
                    .collect::<Vec<_>>()
                    .join("\n");
            }
            assert_eq!(sections(text), by_python, "{text:?}");
            agreed += 1;
        }
        assert!(agreed > 300, "only {agreed} files were compared");
    }
}
