//! Reads the text of a team's file into definitions. Pure.
//!
//! Every problem is reported at once. A key that would open something on this machine is refused with the reason.

mod table;

use regauth_shared::{ErrorBody, RegistryName};
use toml_edit::{Document, Item, TableLike};

use self::table::Reader;
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
mod tests;
