//! Scanner for `~/.netrc`, which curl, git and pip read (netrc(5); Python's module `netrc`; curl's `netrc.c`).
//!
//! Own parser, because the netrc crates do not tell the position of an entry in the text, which its removal needs. It
//! reads as Python does. An entry that Python rejects, or that curl reads differently, is skipped with a note: its token
//! could be wrong, or that of another host.

use std::ops::Range;
use std::path::Path;

use super::auth_scheme;
use super::found::{TokenLocation, TokenTarget};
use super::scan::{Scan, ScannedToken};
use super::url_credentials::scope_of_host;
use crate::user_folders::{home, path_variable};

/// Scans the file that `NETRC` names, or `~/.netrc`.
pub(super) fn scan(scan: &mut Scan) {
    if let Some(file) = path_variable("NETRC").or_else(|| Some(home().ok()?.join(".netrc"))) {
        scan_file(&file, scan);
    }
}

fn scan_file(file: &Path, scan: &mut Scan) {
    let Some(text) = scan.read(file) else { return };
    let (machines, skipped) = machines(&text);
    let note = |(line, reason)| format!("{}, line {line}: an entry was skipped: {reason}", file.display());
    scan.notes.extend(skipped.into_iter().map(note));
    for (machine, scope) in machines {
        let (scheme, secret) = auth_scheme::from_user_and_password(&machine.login, &machine.password);
        scan.tokens.push(ScannedToken {
            name: None,
            kind: "generic",
            target: TokenTarget::Scope(scope),
            scheme,
            secret,
            location: TokenLocation::new(file, vec![extend_to_lines(&text, &machine.range)]),
        });
    }
}

/// Number of the line and reason of each entry that was skipped.
type Skipped = Vec<(usize, &'static str)>;

/// Parses the `machine` entries that have a password, each with its scope.
fn machines(text: &str) -> (Vec<(Machine, String)>, Skipped) {
    let mut parser = Parser::new(text);
    let entries = parser.entries();
    let mut skipped = parser.skipped;
    let mut machines = Vec::new();
    for entry in entries.into_iter().filter(|entry| !entry.password.is_empty()) {
        match scope_of_host(&entry.host) {
            Some(scope) => machines.push((entry, scope)),
            None => skipped.push((
                line_of(text, entry.range.start),
                "`machine` needs the name of a host, without a scheme or path",
            )),
        }
    }
    skipped.sort_unstable();
    (machines, skipped)
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.get(..at).unwrap_or_default().matches('\n').count()
}

/// Entry of a host.
#[derive(Debug, Default)]
struct Machine {
    host: String,
    login: String,
    password: String,
    range: Range<usize>,
}

/// Word of the file, with quotes and escapes removed.
#[derive(Clone, Debug)]
struct Word {
    text: String,
    range: Range<usize>,
    /// False if a reader of the format takes another text for it, or no end of its quotes was found.
    is_certain: bool,
}

impl Word {
    fn is_keyword(&self) -> bool {
        KEYWORDS.contains(&self.text.as_str())
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    skipped: Skipped,
}

impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            at: 0,
            skipped: Vec::new(),
        }
    }

    fn entries(&mut self) -> Vec<Machine> {
        let mut entries = Vec::new();
        while let Some(word) = self.next_keyword() {
            match word.text.as_str() {
                "machine" => entries.extend(self.entry(&word, true)),
                "default" => drop(self.entry(&word, false)),
                "macdef" => self.skip_macro(&word),
                _ => self.skip_entry(&word, "it has a word that is none of netrc's, so its end is unknown"),
            }
        }
        entries
    }

    /// Reads an entry after its keyword, up to the keyword of the next one. `None` if it is skipped.
    fn entry(&mut self, keyword: &Word, has_host: bool) -> Option<Machine> {
        let mut entry = Machine {
            range: keyword.range.clone(),
            ..Machine::default()
        };
        if has_host {
            entry.host = self.value(keyword, &mut entry.range)?;
        }
        loop {
            let before = self.at;
            let Some(word) = self.next_keyword() else { break };
            match word.text.as_str() {
                "login" | "user" => entry.login = self.value(&word, &mut entry.range)?,
                "password" => entry.password = self.value(&word, &mut entry.range)?,
                "account" => drop(self.value(&word, &mut entry.range)?),
                "machine" | "default" | "macdef" => {
                    self.at = before;
                    break;
                }
                _ => {
                    self.skip_entry(
                        keyword,
                        "it has a word that is none of netrc's; quote a value with blanks",
                    );
                    return None;
                }
            }
        }
        if !has_host && !entry.password.is_empty() {
            self.skipped.push((
                line_of(self.text, keyword.range.start),
                "`default` names no host, so its registry is unknown",
            ));
        }
        Some(entry)
    }

    /// Value after a keyword: the next word, whatever it is. A keyword on another line is no value.
    fn value(&mut self, keyword: &Word, entry: &mut Range<usize>) -> Option<String> {
        let before = self.at;
        let Some(word) = self.next_word() else {
            self.skip_entry(keyword, "a value is missing at the end of the file");
            return None;
        };
        let gap = self.text.get(keyword.range.end..word.range.start).unwrap_or_default();
        let is_on_another_line = gap.contains(['\n', '\r']);
        if is_on_another_line && (word.is_keyword() || word.text.starts_with('#')) {
            self.at = before;
            self.skip_entry(keyword, "a value is missing at the end of a line");
            return None;
        }
        if !word.is_certain {
            self.skip_entry(keyword, "curl and Python read its quotes or backslashes differently");
            return None;
        }
        entry.end = word.range.end;
        Some(word.text)
    }

    /// Records that the entry of a word is skipped, and continues at the next line that begins with a keyword.
    fn skip_entry(&mut self, word: &Word, reason: &'static str) {
        self.skipped.push((line_of(self.text, word.range.start), reason));
        while let Some(line) = self.rest().find('\n') {
            self.at += line + 1;
            let first = self.rest().split_whitespace().next().unwrap_or_default();
            if ENTRY_KEYWORDS.contains(&first) {
                return;
            }
        }
        self.at = self.text.len();
    }

    /// Skips the body of a macro, which ends at an empty line.
    fn skip_macro(&mut self, keyword: &Word) {
        if self.next_word().is_none() {
            return;
        }
        let mut lines = self.rest().split_inclusive('\n');
        // The rest of the line with the name belongs to the body.
        let mut length = lines.next().map_or(0, str::len);
        for line in lines {
            length += line.len();
            if matches!(line, "\n" | "\r\n") {
                self.at += length;
                return;
            }
        }
        self.at = self.text.len();
        self.skipped.push((
            line_of(self.text, keyword.range.start),
            "a `macdef` without an empty line after it takes the rest of the file",
        ));
    }

    /// Next word where a keyword is expected: a word that begins with `#` is a comment up to the end of its line.
    fn next_keyword(&mut self) -> Option<Word> {
        loop {
            let word = self.next_word()?;
            if !word.text.starts_with('#') {
                return Some(word);
            }
            self.at = word.range.end;
            self.at += self.rest().find('\n').unwrap_or(self.rest().len());
        }
    }

    fn next_word(&mut self) -> Option<Word> {
        let start = self.at + self.rest().find(|c| !BLANKS.contains(&c))?;
        let rest = self.text.get(start..).unwrap_or_default();
        let mut word = Word {
            text: String::new(),
            range: start..self.text.len(),
            is_certain: true,
        };
        let is_quoted = rest.starts_with('"');
        let mut characters = rest.char_indices().skip(usize::from(is_quoted));
        let mut has_end = !is_quoted;
        while let Some((at, character)) = characters.next() {
            match character {
                '\\' => {
                    let escaped = characters.next().map(|(_, escaped)| escaped);
                    // curl keeps a backslash outside of quotes, and takes \n, \r and \t in quotes for control characters.
                    word.is_certain &= is_quoted && matches!(escaped, Some('"' | '\\'));
                    word.text.extend(escaped);
                }
                '"' if is_quoted => {
                    has_end = true;
                    word.range.end = start + at + 1;
                    break;
                }
                blank if !is_quoted && BLANKS.contains(&blank) => {
                    word.range.end = start + at;
                    break;
                }
                // Curl's words end with the line.
                '\n' | '\r' => {
                    word.is_certain = false;
                    word.text.push(character);
                }
                other => word.text.push(other),
            }
        }
        word.is_certain &= has_end;
        self.at = word.range.end;
        Some(word)
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }
}

/// Extends an entry to full lines with their endings if nothing else is on them, else to the blanks behind it.
fn extend_to_lines(text: &str, entry: &Range<usize>) -> Range<usize> {
    let before = text.get(..entry.start).unwrap_or_default();
    let after = text.get(entry.end..).unwrap_or_default();
    let line_before = before.rsplit('\n').next().unwrap_or_default();
    let line_after = after.split_inclusive('\n').next().unwrap_or_default();
    if line_before.trim().is_empty() && line_after.trim().is_empty() {
        entry.start - line_before.len()..entry.end + line_after.len()
    } else {
        let blanks = line_after.len() - line_after.trim_start_matches([' ', '\t']).len();
        entry.start..entry.end + blanks
    }
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];
/// Keywords that begin an entry.
const ENTRY_KEYWORDS: [&str; 3] = ["machine", "default", "macdef"];
const KEYWORDS: [&str; 7] = ["machine", "default", "macdef", "login", "user", "account", "password"];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::process::Command;

    use super::super::generated::{Generator, ask};
    use super::*;

    fn parsed(text: &str) -> Vec<[String; 3]> {
        let (machines, _) = machines(text);
        let parts = |(machine, _): (Machine, String)| [machine.host, machine.login, machine.password];
        machines.into_iter().map(parts).collect()
    }

    #[test]
    fn finds_machines_and_the_lines_to_remove_with_them() {
        let text = "# mine\nmachine a.example login me password p1\n\nmachine b.example\n\tlogin \"me too\" # who\n\
                    \tpassword \"p\\\"2\"\nmacdef init\nmachine password x\n\nmachine c.example login only\n\
                    default login anonymous password guest\nmachine d.example login u password p4 machine e.example \
                    password p5\n";
        let wanted = [
            ["a.example", "me", "p1"],
            ["b.example", "me too", "p\"2"],
            ["d.example", "u", "p4"],
            ["e.example", "", "p5"],
        ];
        assert_eq!(parsed(text), wanted);
        let mut rest = text.to_owned();
        for (machine, _) in machines(text).0.iter().rev() {
            rest.replace_range(extend_to_lines(text, &machine.range), "");
        }
        let left = "# mine\n\nmacdef init\nmachine password x\n\nmachine c.example login only\n\
                    default login anonymous password guest\n\n";
        assert_eq!(rest, left);
    }

    #[test]
    fn a_value_may_begin_with_a_number_sign() {
        let text =
            "machine a.example\n  login me\n  password #s3cret-one\nmachine b.example login you password tok#two\n";
        let wanted = [["a.example", "me", "#s3cret-one"], ["b.example", "you", "tok#two"]];
        assert_eq!(parsed(text), wanted);
    }

    #[test]
    fn no_entry_takes_a_value_of_another_one() {
        for text in [
            "machine a.example login me password\nmachine b.example login you password p\n",
            "machine a.example login me password # none\nmachine b.example login you password p\n",
            "machine a.example login me password one two three\nmachine b.example login you password p\n",
            "machine a.example login me password \"open\nmachine b.example login you password p\n",
            "machine a.example login me password a\\b\nmachine b.example login you password p\n",
            "machine\nmachine b.example login you password p\n",
            "login me password x\nmachine b.example login you password p\n",
            "machine https://a.example/ login me password x\nmachine b.example login you password p\n",
            "macdef init\r\nmachine x login y password z\r\n\r\nmachine b.example login you password p\r\n",
        ] {
            let found = parsed(text);
            let of_b: Vec<_> = found.iter().filter(|[host, ..]| host == "b.example").collect();
            assert!(
                of_b.iter().all(|entry| **entry == ["b.example", "you", "p"]),
                "{found:?} in {text:?}"
            );
            assert!(
                found.len() <= 1 + usize::from(text.contains("# none")),
                "{found:?} in {text:?}"
            );
            let is_explained = found.iter().all(|[host, ..]| host == "b.example") && !of_b.is_empty();
            assert!(is_explained || !machines(text).1.is_empty(), "{found:?} in {text:?}");
        }
        let (found, notes) = machines("macdef init\r\nmachine x\r\nmachine b.example login you password p\r\n");
        assert!(found.is_empty() && notes.len() == 1, "{notes:?}");
    }

    type PythonsHosts = BTreeMap<String, [String; 3]>;

    /// Hosts of each text as Python's `netrc` reads them; `None` for a text that it rejects.
    fn read_by_python(texts: &[String]) -> Option<Vec<Option<PythonsHosts>>> {
        let script = "import io, json, netrc, sys\n\
                      def hosts(text):\n\
                      \x20try:\n\
                      \x20 read = netrc.netrc('/dev/null'); read._parse('x', io.StringIO(text, newline=None), False)\n\
                      \x20 return read.hosts\n\
                      \x20except netrc.NetrcParseError: return None\n\
                      if sys.version_info < (3, 11): sys.exit(3)\n\
                      print(json.dumps([hosts(text) for text in json.load(sys.stdin)]))";
        ask(Command::new("python3").args(["-c", script]), texts)
    }

    fn generated_text(generator: &mut Generator) -> String {
        const ENTRIES: &str = "machine a.example|machine b.example|machine\tc.example|default|macdef m\nx y\n|machine";
        const FIELDS: &str = "login|user|account|password|password|# note|machine d.example|odd";
        const VALUES: &str = "me|#pw|p#w|\"q w\"|\"a\\\"b\"|\"\\\\\"|a\\b|password|é|\"#\"|a\"b|";
        const BLANKS: &str = " |\n| |\n\t|\r\n|  ";
        let [entries, fields, values, blanks] =
            [ENTRIES, FIELDS, VALUES, BLANKS].map(|pieces| pieces.split('|').collect::<Vec<_>>());
        let mut text = String::new();
        for _ in 0..generator.below(4) {
            text += generator.pick(&entries);
            for _ in 0..generator.below(4) {
                for pieces in [&blanks, &fields, &blanks, &values] {
                    text += generator.pick(pieces);
                }
            }
            text += "\n";
        }
        text
    }

    /// Every entry, with or without a password, and the number of skipped ones.
    fn all_entries(text: &str) -> (Vec<[String; 3]>, usize) {
        let mut parser = Parser::new(text);
        let entries = parser.entries().into_iter();
        let parts = entries.map(|entry| [entry.host, entry.login, entry.password]);
        (parts.collect(), parser.skipped.len())
    }

    #[test]
    fn removing_what_was_taken_leaves_every_other_entry() {
        let mut generator = Generator::new(7);
        for _ in 0..6000 {
            let text = generated_text(&mut generator);
            let taken = machines(&text).0;
            let mut rest = text.clone();
            for (machine, _) in taken.iter().rev() {
                rest.replace_range(extend_to_lines(&text, &machine.range), "");
            }
            let (mut entries, skipped) = all_entries(&text);
            entries.retain(|[host, login, password]| {
                let is_it =
                    |machine: &Machine| [&machine.host, &machine.login, &machine.password] == [host, login, password];
                !taken.iter().any(|(machine, _)| is_it(machine))
            });
            assert_eq!(all_entries(&rest), (entries, skipped), "{text:?} became {rest:?}");
        }
    }

    #[test]
    fn reads_generated_files_as_python_does() {
        let mut generator = Generator::new(6);
        let texts: Vec<String> = (0..6000).map(|_| generated_text(&mut generator)).collect();
        let Some(read) = read_by_python(&texts) else { return };
        let mut agreed = 0;
        for (text, hosts) in texts.iter().zip(read) {
            let Some(hosts) = hosts else { continue };
            let mut parser = Parser::new(text);
            let entries = parser.entries();
            if !parser.skipped.is_empty() {
                continue;
            }
            // Of two entries for a host, Python uses the last one.
            let last: BTreeMap<_, _> = entries.iter().map(|entry| (&entry.host, entry)).collect();
            for (host, entry) in last.into_iter().filter(|(host, _)| !host.is_empty()) {
                let [login, _, password] = &hosts[host];
                agreed += 1;
                assert_eq!((&entry.login, &entry.password), (login, password), "{host} in {text:?}");
            }
        }
        assert!(agreed > 100, "only {agreed} entries were compared");
    }
}
