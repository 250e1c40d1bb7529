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
    let text = "machine a.example\n  login me\n  password #s3cret-one\nmachine b.example login you password tok#two\n";
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
