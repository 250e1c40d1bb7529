//! Definition of a registry for another person.

use regauth_shared::RegistryName;
use regauth_shared::response::Definition;

use crate::config::serialize;
use crate::registry::{Registry, Source, Writes};

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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Config;

    fn registries(body: &str) -> BTreeMap<RegistryName, Registry> {
        let text = format!("[registries.corp]\nindex = \"sparse+https://corp.example/index/\"\n{body}");
        Config::read(&text).unwrap().registries
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
