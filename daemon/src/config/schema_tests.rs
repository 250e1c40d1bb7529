//! Tests of `packaging/config.schema.json`, the schema for editors: its keys are those of the parser.

use std::collections::BTreeSet;
use std::path::Path;

use regauth_shared::kind::KINDS;
use serde_json::{Map, Value, json};

use super::{KnownKeys, TOP_KEYS, UPSTREAM_KEYS, gateway, registries, sources};
use crate::credential::source::exchange::{COMMON_KEYS, EXCHANGES};
use crate::credential::source::preset::PRESETS;

fn file() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/config.schema.json")
}

fn read() -> Value {
    serde_json::from_str(&std::fs::read_to_string(file()).unwrap()).unwrap()
}

fn check(object: &Value, keys: KnownKeys) {
    let properties = object["properties"].as_object().unwrap();
    let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
    let known: BTreeSet<&str> = keys.iter().map(|(key, _)| *key).collect();
    assert_eq!(
        described, known,
        "describe a new key in config.schema.json and in man/regauth-config.5"
    );
    assert_eq!(object["additionalProperties"], false, "an unknown key is an error");
}

#[test]
fn the_schema_has_the_keys_of_the_parser() {
    let schema = read();
    check(&schema, TOP_KEYS);
    check(&schema["properties"]["upstream"], UPSTREAM_KEYS);
    check(&schema["properties"]["listen-tls"], gateway::LISTEN_TLS_KEYS);
    check(&schema["properties"]["trust"]["items"], gateway::TRUST_KEYS);
    check(&schema["properties"]["signed-grants"], gateway::SIGNED_GRANTS_KEYS);
    let registry = &schema["properties"]["registries"]["additionalProperties"];
    check(registry, registries::REGISTRY_KEYS);
    assert_eq!(registry["properties"]["kind"]["enum"], json!(KINDS));
    let command: Vec<_> = sources::COMMAND_KEYS
        .iter()
        .filter(|(key, _)| *key != "preset")
        .copied()
        .collect();
    check(&registry["properties"]["source"]["oneOf"][1], command.leak());
}

/// `REGAUTH_BLESS=1 cargo test -p regauthd --lib schema` rewrites the definitions of presets and exchanges.
#[test]
fn the_schema_has_every_preset_and_exchange_with_its_keys() {
    let mut schema = read();
    let presets = PRESETS.iter().map(|preset| {
        let own = preset.keys.iter().map(|(key, _)| *key);
        table("preset", preset.name, own.chain(["ttl", "timeout"]), json!({}))
    });
    let exchanges = EXCHANGES.iter().map(|kind| {
        let own = kind.keys.iter().chain(COMMON_KEYS).map(|key| key.name);
        let command = &schema["properties"]["registries"]["additionalProperties"]["properties"]["source"]["oneOf"][1];
        let identity = json!({"identity": {"oneOf": [{"type": "string"}, command]}});
        table("exchange", kind.name, own, identity)
    });
    let definitions = json!({
        "preset": {"oneOf": presets.collect::<Vec<_>>()},
        "exchange": {"oneOf": exchanges.collect::<Vec<_>>()},
    });
    if std::env::var_os("REGAUTH_BLESS").is_some() {
        schema["$defs"] = definitions.clone();
        std::fs::write(file(), serde_json::to_string_pretty(&schema).unwrap() + "\n").unwrap();
    }
    assert_eq!(schema["$defs"], definitions, "REGAUTH_BLESS=1 rewrites it");
}

fn table<'a>(kind: &str, name: &str, keys: impl Iterator<Item = &'a str>, more: Value) -> Value {
    let mut properties: Map<String, Value> = keys.map(|key| (key.to_owned(), json!({"type": "string"}))).collect();
    properties.insert(kind.to_owned(), json!({"const": name}));
    if let Value::Object(more) = more {
        properties.extend(more);
    }
    json!({"type": "object", "required": [kind], "additionalProperties": false, "properties": properties})
}

#[test]
fn the_manual_page_names_every_key() {
    let page = include_str!("../../../packaging/man/regauth-config.5");
    for (key, _) in [
        TOP_KEYS,
        UPSTREAM_KEYS,
        registries::REGISTRY_KEYS,
        sources::COMMAND_KEYS,
        gateway::LISTEN_TLS_KEYS,
        gateway::TRUST_KEYS,
        gateway::SIGNED_GRANTS_KEYS,
    ]
    .concat()
    {
        let is_named = page
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-')
            .any(|word| word == key);
        assert!(is_named, "regauth-config(5) does not name {key}");
    }
}
