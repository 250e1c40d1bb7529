//! TOML of a registry, for edits of `config.toml`.

use std::path::Path;

use serde_json::Value as Json;
use sha2::{Digest as _, Sha256};
use toml_edit::{Array, InlineTable, Table, Value};

use crate::credential::source::exchange::Mint;
use crate::credential::source::identity::Identity;
use crate::credential::source::preset::COMMAND_TIMEOUT;
use crate::policy::Rejections;
use crate::registry::{Command, Kind, Output, Registry, Source, Writes};

/// Table of a registry: the keys whose value is not the default, and always its scopes.
pub(super) fn table(registry: &Registry) -> Table {
    let is_usual = registry.scheme == registry.source.usual_scheme(registry.kind);
    let mut table = Table::new();
    let mut put = |key: &str, value: Option<Value>| {
        table.extend(value.map(|value| (key, value)));
    };
    put(
        "kind",
        (registry.kind != Kind::default()).then(|| registry.kind.as_str().into()),
    );
    put("index", registry.index.as_ref().map(|index| index.to_string().into()));
    put("scopes", Some(Value::Array(array(&registry.scopes))));
    put("scheme", (!is_usual).then(|| registry.scheme.to_string().into()));
    put(
        "username",
        registry.scheme.username().filter(|_| !is_usual).map(Value::from),
    );
    put("source", source(&registry.source));
    if let Source::Of(owner) = &registry.source {
        put("credential-of", Some(owner.as_str().into()));
    }
    let token_service = registry.token_service.as_ref();
    put("token-service", token_service.map(|url| url.to_string().into()));
    put(
        "writes",
        (registry.writes != Writes::default()).then(|| registry.writes.as_str().into()),
    );
    let programs = &registry.programs;
    put(
        "programs",
        (!programs.is_empty()).then(|| Value::Array(programs.iter().map(ToString::to_string).collect())),
    );
    let rejected_by = &registry.rejected_by;
    put(
        "rejected-by",
        (*rejected_by != Rejections::default()).then(|| Value::Array(rejected_by.iter().map(i64::from).collect())),
    );
    put("read-ahead", (!registry.read_ahead).then(|| false.into()));
    put("ca-file", registry.ca_file.as_deref().map(path));
    let identity = registry.client_identity.as_ref();
    put("client-cert", identity.map(|identity| path(&identity.certificate)));
    put("client-key", identity.map(|identity| path(&identity.key)));
    table
}

/// Name of a source that stores a secret, with a digest of its settings: a service named by them gets the secret.
pub(crate) fn source_record(source: &Source) -> String {
    let Source::Minted(mint) = source else {
        return source.to_string();
    };
    let mut settings = mint_table(mint);
    // A lifetime sends nothing elsewhere.
    settings.remove("ttl");
    let digest = Sha256::digest(settings.to_string());
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{mint}, SHA-256 {digest}")
}

/// Inline table of a registry, for a file that writes `registries = { … }`.
pub(super) fn inline_table(registry: &Registry) -> Value {
    Value::InlineTable(table(registry).into_inline_table())
}

/// Value of a request as TOML; `None` for `null`.
///
/// # Errors
/// A sentence about a value that no key has.
pub(super) fn from_json(value: &Json) -> Result<Option<Value>, &'static str> {
    const UNSUITABLE: &str = "a value is a text, a list of texts or of integers, true or false, or a table of them";
    Ok(Some(match value {
        Json::Null => return Ok(None),
        Json::String(text) => text.into(),
        Json::Bool(boolean) => (*boolean).into(),
        Json::Array(list) if list.iter().any(Json::is_i64) => {
            let integers: Option<Array> = list.iter().map(Json::as_i64).collect();
            integers.ok_or(UNSUITABLE)?.into()
        }
        Json::Array(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(Json::as_str).collect();
            array(&texts.ok_or(UNSUITABLE)?).into()
        }
        Json::Object(fields) => {
            let mut table = InlineTable::new();
            for (key, field) in fields {
                table.extend(from_json(field)?.map(|field| (key, field)));
            }
            table.into()
        }
        Json::Number(_) => return Err(UNSUITABLE),
    }))
}

fn source(source: &Source) -> Option<Value> {
    match source {
        Source::Store | Source::Of(_) => None,
        Source::Environment(name) => Some(format!("env:{name}").into()),
        Source::File(path) => Some(format!("file:{}", path.display()).into()),
        Source::Command(command) => Some(Value::InlineTable(command_table(command).into_inline_table())),
        Source::Minted(mint) => Some(Value::InlineTable(mint_table(mint).into_inline_table())),
    }
}

/// Settings of an exchange, and its identity.
pub(super) fn mint_table(mint: &Mint) -> Table {
    let mut table = Table::new();
    table.extend([("exchange", mint.settings.exchange())]);
    table.extend(mint.settings.values());
    match &mint.identity {
        Identity::Found => {}
        Identity::Command(command) => {
            let command = Value::InlineTable(command_table(command).into_inline_table());
            table.extend([("identity", command)]);
        }
        identity => table.extend([("identity", identity.to_string())]),
    }
    table
}

fn command_table(command: &Command) -> Table {
    let mut table = Table::new();
    let mut put = |key: &str, value: Option<Value>| {
        table.extend(value.map(|value| (key, value)));
    };
    if let Some(choice) = &command.preset {
        put("preset", Some(choice.preset.into()));
        for (key, value) in &choice.values {
            put(key, Some(value.into()));
        }
    } else {
        put("command", Some(command.command.iter().collect::<Array>().into()));
        if let Output::Json { token, expires } = &command.output {
            put("format", Some("json".into()));
            put("token", Some(token.into()));
            put("expires", expires.as_ref().map(Value::from));
        }
        let names = &command.environment;
        put(
            "env",
            (!names.is_empty()).then(|| names.iter().collect::<Array>().into()),
        );
    }
    let duration = |duration| humantime::format_duration(duration).to_string().into();
    put("ttl", command.ttl.map(duration));
    put(
        "timeout",
        (command.timeout != COMMAND_TIMEOUT).then(|| duration(command.timeout)),
    );
    table
}

/// Array of strings. Several elements get a line each, so that a person can comment on each.
pub(super) fn array<T: ToString>(list: &[T]) -> Array {
    let mut array: Array = list.iter().map(T::to_string).collect();
    if array.len() > 1 {
        array
            .iter_mut()
            .for_each(|value| value.decor_mut().set_prefix("\n    "));
        array.set_trailing("\n");
        array.set_trailing_comma(true);
    }
    array
}

/// Path as a string. Every path in a [`Registry`] was read from text, so nothing is lost.
fn path(path: &Path) -> Value {
    path.display().to_string().into()
}
