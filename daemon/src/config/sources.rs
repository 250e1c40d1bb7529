//! Where a registry's credential comes from: `source`, in all its forms, and `credential-of`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use regauth_shared::RegistryName;
use toml::Spanned;

use crate::config::registries::any_text;
use crate::config::section::{Keys, Section};
use crate::credential::source::preset::{self, COMMAND_TIMEOUT, PRESETS, Preset};
use crate::registry::{Command, Output, Registry, Source, is_variable_name};

/// Reads both keys, of which a registry has at most one.
pub(super) fn source(section: &mut Section<'_, '_>) -> Source {
    if section.has("credential-of") {
        if section.has("source") {
            section.refuse(
                "credential-of",
                "the registry has a `source` besides; remove one of them",
            );
        }
        let owner = section.parsed("credential-of", str::parse);
        return owner
            .filter(|_| !section.has("source"))
            .map_or(Source::Store, Source::Of);
    }
    if !section.has_table("source") {
        return section.parsed("source", str::parse).unwrap_or(Source::Store);
    }
    let read = match section.peek("source", "preset").map(Preset::find) {
        Some(Some(preset)) => {
            let keys: Vec<_> = preset.keys.iter().chain(PRESET).copied().collect();
            let table = section.section("source", keys);
            table.and_then(|mut table| from_preset(&mut table, preset))
        }
        Some(None) => {
            let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
            if let Some(mut table) = section.names("source") {
                table.refuse("preset", format_args!("a preset is one of {}", names.join(", ")));
            }
            None
        }
        None => section.section("source", COMMAND).map(|mut table| command(&mut table)),
    };
    read.map_or(Source::Store, Source::Command)
}

fn from_preset(section: &mut Section<'_, '_>, preset: &'static Preset) -> Option<Command> {
    let mut values = BTreeMap::new();
    for (key, _) in preset.keys {
        let value = section.parsed(key, |text| preset::check(text).map(str::to_owned));
        values.extend(value.map(|value| (*key, value)));
    }
    let filled = preset.fill(values);
    let mut command = match filled {
        Ok(command) => command,
        Err(unfilled) => {
            if !section.has(unfilled.key) {
                section.refuse_missing(unfilled.key, unfilled);
            }
            return None;
        }
    };
    times(section, &mut command);
    Some(command)
}

fn command(section: &mut Section<'_, '_>) -> Command {
    let words = section.list("command", any_text);
    let words: Vec<_> = words.into_iter().flatten().map(Spanned::into_inner).collect();
    if !section.has("command") {
        section.refuse_missing("command", "the program and its arguments");
    } else if section.has_empty_list("command") || words.first().is_some_and(String::is_empty) {
        section.refuse(
            "command",
            "the program comes first, then its arguments; there is no shell",
        );
    }
    let mut command = Command {
        command: words,
        output: output(section),
        ttl: None,
        timeout: COMMAND_TIMEOUT,
        environment: Vec::new(),
        preset: None,
    };
    times(section, &mut command);
    let names = section.list("env", variable);
    command.environment = names.into_iter().flatten().map(Spanned::into_inner).collect();
    command
}

fn times(section: &mut Section<'_, '_>, command: &mut Command) {
    command.ttl = section.parsed("ttl", lifetime);
    command.timeout = section.parsed("timeout", lifetime).unwrap_or(COMMAND_TIMEOUT);
}

fn output(section: &mut Section<'_, '_>) -> Output {
    let format = section.parsed("format", |word| match word {
        "raw" | "json" => Ok(word.to_owned()),
        _ => Err("a format is raw or json"),
    });
    if format.as_deref() == Some("json") {
        if !section.has("token") {
            section.refuse_missing("token", "the JSON pointer to the token");
        }
        return Output::Json {
            token: section.parsed("token", json_pointer).unwrap_or_default(),
            expires: section.parsed("expires", json_pointer),
        };
    }
    let surely_raw = format.is_some() || !section.has("format");
    for key in ["token", "expires"] {
        if surely_raw && section.has(key) {
            section.refuse(key, "it is a pointer into JSON; add format = \"json\" or remove it");
        }
    }
    Output::Raw
}

/// The name of a variable, to be passed on.
pub(crate) fn variable(text: &str) -> Result<String, &'static str> {
    if is_variable_name(text) {
        Ok(text.to_owned())
    } else {
        Err("expected the name of an environment variable")
    }
}

/// RFC 6901, section 3.
pub(crate) fn json_pointer(text: &str) -> Result<String, &'static str> {
    let well_escaped = text.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    if text.starts_with('/') && well_escaped {
        Ok(text.to_owned())
    } else {
        Err("expected a JSON pointer such as \"/Credentials/Token\"")
    }
}

/// A duration that something can take.
pub(crate) fn lifetime(text: &str) -> Result<Duration, &'static str> {
    match super::duration(text)? {
        Duration::ZERO => Err("it must be longer than zero"),
        duration => Ok(duration),
    }
}

/// A registry that uses another's credential, and where it says so.
pub(super) struct Borrowing {
    at: usize,
    name: RegistryName,
}

impl Borrowing {
    /// What has to be judged when all registries are known.
    pub(super) fn of(section: &Section<'_, '_>, name: &RegistryName, registry: &Registry) -> Option<Self> {
        match registry.source {
            Source::Of(_) => Some(Self {
                at: section.place("credential-of"),
                name: name.clone(),
            }),
            _ => None,
        }
    }
}

/// Whoever borrows must end at a registry that has a source.
pub(super) fn record_outcome(
    tables: &mut Section<'_, '_>,
    borrowings: &[Borrowing],
    registries: &BTreeMap<RegistryName, Registry>,
) {
    for Borrowing { at, name } in borrowings {
        if let Err(reason) = owner(registries, name) {
            tables.refuse_name(*at, format_args!("`credential-of` in [registries.{name}]: {reason}"));
        }
    }
}

/// The registry whose credential `name` uses in the end: itself, where it has a source.
///
/// # Errors
/// It leads nowhere, or in a circle. The name that it leads to is not repeated: it may be a token in the wrong place.
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

pub(super) const COMMAND: Keys = &[
    ("command", r#"["aws", "codeartifact", "get-authorization-token"]"#),
    ("preset", r#""codeartifact""#),
    ("format", r#""json""#),
    ("token", r#""/authorizationToken""#),
    ("expires", r#""/expiration""#),
    ("ttl", r#""11h""#),
    ("timeout", r#""20s""#),
    ("env", r#"["AWS_PROFILE"]"#),
];

/// What a preset's table may have besides its own keys.
const PRESET: Keys = &[
    ("preset", r#""codeartifact""#),
    ("ttl", r#""11h""#),
    ("timeout", r#""20s""#),
];
