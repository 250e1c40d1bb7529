//! Differences between the registries in service and a new configuration, key by key, and the definition of a registry for
//! another person. Pure.
//!
//! A change *widens* if a token reaches more places, comes from elsewhere, or may do more. Such a change needs the person's
//! agreement, which the verbs ask for.

use std::collections::{BTreeMap, BTreeSet};

use regauth_shared::RegistryName;
use regauth_shared::response::{ConfigurationChange, Definition};
use toml_edit::{Table, Value};

use crate::config::registries::REGISTRY_KEYS;
use crate::config::{Config, serialize};
use crate::registry::{Registry, Source, Writes};

type Registries = BTreeMap<RegistryName, Registry>;

/// Differences between two sets of registries, sorted by name, then in the order of the keys.
pub(crate) fn changes(before: &Registries, after: &Registries) -> Vec<ConfigurationChange> {
    let names: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let mut changes = Vec::new();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => changes.extend(changed_keys(name, before, after)),
            (None, Some(added)) => changes.push(ConfigurationChange {
                after: Some(scope_list(added)),
                widens: borrows(added).map(str::to_owned),
                ..whole(name)
            }),
            (Some(removed), None) => changes.push(ConfigurationChange {
                before: Some(scope_list(removed)),
                ..whole(name)
            }),
            (None, None) => {}
        }
    }
    changes
}

/// Keys outside of the registries' tables whose values differ, without `store`: the first start and a move write it by
/// themselves.
pub(crate) fn changed_settings(before: &Config, after: &Config) -> Vec<&'static str> {
    let Config {
        listen,
        listen_tls,
        clients,
        presence,
        signed_grants,
        authorities,
        trust,
        store: _,
        drain_timeout,
        drain_delay,
        audit,
        metrics_listen,
        warn_before,
        notify,
        ca_file,
        upstream,
        registries: _,
    } = after;
    let differs = [
        ("presence", *presence != before.presence),
        ("[[trust]]", *trust != before.trust),
        ("signed-grants", *signed_grants != before.signed_grants),
        ("ca-file", *ca_file != before.ca_file),
        ("[upstream]", *upstream != before.upstream),
        ("clients", *clients != before.clients),
        ("authorities", *authorities != before.authorities),
        ("listen", *listen != before.listen),
        ("listen-tls", *listen_tls != before.listen_tls),
        ("metrics-listen", *metrics_listen != before.metrics_listen),
        ("audit", *audit != before.audit),
        ("warn-before", *warn_before != before.warn_before),
        ("notify", *notify != before.notify),
        ("drain-timeout", *drain_timeout != before.drain_timeout),
        ("drain-delay", *drain_delay != before.drain_delay),
    ];
    let changed = differs.into_iter().filter(|(_, differs)| *differs);
    changed.map(|(key, _)| key).collect()
}

/// Definition of a registry without tokens, commands, paths and variables.
pub(crate) fn definition(name: &RegistryName, registry: &Registry) -> Definition {
    let mut portable = registry.clone();
    portable.ca_file = None;
    portable.client_identity = None;
    portable.writes = Writes::default();
    let mut left_out = Vec::new();
    if !registry.source.is_portable() {
        // Without a scheme of its own, the source decides on it.
        left_out.push(format!(
            "its token comes from {}, which belongs to this machine, so each person types a token",
            registry.source
        ));
        portable.source = Source::Store;
    }
    if registry.writes != Writes::default() {
        left_out.push("its writes are open here, and closed for others until they allow them".to_owned());
    }
    if registry.client_identity.is_some() {
        left_out.push("its client certificate, which each person sets".to_owned());
    }
    Definition {
        name: name.clone(),
        toml: serialize::table(&portable).to_string(),
        ca_file: registry.ca_file.as_ref().map(|file| file.display().to_string()),
        left_out,
    }
}

fn changed_keys(name: &RegistryName, before: &Registry, after: &Registry) -> Vec<ConfigurationChange> {
    let tables = (serialize::table(before), serialize::table(after));
    let mut changes = Vec::new();
    for (key, _) in REGISTRY_KEYS {
        let values = (shown(key, &tables.0, before), shown(key, &tables.1, after));
        if values.0 == values.1 && is_same_source(key, before, after) {
            continue;
        }
        changes.push(ConfigurationChange {
            key: Some((*key).to_owned()),
            before: values.0,
            after: values.1,
            widens: widens(key, before, after),
            ..whole(name)
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

/// Consequence of a new registry that uses the credential of another one.
fn borrows(added: &Registry) -> Option<&'static str> {
    matches!(added.source, Source::Of(_)).then_some("it gets the token of another registry")
}

fn is_same_source(key: &str, before: &Registry, after: &Registry) -> bool {
    key != "source"
        || before.source == after.source
        || matches!((&before.source, &after.source), (Source::Of(_), _) | (_, Source::Of(_)))
}

/// Value of a key as TOML. A command's arguments may hold secrets, so only its program is shown.
fn shown(key: &str, table: &Table, registry: &Registry) -> Option<String> {
    if key == "source" && matches!(registry.source, Source::Command(_)) {
        return Some(registry.source.to_string());
    }
    table.get(key).and_then(|item| item.as_value()).map(one_line)
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
mod tests {
    use super::*;

    fn registries(body: &str) -> Registries {
        let text = format!("[registries.corp]\nindex = \"sparse+https://corp.example/index/\"\n{body}");
        Config::read(&text).unwrap().registries
    }

    fn widening(before: &str, after: &str) -> Vec<(String, bool)> {
        let changes = changes(&registries(before), &registries(after));
        let key = |change: ConfigurationChange| (change.key.unwrap_or_default(), change.widens.is_some());
        changes.into_iter().map(key).collect()
    }

    #[test]
    fn a_change_widens_if_a_token_goes_further_or_may_do_more() {
        let scopes = |paths: &[&str]| {
            let paths: Vec<_> = paths
                .iter()
                .map(|path| format!("'https://corp.example/{path}'"))
                .collect();
            format!("scopes = [{}]", paths.join(", "))
        };
        let cases = [
            (scopes(&["a/"]), scopes(&["a/", "b/"]), "scopes", true),
            (scopes(&["a/"]), scopes(&[""]), "scopes", true),
            (scopes(&["a/", "b/"]), scopes(&["a/b/"]), "scopes", false),
            (String::new(), "scheme = 'raw'".to_owned(), "scheme", false),
            (String::new(), "scheme = 'X-Key: {token}'".to_owned(), "scheme", true),
            (String::new(), "ca-file = '/ca.pem'".to_owned(), "ca-file", true),
            ("ca-file = '/ca.pem'".to_owned(), String::new(), "ca-file", false),
            (String::new(), "source = 'env:X'".to_owned(), "source", true),
            ("source = 'env:X'".to_owned(), String::new(), "source", false),
            (String::new(), "writes = 'allow'".to_owned(), "writes", true),
            ("writes = 'allow'".to_owned(), String::new(), "writes", false),
            (String::new(), "programs = ['cargo']".to_owned(), "programs", false),
            ("programs = ['cargo']".to_owned(), String::new(), "programs", true),
            (String::new(), "kind = 'generic'".to_owned(), "kind", true),
            (String::new(), "rejected-by = [401]".to_owned(), "rejected-by", false),
            (String::new(), "read-ahead = false".to_owned(), "read-ahead", false),
        ];
        for (before, after, key, widens) in cases {
            let expected = vec![(key.to_owned(), widens)];
            assert_eq!(widening(&before, &after), expected, "{before} -> {after}");
        }
        assert_eq!(widening("", ""), []);
    }

    #[test]
    fn an_index_or_a_token_service_on_another_host_widens() {
        let read = |text: &str| Config::read(&format!("[registries.corp]\n{text}")).unwrap().registries;
        let scopes = "scopes = ['https://corp.example/v2/']";
        for (key, before, after, widens) in [
            ("index", "", "index = 'sparse+https://corp.example/v2/i/'", false),
            ("index", "", "index = 'sparse+https://other.example/'", true),
            ("index", "index = 'sparse+https://other.example/'", "", false),
            ("token-service", "", "token-service = 'https://auth.example/t'", true),
            ("token-service", "token-service = 'https://auth.example/t'", "", false),
        ] {
            let kind = if key == "index" { "cargo" } else { "oci" };
            let [before, after] = [before, after].map(|line| read(&format!("kind = '{kind}'\n{scopes}\n{line}\n")));
            let changes = changes(&before, &after);
            assert_eq!(changes[0].key.as_deref(), Some(key));
            assert_eq!(changes[0].widens.is_some(), widens, "{changes:?}");
        }
    }

    #[test]
    fn each_changed_setting_is_named_and_the_recorded_store_is_not() {
        let changed = |text: &str| changed_settings(&Config::default(), &Config::read(text).unwrap());
        for (text, expected) in [
            ("store = 'vault'", vec![]),
            ("presence = 'never'", vec!["presence"]),
            ("ca-file = '/ca.pem'\nnotify = false", vec!["ca-file", "notify"]),
            ("[upstream]\nproxy = 'http://proxy.example:3128'", vec!["[upstream]"]),
            ("[registries.corp]\nscopes = ['https://corp.example/']", vec![]),
        ] {
            assert_eq!(changed(text), expected, "{text}");
        }
    }

    #[test]
    fn a_command_that_changes_is_shown_without_its_arguments() {
        let changes = changes(
            &registries("source = { command = ['mint', 's3cret'] }"),
            &registries("source = { command = ['mint', 's3cr3t'] }"),
        );
        let text = format!("{changes:?}");
        assert!(changes.len() == 1 && text.contains("command:mint"), "{text}");
        assert!(!text.contains("s3cr"), "{text}");
    }

    #[test]
    fn a_definition_for_others_has_no_path_command_or_variable() {
        for (body, left_out) in [
            ("source = 'file:/home/me/token'", 1),
            ("source = { command = ['mint', 's3cret'] }", 1),
            ("source = 'env:CORP'", 1),
            (
                "source = { exchange = 'jfrog', host = 'j.example', provider = 'p', identity = 'env:ID' }",
                1,
            ),
            ("source = { exchange = 'jfrog', host = 'j.example', provider = 'p' }", 0),
            (
                "writes = 'allow'\nca-file = '/home/me/ca.pem'\nclient-cert = '/me.pem'\nclient-key = '/me.key'",
                2,
            ),
        ] {
            let registries = registries(body);
            let name: RegistryName = "corp".parse().unwrap();
            let definition = definition(&name, &registries[&name]);
            assert_eq!(definition.left_out.len(), left_out, "{definition:?}");
            for private in ["/home/me", "/me", "s3cret", "CORP", "env:", "command", "allow"] {
                assert!(!definition.toml.contains(private), "{}", definition.toml);
            }
            let read = Config::read(&format!("[registries.corp]\n{}", definition.toml)).unwrap();
            assert_eq!(read.registries[&name].scopes, registries[&name].scopes);
        }
    }
}
