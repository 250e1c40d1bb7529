//! Reads the text of a team's file into definitions. Pure.
//!
//! Every problem is reported at once. A key that would open something on this machine is refused with the reason.

use regauth_shared::{ErrorBody, RegistryName};
use toml_edit::{Document, Item, TableLike, Value};

use super::FORMAT;
use super::problems::Problems;
use crate::presets::{self, Preset};

/// Registry of a team's file.
#[derive(Clone, Debug)]
pub(crate) struct Definition {
    /// Name.
    pub(crate) name: RegistryName,
    /// Index, as cargo has it.
    pub(crate) index: Option<String>,
    /// Scopes.
    pub(crate) scopes: Vec<String>,
    /// Kind.
    pub(crate) kind: Option<String>,
    /// Scheme.
    pub(crate) scheme: Option<String>,
    /// User name, if all colleagues share it.
    pub(crate) username: Option<String>,
    /// Token service of a container registry, which gets the token too.
    pub(crate) token_service: Option<String>,
    /// Source in its short form: `store` or an exchange.
    pub(crate) source: Option<String>,
    /// Programs that may use the registry.
    pub(crate) programs: Vec<String>,
    /// Statuses with which the registry rejects a token.
    pub(crate) rejected_by: Vec<u16>,
    /// True if entries of the index are read ahead.
    pub(crate) read_ahead: Option<bool>,
    /// Name of a PEM file beside the team's file.
    pub(crate) ca_file: Option<String>,
    /// Product, which sets what the other keys leave open.
    pub(crate) preset: Option<&'static Preset>,
}

/// Reads a text. `file` is its name in messages.
///
/// # Errors
/// Every problem with line and column; a newer format.
pub(crate) fn read(text: &str, file: &str) -> Result<Vec<Definition>, ErrorBody> {
    let mut problems = Problems::new(text, file);
    let document = match Document::parse(text) {
        Ok(document) => document,
        Err(error) => {
            problems.report(error.span().map_or(0, |span| span.start), error.message());
            return problems.finish(Vec::new());
        }
    };
    let top = document.as_table();
    if let Some(offset) = newer_format(top, &mut problems) {
        problems = Problems::new(text, file);
        problems.report(
            offset,
            format!("a newer release has written this file: this one reads format {FORMAT}; update regauthctl"),
        );
        return problems.finish(Vec::new());
    }
    reject_unknown(top, &TOP_KEYS, &mut problems);
    let mut definitions = Vec::new();
    match top.get("registries").map(|item| (item, item.as_table_like())) {
        Some((_, Some(tables))) => {
            for (name, item) in tables.iter() {
                definitions.extend(definition(tables, name, item, &mut problems));
            }
        }
        Some((item, None)) => problems.report(offset(item), "`registries` is a table: [registries.NAME]"),
        None => problems.report(0, "the file has no registry: [registries.NAME]"),
    }
    problems.finish(definitions)
}

/// Offset of the format, if it is newer than ours.
fn newer_format(top: &dyn TableLike, problems: &mut Problems<'_>) -> Option<usize> {
    let item = top.get("format")?;
    match item.as_integer() {
        Some(format) if format > FORMAT => return Some(offset(item)),
        Some(FORMAT) => {}
        _ => problems.report(offset(item), format!("`format` is {FORMAT}")),
    }
    None
}

fn definition(tables: &dyn TableLike, name: &str, item: &Item, problems: &mut Problems<'_>) -> Option<Definition> {
    let at = key_offset(tables, name).unwrap_or_else(|| offset(item));
    let parsed = name.parse::<RegistryName>();
    if let Err(invalid) = &parsed {
        problems.report(at, invalid.to_string());
    }
    let Some(table) = item.as_table_like() else {
        problems.report(at, "a registry is a table: [registries.NAME]");
        return None;
    };
    reject_unknown(table, &KEYS, problems);
    let mut reader = Reader { table, problems };
    let mut definition = Definition {
        index: reader.text("index"),
        scopes: reader.texts("scopes"),
        kind: reader.text("kind"),
        scheme: reader.text("scheme"),
        username: reader.text("username"),
        token_service: reader.text("token-service"),
        source: reader.source(),
        programs: reader.texts("programs"),
        rejected_by: reader.statuses("rejected-by"),
        read_ahead: reader.boolean("read-ahead"),
        ca_file: reader.ca_file(),
        preset: reader.preset(),
        name: parsed.ok()?,
    };
    definition.apply_preset();
    Some(definition)
}

impl Definition {
    /// Sets the keys that the file leaves open to those of its preset.
    fn apply_preset(&mut self) {
        let Some(preset) = self.preset else {
            return;
        };
        if self.rejected_by.is_empty() {
            self.rejected_by = preset.rejected_by.to_vec();
        }
        if self.scheme.is_none() {
            if let (presets::Username::Fixed(username), None) = (&preset.username, &self.username) {
                self.username = Some((*username).to_owned());
            }
            self.scheme = preset.scheme_for(self.username.as_deref()).map(str::to_owned);
        }
        if self.kind.is_none() && self.index.is_none() && preset.name == "github" {
            self.kind = Some("git".to_owned());
        }
    }
}

/// Reader of one registry's table.
struct Reader<'a, 'p, 't> {
    table: &'a dyn TableLike,
    problems: &'p mut Problems<'t>,
}

impl Reader<'_, '_, '_> {
    fn text(&mut self, key: &str) -> Option<String> {
        let item = self.table.get(key)?;
        let text = item.as_str();
        if text.is_none() {
            self.problems
                .report(offset(item), format!("`{key}` is a text in quotes"));
        }
        text.map(str::to_owned)
    }

    fn boolean(&mut self, key: &str) -> Option<bool> {
        let item = self.table.get(key)?;
        let boolean = item.as_bool();
        if boolean.is_none() {
            self.problems.report(offset(item), format!("`{key}` is true or false"));
        }
        boolean
    }

    fn texts(&mut self, key: &str) -> Vec<String> {
        let Some(item) = self.table.get(key) else {
            return Vec::new();
        };
        let texts = item
            .as_array()
            .and_then(|array| array.iter().map(Value::as_str).collect::<Option<Vec<_>>>());
        match texts {
            Some(texts) if !texts.is_empty() => texts.into_iter().map(str::to_owned).collect(),
            _ => {
                self.problems
                    .report(offset(item), format!("`{key}` is a list of texts: [\"…\"]"));
                Vec::new()
            }
        }
    }

    /// The daemon knows which statuses can reject a token.
    fn statuses(&mut self, key: &str) -> Vec<u16> {
        let Some(item) = self.table.get(key) else {
            return Vec::new();
        };
        let status = |value: &Value| value.as_integer().and_then(|number| u16::try_from(number).ok());
        let statuses = item
            .as_array()
            .and_then(|array| array.iter().map(status).collect::<Option<Vec<_>>>());
        statuses.filter(|statuses| !statuses.is_empty()).unwrap_or_else(|| {
            self.problems
                .report(offset(item), format!("`{key}` is a list of statuses: [401, 403]"));
            Vec::new()
        })
    }

    fn preset(&mut self) -> Option<&'static Preset> {
        let name = self.text("preset")?;
        let preset = presets::all().iter().find(|preset| preset.name == name);
        if preset.is_none() {
            let names: Vec<_> = presets::all().iter().map(|preset| preset.name).collect();
            let at = self.table.get("preset").map_or(0, offset);
            self.problems
                .report(at, format!("`preset` is one of {}", names.join(", ")));
        }
        preset
    }

    /// The name of a file below the folder of the team's file.
    fn ca_file(&mut self) -> Option<String> {
        let path = self.text("ca-file")?;
        if super::certificates::is_beside(&path) {
            return Some(path);
        }
        let at = self.table.get("ca-file").map_or(0, offset);
        self.problems.report(
            at,
            "`ca-file` names a file beside this one: no absolute path, and no `..`",
        );
        None
    }

    /// The store or an exchange, in the short form of `--source`.
    fn source(&mut self) -> Option<String> {
        let item = self.table.get("source")?;
        let source = match item.as_table_like() {
            Some(table) => exchange(table),
            None => item.as_str().map(str::to_owned).ok_or(NOT_PORTABLE),
        };
        match source {
            Ok(source) if is_portable(&source) => Some(source),
            Ok(_) => {
                self.problems.report(offset(item), NOT_PORTABLE);
                None
            }
            Err(reason) => {
                self.problems.report(offset(item), reason);
                None
            }
        }
    }
}

/// Short form of a table such as `{ exchange = "jfrog", host = "…" }`.
fn exchange(table: &dyn TableLike) -> Result<String, &'static str> {
    let name = table.get("exchange").and_then(Item::as_str).ok_or(NOT_PORTABLE)?;
    let mut pairs = Vec::new();
    for (key, item) in table.iter().filter(|(key, _)| *key != "exchange") {
        let value = item.as_str().ok_or(NOT_PORTABLE)?;
        if value.contains(',') {
            return Err("a value of an exchange contains no comma");
        }
        pairs.push(format!("{key}={value}"));
    }
    Ok(match pairs.is_empty() {
        true => name.to_owned(),
        false => format!("{name}:{}", pairs.join(",")),
    })
}

/// False for sources that read a file or variable. The daemon also refuses presets, which run programs.
fn is_portable(source: &str) -> bool {
    let reads_machine = |value: &str| value.starts_with("env:") || value.starts_with("file:");
    let values = source.split(',').filter_map(|pair| pair.split_once('='));
    !reads_machine(source) && values.into_iter().all(|(_, value)| !reads_machine(value))
}

fn reject_unknown(table: &dyn TableLike, known: &[&str], problems: &mut Problems<'_>) {
    for (key, item) in table.iter().filter(|(key, _)| !known.contains(key)) {
        let at = key_offset(table, key).unwrap_or_else(|| offset(item));
        let reason = REFUSED
            .iter()
            .find(|(refused, _)| *refused == key)
            .map(|(_, reason)| *reason);
        let message = match (reason, nearest(key, known)) {
            (Some(reason), _) => reason.to_owned(),
            (None, Some(nearest)) => format!("unknown key; did you mean `{nearest}`?"),
            (None, None) => format!("unknown key; known are {}", known.join(", ")),
        };
        problems.report(at, message);
    }
}

fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    let distances = known
        .iter()
        .map(|known| (strsim::damerau_levenshtein(key, known), *known));
    let (distance, nearest) = distances.min()?;
    (distance <= 2).then_some(nearest)
}

fn key_offset(table: &dyn TableLike, key: &str) -> Option<usize> {
    table.key(key)?.span().map(|span| span.start)
}

fn offset(item: &Item) -> usize {
    item.span().map_or(0, |span| span.start)
}

const TOP_KEYS: [&str; 2] = ["format", "registries"];

const KEYS: [&str; 12] = [
    "preset",
    "kind",
    "index",
    "scopes",
    "scheme",
    "username",
    "token-service",
    "source",
    "programs",
    "rejected-by",
    "read-ahead",
    "ca-file",
];

/// Keys of `config.toml`, and others that people try, that a shared file must not have.
const REFUSED: [(&str, &str); 7] = [
    (
        "writes",
        "a file that others wrote opens no writes; each person does, with `regauthctl allow`",
    ),
    ("token", NO_TOKEN),
    ("password", NO_TOKEN),
    ("credential-of", "each registry of a shared file has a token of its own"),
    ("client-cert", CLIENT_CERTIFICATE),
    ("client-key", CLIENT_CERTIFICATE),
    ("command", NOT_PORTABLE),
];

const NO_TOKEN: &str = "a shared file has no token; each person types one";
const CLIENT_CERTIFICATE: &str = "a client certificate is a file of one person; each sets it with `regauthctl set`";
const NOT_PORTABLE: &str =
    "the source of a shared definition is \"store\" or an exchange, but no command, path or variable";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::generated::Generator;

    fn problems(text: &str) -> String {
        read(text, "regauth.toml").unwrap_err().message
    }

    #[test]
    fn reads_every_key() {
        let text = r#"
            format = 1
            [registries.corp]
            preset = "azure"
            kind = "cargo"
            index = "sparse+https://corp.example/index/"
            scopes = ["https://corp.example/"]
            source = { exchange = "azure", tenant = "t", client-id = "c", identity = "device" }
            programs = ["cargo"]
            rejected-by = [401]
            read-ahead = false
            ca-file = "certificates/corp.pem"
            [registries.images]
            kind = "oci"
            scopes = ["https://images.example/v2/"]
            token-service = "https://auth.example/token"
        "#;
        let read = read(text, "regauth.toml").unwrap();
        let corp = &read[0];
        assert_eq!(
            corp.source.as_deref(),
            Some("azure:tenant=t,client-id=c,identity=device")
        );
        assert_eq!(
            (corp.scheme.as_deref(), corp.username.as_deref()),
            (Some("basic"), Some("PAT"))
        );
        assert_eq!((corp.read_ahead, corp.programs.len()), (Some(false), 1));
        assert_eq!(corp.rejected_by, [401]);
        assert_eq!(corp.ca_file.as_deref(), Some("certificates/corp.pem"));
        assert_eq!((&corp.token_service, read.len()), (&None, 2));
        assert_eq!(read[1].token_service.as_deref(), Some("https://auth.example/token"));
    }

    #[test]
    fn every_problem_is_reported_with_its_line() {
        let text = "colour = 1\n[registries.corp]\nidnex = 'x'\nscopes = 'x'\ntoken = 's3cret'\n\n[registries.'a b']\n";
        let message = problems(text);
        for line in [
            "regauth.toml:1:1: unknown key",
            "regauth.toml:3:1: unknown key; did you mean `index`?",
            "regauth.toml:4:10: `scopes` is a list of texts",
            "regauth.toml:5:1: a shared file has no token",
            "regauth.toml:7:",
        ] {
            assert!(message.contains(line), "{line}\n{message}");
        }
        assert!(!message.contains("s3cret"), "{message}");
        assert!(problems("[registries.corp\n").contains("regauth.toml:1:"));
    }

    #[test]
    fn a_newer_format_is_refused_with_its_line_and_nothing_else_is_read() {
        let message = problems("# head\nformat = 2\n[registries.corp]\nmystery = 1\n");
        assert!(message.contains("regauth.toml:2:10: a newer release"), "{message}");
        assert!(!message.contains("unknown"), "{message}");
        assert!(problems("format = 'x'\n").contains("`format` is 1"));
    }

    #[test]
    fn a_source_that_reads_the_machine_or_runs_something_is_refused() {
        for source in [
            "'env:TOKEN'",
            "'file:/etc/passwd'",
            "{ command = ['sh', '-c', 'x'] }",
            "{ exchange = 'jfrog', host = 'h', provider = 'p', identity = 'file:/x' }",
            "{ exchange = 'jfrog', host = 'h', provider = 'p', identity = { command = ['x'] } }",
            "'github-app:client-id=c,private-key=env:KEY'",
            "{ exchange = 'jfrog', host = 'h,identity=env:X' }",
            "1",
        ] {
            let text = format!("[registries.corp]\nindex = 'sparse+https://x/'\nsource = {source}\n");
            assert!(problems(&text).contains("regauth.toml:3:10"), "{source}");
        }
        let key = "[registries.corp]\nwrites = 'allow'\nclient-key = '/k'\ncredential-of = 'other'\n";
        let message = problems(key);
        assert_eq!(message.lines().count(), 4, "{message}");
    }

    /// Any text gives definitions or problems with lines, and no message has a value.
    #[test]
    fn hostile_texts_give_problems_and_never_show_a_value() {
        let pieces = [
            "[registries.corp]\n",
            "[registries",
            ".'a.b'",
            "]\n",
            "index = ",
            "scopes = [",
            "'c4nary'",
            "\"c4nary\\u202e\"",
            ", ",
            "]",
            "source = {",
            " exchange = ",
            "}",
            "\n",
            "ca-file = ",
            "'../c4nary'",
            "format = ",
            "2",
            "-1",
            "1e9",
            "read-ahead = ",
            "rejected-by = [401, ",
            "true",
            "token = ",
            "# c4nary\n",
            "\u{0}",
            "\u{feff}",
            "=",
            "\r\n",
            "registries = 1\n",
            "preset = 'c4nary'\n",
        ];
        let mut generator = Generator::new(7);
        for _ in 0..5000 {
            let text = generator.text(&pieces, 24);
            let Err(error) = read(&text, "regauth.toml") else {
                continue;
            };
            assert!(!error.message.contains("c4nary"), "{text:?}\n{}", error.message);
            let mut lines = error.message.lines().skip(1);
            assert!(
                lines.all(|line| line.starts_with("regauth.toml:")),
                "{text:?}\n{}",
                error.message
            );
        }
    }

    #[test]
    fn a_ca_file_lies_beside_the_file() {
        for path in [
            "/etc/ca.pem",
            "../ca.pem",
            "a/../../ca.pem",
            "",
            ".",
            "a//b",
            "~/ca.pem/..",
        ] {
            let text = format!("[registries.corp]\nca-file = '{path}'\n");
            assert!(problems(&text).contains("regauth.toml:2:11"), "{path}");
        }
    }
}
