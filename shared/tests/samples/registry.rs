//! Samples of the messages about registries: added, shown, removed.

use std::collections::BTreeMap;

use regauth_shared::Request;
use regauth_shared::request::{
    AddRegistry, AddScope, ConfigurationText, Confirm, Export, Nothing, ReplaceConfiguration, SetRegistry,
    SourceCommand,
};
use regauth_shared::response::{
    ConfigurationChange, ConfigurationChanged, CredentialState, CredentialView, Definition, Exported, RegistryAdded,
    RegistryChecked, RegistryList, RegistryProblem, RegistryRemoved, RegistryView, RequestFailure, SourceFailure,
};

use serde_json::json;

use super::{EachAnswer, by_name, name, secret};

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    let add = |registry| Request::AddRegistry(Box::new(registry));
    vec![
        ("add-registry", add(add_registry())),
        ("add-registry-least", add(add_registry_least())),
        ("add-registry-team", add(add_registry_of_a_team())),
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
            problem: None,
        },
    );
    each.check(
        "check-registry-untrusted",
        RegistryChecked {
            url: "https://corp.example/api/cargo/index/config.json".to_owned(),
            status: None,
            challenges: vec![],
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

fn add_registry() -> AddRegistry {
    AddRegistry {
        index: Some("sparse+https://corp.example/api/cargo/index/".to_owned()),
        scopes: vec!["https://corp.example/api/cargo/".to_owned()],
        kind: Some("cargo".to_owned()),
        scheme: Some("basic".to_owned()),
        username: Some("me@corp.example".to_owned()),
        writes: Some("deny".to_owned()),
        programs: vec!["cargo".to_owned(), "/usr/bin/git".to_owned()],
        rejected_by: vec![401],
        ca_file: Some("/etc/corp-root.pem".to_owned()),
        verify: false,
        ..add_registry_least()
    }
}

fn add_registry_of_a_team() -> AddRegistry {
    AddRegistry {
        read_ahead: Some(false),
        untrusted: true,
        ..add_registry_least()
    }
}

fn add_registry_without_token() -> AddRegistry {
    AddRegistry {
        token: None,
        ..add_registry_least()
    }
}

fn add_registry_least() -> AddRegistry {
    AddRegistry {
        name: name("corp"),
        index: None,
        scopes: vec![],
        kind: None,
        scheme: None,
        username: None,
        writes: None,
        programs: vec![],
        rejected_by: vec![],
        ca_file: None,
        source: None,
        source_command: None,
        credential_of: None,
        token_service: None,
        token: Some(secret("s3cret-token")),
        proof: None,
        read_ahead: None,
        untrusted: false,
        verify: true,
    }
}

fn add_registry_minted() -> AddRegistry {
    AddRegistry {
        name: name("minted"),
        scopes: vec!["https://x.example/".to_owned()],
        source_command: Some(SourceCommand {
            command: ["mint-token", "--token", "x", "--json"].map(str::to_owned).into(),
            token: Some("/token".to_owned()),
            expires: Some("/expires".to_owned()),
            ttl: Some("11h".to_owned()),
            timeout: Some("5s".to_owned()),
            env: vec!["AWS_PROFILE".to_owned()],
        }),
        token: None,
        ..add_registry_least()
    }
}

fn add_registry_shared() -> AddRegistry {
    AddRegistry {
        name: name("other"),
        scopes: vec!["https://y.example/".to_owned()],
        credential_of: Some(name("minted")),
        token: None,
        ..add_registry_least()
    }
}

fn add_registry_shared_again() -> AddRegistry {
    AddRegistry {
        proof: Some(secret("s3cret-token")),
        ..add_registry_shared()
    }
}

fn add_registry_file() -> AddRegistry {
    AddRegistry {
        scopes: vec!["https://z.example/".to_owned()],
        source: Some("file:/run/secrets/corp".to_owned()),
        token: None,
        ..add_registry_least()
    }
}

fn add_registry_images() -> AddRegistry {
    AddRegistry {
        scopes: vec!["https://registry.example/v2/".to_owned()],
        kind: Some("oci".to_owned()),
        username: Some("me".to_owned()),
        token_service: Some("https://auth.example/token".to_owned()),
        ..add_registry_least()
    }
}

fn registry() -> RegistryView {
    RegistryView {
        name: name("corp"),
        kind: "cargo".to_owned(),
        index: Some("sparse+https://corp.example/api/cargo/index/".to_owned()),
        scopes: vec![
            "https://corp.example/api/cargo/".to_owned(),
            "https://dl.corp.example:8443/crates/".to_owned(),
        ],
        scheme: "basic".to_owned(),
        username: Some("me@corp.example".to_owned()),
        source: "store".to_owned(),
        credential_of: None,
        token_service: None,
        writes: "deny".to_owned(),
        writes_open_until: Some("2026-03-04T05:11:07Z".to_owned()),
        programs: vec!["cargo".to_owned(), "/usr/bin/git".to_owned()],
        rejected_by: vec![401],
        ca_file: Some("/etc/corp-root.pem".to_owned()),
        credential: CredentialView {
            state: CredentialState::Ready,
            generation: 3,
            accepted: true,
            since: Some("2026-03-01T09:00:00Z".to_owned()),
            expires: Some("2027-03-01T09:00:00Z".to_owned()),
            renews: None,
            failure: None,
            reason: None,
        },
        last_used: Some("2026-03-04T05:06:07Z".to_owned()),
        last_status: Some(200),
        last_worked: Some("2026-03-04T05:06:07Z".to_owned()),
        last_failure: None,
        past_failure: Some(RequestFailure {
            cause: "refused".to_owned(),
            message: "corp.example:443 refuses connections".to_owned(),
            hint: "check the port".to_owned(),
            at: "2026-03-04T04:00:00Z".to_owned(),
        }),
        requests: 1234,
        refused_outside: 2,
        wider_scope: Some("https://corp.example/api/".to_owned()),
        trouble: Some("registry `corp`: cannot read /etc/corp-root.pem: No such file or directory".to_owned()),
        changes: vec!["it opens writes for good".to_owned()],
    }
}

fn registry_least() -> RegistryView {
    RegistryView {
        name: name("wheels"),
        kind: "pypi".to_owned(),
        index: None,
        scopes: vec!["https://pypi.example/simple/".to_owned()],
        scheme: "bearer".to_owned(),
        username: None,
        source: "env:WHEELS_TOKEN".to_owned(),
        credential_of: None,
        token_service: None,
        writes: "allow".to_owned(),
        writes_open_until: None,
        programs: vec![],
        rejected_by: vec![],
        ca_file: None,
        credential: CredentialView {
            state: CredentialState::Missing,
            generation: 0,
            accepted: false,
            since: None,
            expires: None,
            renews: None,
            failure: None,
            reason: None,
        },
        last_used: None,
        last_status: None,
        last_worked: None,
        past_failure: None,
        last_failure: None,
        requests: 0,
        refused_outside: 0,
        wider_scope: None,
        trouble: None,
        changes: vec![],
    }
}

fn registry_minted() -> RegistryView {
    RegistryView {
        name: name("minted"),
        source: "command:mint-token".to_owned(),
        credential: CredentialView {
            state: CredentialState::Expired,
            generation: 7,
            accepted: false,
            since: Some("2026-03-01T09:00:00Z".to_owned()),
            expires: Some("2026-03-01T21:00:00Z".to_owned()),
            renews: Some("2026-03-01T21:05:00Z".to_owned()),
            failure: Some(SourceFailure {
                message: "`mint-token` failed: exit status: 1".to_owned(),
                output: Some("no session\nlog in again".to_owned()),
                hint: Some("run `mint-token login`".to_owned()),
                at: "2026-03-01T20:59:30Z".to_owned(),
            }),
            reason: None,
        },
        ..registry_least()
    }
}

fn registry_images() -> RegistryView {
    RegistryView {
        name: name("images"),
        kind: "oci".to_owned(),
        scopes: vec!["https://registry.example/v2/".to_owned()],
        scheme: "basic".to_owned(),
        username: Some("me".to_owned()),
        source: "store".to_owned(),
        token_service: Some("https://auth.example/token".to_owned()),
        ..registry_least()
    }
}

fn registry_shared() -> RegistryView {
    RegistryView {
        name: name("other"),
        source: "credential-of:minted".to_owned(),
        credential_of: Some(name("minted")),
        ..registry_least()
    }
}
