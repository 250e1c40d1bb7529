//! Differences between the registries in service and a new configuration, key by key. Pure.
//!
//! A change *widens* if a token reaches more places, comes from elsewhere, or may do more. Such a change needs the person's
//! agreement, which the verbs ask for. A new registry is one change, and each of its keys that widens is another.

mod settings;
mod source;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use regauth_shared::RegistryName;
use regauth_shared::response::ConfigurationChange;
use toml_edit::{Table, Value};

use crate::config::registries::REGISTRY_KEYS;
use crate::config::serialize;
use crate::registry::{Registry, Source, Writes};

pub(crate) use settings::{SettingChange, changed_settings};
pub(crate) use source::SourceWords;
pub(crate) use value::ValueDigest;

type Registries = BTreeMap<RegistryName, Registry>;

/// Change of a registry, or of a key of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RegistryChange {
    /// Part that an answer shows.
    pub(crate) shown: ConfigurationChange,
    /// New source in full, for the person who confirms it.
    pub(crate) source: SourceWords,
    /// Digest of the new value.
    pub(crate) value: ValueDigest,
}

/// Place of a change in a list of which a person may see the first ones only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Weight {
    /// A token goes to more URLs.
    Place,
    /// A token comes from elsewhere.
    Source,
    /// Other certificates can vouch for a registry.
    Certificates,
    /// Other clients or other roots are trusted.
    Trust,
    /// A token may do more.
    Permission,
    /// Any other setting.
    Setting,
    /// Nothing widens.
    Narrowing,
}

impl RegistryChange {
    /// True if the registry gets another `ca-file`.
    pub(crate) fn adds_ca_file(&self, name: &RegistryName) -> bool {
        let shown = &self.shown;
        shown.registry == *name && shown.key.as_deref() == Some("ca-file") && shown.after.is_some()
    }

    /// Place in a list of changes.
    pub(crate) fn weight(&self) -> Weight {
        match self.shown.key.as_deref() {
            _ if self.shown.widens.is_none() => Weight::Narrowing,
            None | Some("scopes" | "index" | "token-service") => Weight::Place,
            Some("source" | "credential-of") => Weight::Source,
            Some("ca-file") => Weight::Certificates,
            Some(_) => Weight::Permission,
        }
    }
}

/// Differences between two sets of registries, sorted by name, then in the order of the keys.
pub(crate) fn changes(before: &Registries, after: &Registries) -> Vec<RegistryChange> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => changes.extend(changed_keys(name, before, after)),
            (None, Some(added)) => changes.extend(addition(name, added)),
            (Some(removed), None) => changes.push(RegistryChange {
                shown: ConfigurationChange {
                    before: Some(scope_list(removed)),
                    ..whole(name)
                },
                source: SourceWords::default(),
                value: ValueDigest::of(""),
            }),
            (None, None) => {}
        }
    }
    changes
}

/// A new registry, and its keys that widen.
fn addition(name: &RegistryName, added: &Registry) -> Vec<RegistryChange> {
    let least = Registry {
        index: None,
        source: Source::Store,
        token_service: None,
        writes: Writes::Deny,
        ca_file: None,
        ..added.clone()
    };
    let registry = RegistryChange {
        shown: ConfigurationChange {
            after: Some(scope_list(added)),
            widens: token_of_new(added).map(str::to_owned),
            ..whole(name)
        },
        source: SourceWords::default(),
        value: ValueDigest::of(&serialize::table(added).to_string()),
    };
    let keys = changed_keys(name, &least, added);
    let widening = keys.into_iter().filter(|change| change.shown.widens.is_some());
    [registry].into_iter().chain(widening).collect()
}

fn changed_keys(name: &RegistryName, before: &Registry, after: &Registry) -> Vec<RegistryChange> {
    let tables = (serialize::table(before), serialize::table(after));
    let mut changes = Vec::new();
    for (key, _) in REGISTRY_KEYS {
        let values = (text(key, &tables.0), text(key, &tables.1));
        if values.0 == values.1 {
            continue;
        }
        let (before_shown, mut after_shown) = (shown(key, &tables.0, before), shown(key, &tables.1, after));
        if before_shown == after_shown {
            after_shown = after_shown.map(|shown| format!("{shown}, with other arguments"));
        }
        let source = match *key {
            "source" => SourceWords::of(&after.source),
            _ => SourceWords::default(),
        };
        changes.push(RegistryChange {
            shown: ConfigurationChange {
                key: Some((*key).to_owned()),
                before: before_shown,
                after: after_shown,
                widens: widens(key, before, after),
                ..whole(name)
            },
            source,
            value: ValueDigest::of(&values.1.unwrap_or_default()),
        });
    }
    changes
}

/// Consequence of a changed key, if it widens.
fn widens(key: &str, before: &Registry, after: &Registry) -> Option<String> {
    let text = match key {
        "scopes" => return new_scopes(before, after),
        "index" => return new_index(before, after),
        "token-service" => return new_token_service(before, after),
        "scheme" if before.scheme.header() != after.scheme.header() => "the token is sent in another header",
        "ca-file" if after.ca_file.is_some() => "other authorities can vouch for the registry",
        "source" | "credential-of" if after.source != Source::Store => "the token comes from elsewhere",
        "writes" if after.writes == Writes::Allow => "writes such as publish are open",
        "programs" if has_more_programs(before, after) => "more programs may use the registry",
        "kind" => "other requests count as reads",
        _ => return None,
    };
    Some(text.to_owned())
}

fn new_scopes(before: &Registry, after: &Registry) -> Option<String> {
    let is_new = |scope: &&_| !before.scopes.iter().any(|known| known.covers(scope));
    let new: Vec<_> = after.scopes.iter().filter(is_new).map(ToString::to_string).collect();
    (!new.is_empty()).then(|| format!("the token also goes to {}", new.join(" and ")))
}

/// The index is asked with the token, also outside of the scopes.
fn new_index(before: &Registry, after: &Registry) -> Option<String> {
    let scope_of = |registry: &Registry| registry.index.as_ref()?.scope().ok();
    let new = scope_of(after)?;
    let known = before.scopes.iter().chain(&after.scopes);
    let is_known = known.chain(&scope_of(before)).any(|known| known.covers(&new));
    (!is_known).then(|| format!("the token also goes to {new}"))
}

fn new_token_service(before: &Registry, after: &Registry) -> Option<String> {
    let new = after
        .token_service
        .as_ref()
        .filter(|_| before.token_service != after.token_service)?;
    Some(format!("the token also goes to {new}"))
}

fn has_more_programs(before: &Registry, after: &Registry) -> bool {
    let is_new = |program: &_| !before.programs.contains(program);
    !before.programs.is_empty() && (after.programs.is_empty() || after.programs.iter().any(is_new))
}

/// Consequence of a new registry whose token no person gives it.
fn token_of_new(added: &Registry) -> Option<&'static str> {
    match &added.source {
        Source::Of(_) => Some("it gets the token of another registry"),
        source if !source.is_stored() => Some("nobody types its token"),
        _ => None,
    }
}

/// Value of a key as TOML.
fn text(key: &str, table: &Table) -> Option<String> {
    table.get(key).and_then(|item| item.as_value()).map(one_line)
}

/// Value of a key for an answer: as TOML, except that a command is its program only.
fn shown(key: &str, table: &Table, registry: &Registry) -> Option<String> {
    match &registry.source {
        Source::Command(_) if key == "source" => Some(registry.source.to_string()),
        _ if key == "source" => source::shown(table, registry).as_ref().map(one_line),
        _ => text(key, table),
    }
}

/// Value on one line: arrays of several elements are written with a line for each.
fn one_line(value: &Value) -> String {
    let mut value = value.clone();
    if let Value::Array(array) = &mut value {
        array.fmt();
        array.set_trailing("");
        array.set_trailing_comma(false);
    }
    value.decorated("", "").to_string()
}

fn scope_list(registry: &Registry) -> String {
    let scopes: Vec<_> = registry.scopes.iter().map(ToString::to_string).collect();
    scopes.join(" ")
}

fn whole(name: &RegistryName) -> ConfigurationChange {
    ConfigurationChange {
        registry: name.clone(),
        key: None,
        before: None,
        after: None,
        widens: None,
    }
}

#[cfg(test)]
mod tests;
