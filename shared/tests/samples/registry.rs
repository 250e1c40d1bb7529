//! Samples of the messages about registries: added, shown, removed.

mod add_registry;
mod view;

use std::collections::BTreeMap;

use regauth_shared::Request;
use regauth_shared::request::{
    AddScope, ConfigurationText, Confirm, Export, Nothing, ReplaceConfiguration, SetRegistry,
};
use regauth_shared::response::{
    ConfigurationChange, ConfigurationChanged, Definition, Exported, OfferedLocation, RegistryAdded, RegistryChecked,
    RegistryList, RegistryProblem, RegistryRemoved,
};
use serde_json::json;

use self::add_registry::{
    add_registry, add_registry_file, add_registry_images, add_registry_least, add_registry_minted,
    add_registry_of_a_team, add_registry_shared, add_registry_shared_again, add_registry_with_offers,
    add_registry_without_token,
};
use self::view::{registry, registry_images, registry_least, registry_minted, registry_shared};
use super::{EachAnswer, by_name, name, secret};

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    let add = |registry| Request::AddRegistry(Box::new(registry));
    vec![
        ("add-registry", add(add_registry())),
        ("add-registry-least", add(add_registry_least())),
        ("add-registry-team", add(add_registry_of_a_team())),
        ("add-registry-offers", add(add_registry_with_offers())),
        ("add-registry-minted", add(add_registry_minted())),
        ("add-registry-shared", add(add_registry_shared())),
        ("add-registry-shared-again", add(add_registry_shared_again())),
        ("add-registry-file", add(add_registry_file())),
        ("add-registry-images", add(add_registry_images())),
        (
            "check-registry",
            Request::CheckRegistry(Box::new(add_registry_without_token())),
        ),
        (
            "add-scope",
            Request::AddScope(AddScope {
                name: name("corp"),
                scopes: vec!["https://cdn.example/crates/".to_owned()],
                proof: Some(secret("s3cret-token")),
            }),
        ),
        (
            "add-scope-least",
            Request::AddScope(AddScope {
                name: name("corp"),
                scopes: vec!["https://cdn.example/crates/".to_owned()],
                proof: None,
            }),
        ),
        (
            "confirm",
            Request::Confirm(Confirm {
                name: name("corp"),
                changes: vec!["it sends its token to https://cdn.example/crates/".to_owned()],
                proof: Some(secret("s3cret-token")),
            }),
        ),
        (
            "confirm-least",
            Request::Confirm(Confirm {
                name: name("corp"),
                changes: vec!["it opens writes for good".to_owned()],
                proof: None,
            }),
        ),
        ("set-registry", Request::SetRegistry(set_registry())),
        (
            "set-registry-least",
            Request::SetRegistry(SetRegistry {
                name: name("corp"),
                values: BTreeMap::new(),
                untrusted: false,
                check: false,
                widen: false,
                verify: true,
                reviewed: None,
            }),
        ),
        (
            "replace-configuration",
            Request::ReplaceConfiguration(ReplaceConfiguration {
                text: ConfigurationText("notify = false\n".to_owned()),
                base: "0".repeat(64),
                check: true,
                widen: true,
                verify: false,
                reviewed: Some("1".repeat(64)),
            }),
        ),
        (
            "export",
            Request::Export(Export {
                names: vec![name("corp")],
            }),
        ),
        ("export-least", Request::Export(Export { names: vec![] })),
        ("remove-registry", Request::RemoveRegistry(by_name())),
        ("list", Request::List(Nothing {})),
        ("show", Request::Show(by_name())),
    ]
}

pub(super) fn answers(each: &mut impl EachAnswer) {
    each.check(
        "add-registry",
        RegistryAdded {
            registry: registry(),
            verified: true,
            public: false,
            notes: vec!["the index downloads from cdn.example, which gets no token".to_owned()],
            offered: vec![],
            bundle: "/home/me/.local/state/regauth/ca-bundle.pem".to_owned(),
            proxy: "http://127.0.0.1:9001".to_owned(),
        },
    );
    each.check(
        "add-registry-offers",
        RegistryAdded {
            registry: registry(),
            verified: true,
            public: false,
            notes: vec![],
            offered: vec![OfferedLocation {
                url: "https://corp.example/crates/".to_owned(),
                purpose: "downloads".to_owned(),
            }],
            bundle: "/home/me/.local/state/regauth/ca-bundle.pem".to_owned(),
            proxy: "http://127.0.0.1:9001".to_owned(),
        },
    );
    each.check("set-registry", configuration_changed());
    each.check(
        "set-registry-least",
        ConfigurationChanged {
            applied: false,
            changes: vec![],
            settings: vec![],
            review: None,
            notes: vec![],
        },
    );
    each.check(
        "export",
        Exported {
            registries: vec![definition()],
        },
    );
    each.check(
        "check-registry",
        RegistryChecked {
            url: "https://corp.example/api/cargo/index/config.json".to_owned(),
            status: Some(401),
            challenges: vec!["basic".to_owned(), "bearer".to_owned()],
            token_service: None,
            problem: None,
        },
    );
    each.check(
        "check-registry-images",
        RegistryChecked {
            url: "https://corp.example/v2/".to_owned(),
            status: Some(401),
            challenges: vec!["bearer".to_owned()],
            token_service: Some("https://corp.example/token".to_owned()),
            problem: None,
        },
    );
    each.check(
        "check-registry-untrusted",
        RegistryChecked {
            url: "https://corp.example/api/cargo/index/config.json".to_owned(),
            status: None,
            challenges: vec![],
            token_service: None,
            problem: Some(RegistryProblem {
                cause: "certificate-untrusted".to_owned(),
                message: "corp.example shows a certificate that no trusted authority signed".to_owned(),
                hint: "give the authority's certificate with --ca-file".to_owned(),
            }),
        },
    );
    each.check(
        "remove-registry",
        RegistryRemoved {
            name: name("corp"),
            notes: vec!["the keychain is locked; the secret is deleted when it opens".to_owned()],
        },
    );
    each.check(
        "list",
        RegistryList {
            registries: vec![registry(), registry_least()],
        },
    );
    each.check("list-least", RegistryList { registries: vec![] });
    each.check("show", registry());
    each.check("show-least", registry_least());
    each.check("show-minted", registry_minted());
    each.check("show-shared", registry_shared());
    each.check("show-images", registry_images());
}

fn set_registry() -> SetRegistry {
    let values = [
        ("username", json!("me@corp.example")),
        ("scopes", json!(["https://corp.example/api/cargo/"])),
        ("read-ahead", json!(false)),
        ("rejected-by", json!([401])),
        ("ca-file", json!(null)),
    ];
    SetRegistry {
        name: name("corp"),
        values: values.map(|(key, value)| (key.to_owned(), value)).into(),
        untrusted: true,
        check: true,
        widen: true,
        verify: false,
        reviewed: Some("1".repeat(64)),
    }
}

fn configuration_changed() -> ConfigurationChanged {
    ConfigurationChanged {
        applied: true,
        changes: vec![
            ConfigurationChange {
                registry: name("corp"),
                key: Some("ca-file".to_owned()),
                before: Some("\"/etc/old-root.pem\"".to_owned()),
                after: Some("\"/etc/corp-root.pem\"".to_owned()),
                widens: Some("other authorities can vouch for the registry".to_owned()),
            },
            ConfigurationChange {
                registry: name("old"),
                key: None,
                before: Some("https://old.example/".to_owned()),
                after: None,
                widens: None,
            },
        ],
        settings: vec![],
        review: Some("1".repeat(64)),
        notes: vec!["`listen` differs in the file and takes effect at the next start".to_owned()],
    }
}

fn definition() -> Definition {
    Definition {
        name: name("corp"),
        toml: "index = \"sparse+https://corp.example/api/cargo/index/\"\n".to_owned(),
        ca_file: Some("/etc/corp-root.pem".to_owned()),
        left_out: vec!["its client certificate, which each person sets".to_owned()],
    }
}
