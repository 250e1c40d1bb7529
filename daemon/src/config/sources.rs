//! Keys `source` and `credential-of`: the source of a registry's credential.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use regauth_shared::RegistryName;
use toml::Spanned;

use crate::config::registries::any_text;
use crate::config::table_reader::{KnownKeys, TableReader};
use crate::credential::source::exchange::settings::Settings;
use crate::credential::source::exchange::{COMMON_KEYS, ExchangeKind, Mint};
use crate::credential::source::identity::Identity;
use crate::credential::source::preset::{self, COMMAND_TIMEOUT, PRESETS, Preset};
use crate::registry::{Command, Output, Registry, Source, exchange_names, is_variable_name};

/// Reads `source` or `credential-of`; a registry has at most one of them.
pub(super) fn source(table: &mut TableReader<'_, '_>) -> Source {
    if table.has("credential-of") {
        if table.has("source") {
            table.reject("credential-of", "the registry has a `source` too; remove one of them");
        }
        let owner = table.parsed("credential-of", str::parse);
        return owner.filter(|_| !table.has("source")).map_or(Source::Store, Source::Of);
    }
    if !table.has_table("source") {
        return table.parsed("source", str::parse).unwrap_or(Source::Store);
    }
    if table.peek("source", "exchange").is_some() {
        return exchange(table).map_or(Source::Store, |mint| Source::Minted(Box::new(mint)));
    }
    let read = match table.peek("source", "preset").map(Preset::find) {
        Some(Some(preset)) => {
            let keys: Vec<_> = preset.keys.iter().chain(PRESET_KEYS).copied().collect();
            let table = table.table("source", keys);
            table.and_then(|mut table| from_preset(&mut table, preset))
        }
        Some(None) => {
            let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
            if let Some(mut table) = table.table_of_names("source") {
                table.reject("preset", format_args!("a preset is one of {}", names.join(", ")));
            }
            None
        }
        None => table.table("source", COMMAND_KEYS).map(|mut table| command(&mut table)),
    };
    read.map_or(Source::Store, Source::Command)
}

/// Reads a table with `exchange`.
fn exchange(table: &mut TableReader<'_, '_>) -> Option<Mint> {
    let Some(kind) = table.peek("source", "exchange").and_then(ExchangeKind::find) else {
        let mut table = table.table_of_names("source")?;
        table.reject("exchange", format_args!("an exchange is one of {}", exchange_names()));
        return None;
    };
    let own = kind.keys.iter().chain(COMMON_KEYS).map(|key| (key.name, key.example));
    let keys: Vec<_> = own.chain(EXCHANGE_KEYS.iter().copied()).collect();
    let mut table = table.table("source", keys)?;
    let mut settings = Settings::new(kind.name);
    for key in kind.keys.iter().chain(COMMON_KEYS) {
        table.parsed(key.name, |text| settings.set(key, text));
    }
    let identity = identity(&mut table)?;
    match kind.mint(settings, identity) {
        Ok(mint) => Some(mint),
        Err(invalid) if invalid.is_missing => {
            if !table.has(invalid.key) {
                table.reject_missing(invalid.key, invalid.reason);
            }
            None
        }
        Err(invalid) => {
            table.reject(invalid.key, invalid.reason);
            None
        }
    }
}

/// Reads `identity`: a text, or a table with a command that prints it.
fn identity(table: &mut TableReader<'_, '_>) -> Option<Identity> {
    if !table.has_table("identity") {
        let given = table.has("identity");
        let identity = table.parsed("identity", Identity::from_str);
        return identity.or_else(|| (!given).then_some(Identity::Found));
    }
    let mut table = table.table("identity", COMMAND_KEYS)?;
    Some(Identity::Command(command(&mut table)))
}

fn from_preset(table: &mut TableReader<'_, '_>, preset: &'static Preset) -> Option<Command> {
    let mut values = BTreeMap::new();
    for (key, _) in preset.keys {
        let value = table.parsed(key, |text| preset::check(text).map(str::to_owned));
        values.extend(value.map(|value| (*key, value)));
    }
    let filled = preset.fill(values);
    let mut command = match filled {
        Ok(command) => command,
        Err(unfilled) => {
            if !table.has(unfilled.key) {
                table.reject_missing(unfilled.key, unfilled);
            }
            return None;
        }
    };
    times(table, &mut command);
    Some(command)
}

fn command(table: &mut TableReader<'_, '_>) -> Command {
    let words = table.list("command", any_text);
    let words: Vec<_> = words.into_iter().flatten().map(Spanned::into_inner).collect();
    if !table.has("command") {
        table.reject_missing("command", "the program and its arguments");
    } else if table.has_empty_list("command") || words.first().is_some_and(String::is_empty) {
        table.reject(
            "command",
            "the program comes first, then its arguments; there is no shell",
        );
    }
    let mut command = Command {
        command: words,
        output: output(table),
        ttl: None,
        timeout: COMMAND_TIMEOUT,
        environment: Vec::new(),
        preset: None,
    };
    times(table, &mut command);
    let names = table.list("env", variable);
    command.environment = names.into_iter().flatten().map(Spanned::into_inner).collect();
    command
}

fn times(table: &mut TableReader<'_, '_>, command: &mut Command) {
    command.ttl = table.parsed("ttl", lifetime);
    command.timeout = table.parsed("timeout", lifetime).unwrap_or(COMMAND_TIMEOUT);
}

fn output(table: &mut TableReader<'_, '_>) -> Output {
    let format = table.parsed("format", |word| match word {
        "raw" | "json" => Ok(word.to_owned()),
        _ => Err("a format is raw or json"),
    });
    if format.as_deref() == Some("json") {
        if !table.has("token") {
            table.reject_missing("token", "the JSON pointer to the token");
        }
        return Output::Json {
            token: table.parsed("token", json_pointer).unwrap_or_default(),
            expires: table.parsed("expires", json_pointer),
        };
    }
    let surely_raw = format.is_some() || !table.has("format");
    for key in ["token", "expires"] {
        if surely_raw && table.has(key) {
            table.reject(key, "it is a pointer into JSON; add format = \"json\" or remove it");
        }
    }
    Output::Raw
}

/// Checks the name of an environment variable.
pub(crate) fn variable(text: &str) -> Result<String, &'static str> {
    if is_variable_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of an environment variable")
    }
}

/// Checks a JSON pointer (RFC 6901, table 3).
pub(crate) fn json_pointer(text: &str) -> Result<String, &'static str> {
    let well_escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && well_escaped {
        Ok(text.to_owned())
    } else {
        Err("expected a JSON pointer such as \"/Credentials/Token\"")
    }
}

/// Parses a duration longer than zero.
pub(crate) fn lifetime(text: &str) -> Result<Duration, &'static str> {
    match super::duration(text)? {
        Duration::ZERO => Err("it must be longer than zero"),
        duration => Ok(duration),
    }
}

/// `credential-of` of one registry, with its byte offset.
pub(super) struct CredentialReference {
    offset: usize,
    name: RegistryName,
}

impl CredentialReference {
    /// Reference of a registry, to check once all registries are known.
    pub(super) fn of(table: &TableReader<'_, '_>, name: &RegistryName, registry: &Registry) -> Option<Self> {
        match registry.source {
            Source::Of(_) => Some(Self {
                offset: table.offset("credential-of"),
                name: name.clone(),
            }),
            _ => None,
        }
    }
}

/// Checks that every reference ends at a registry with a source.
pub(super) fn check_references(
    tables: &mut TableReader<'_, '_>,
    references: &[CredentialReference],
    registries: &BTreeMap<RegistryName, Registry>,
) {
    for CredentialReference { offset, name } in references {
        if let Err(reason) = owner(registries, name) {
            tables.reject_name(
                *offset,
                format_args!("`credential-of` in [registries.{name}]: {reason}"),
            );
        }
    }
}

/// Registry whose credential `name` uses: its own, or the end of its chain of `credential-of`.
///
/// # Errors
/// A missing registry, or a circle. The message does not repeat the value: it may be a token in the wrong place.
pub(crate) fn owner<'a>(
    registries: &'a BTreeMap<RegistryName, Registry>,
    name: &'a RegistryName,
) -> Result<&'a RegistryName, &'static str> {
    let mut seen = BTreeSet::new();
    let mut name = name;
    while seen.insert(name) {
        match registries.get(name).map(|registry| &registry.source) {
            None => return Err("there is no registry of that name"),
            Some(Source::Of(next)) => name = next,
            Some(_) => return Ok(name),
        }
    }
    Err("it leads back to itself")
}

pub(super) const COMMAND_KEYS: KnownKeys = &[
    ("command", r#"["aws", "codeartifact", "get-authorization-token"]"#),
    ("preset", r#""codeartifact""#),
    ("format", r#""json""#),
    ("token", r#""/authorizationToken""#),
    ("expires", r#""/expiration""#),
    ("ttl", r#""11h""#),
    ("timeout", r#""20s""#),
    ("env", r#"["AWS_PROFILE"]"#),
];

/// Keys that every exchange's table may have besides its own.
const EXCHANGE_KEYS: KnownKeys = &[("exchange", r#""jfrog""#), ("identity", r#""github-actions""#)];

/// Keys that every preset's table may have besides its own.
const PRESET_KEYS: KnownKeys = &[
    ("preset", r#""codeartifact""#),
    ("ttl", r#""11h""#),
    ("timeout", r#""20s""#),
];
