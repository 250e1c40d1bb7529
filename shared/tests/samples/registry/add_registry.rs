//! Samples of [`AddRegistry`], for each kind of token source.

use regauth_shared::request::{AddRegistry, SourceCommand};

use super::{name, secret};

pub(super) fn add_registry() -> AddRegistry {
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

pub(super) fn add_registry_of_a_team() -> AddRegistry {
    AddRegistry {
        read_ahead: Some(false),
        untrusted: true,
        ..add_registry_least()
    }
}

pub(super) fn add_registry_with_offers() -> AddRegistry {
    AddRegistry {
        index: Some("sparse+https://corp.example/index/".to_owned()),
        offer_locations: true,
        ..add_registry_least()
    }
}

pub(super) fn add_registry_without_token() -> AddRegistry {
    AddRegistry {
        token: None,
        ..add_registry_least()
    }
}

pub(super) fn add_registry_least() -> AddRegistry {
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
        offer_locations: false,
        verify: true,
    }
}

pub(super) fn add_registry_minted() -> AddRegistry {
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

pub(super) fn add_registry_shared() -> AddRegistry {
    AddRegistry {
        name: name("other"),
        scopes: vec!["https://y.example/".to_owned()],
        credential_of: Some(name("minted")),
        token: None,
        ..add_registry_least()
    }
}

pub(super) fn add_registry_shared_again() -> AddRegistry {
    AddRegistry {
        proof: Some(secret("s3cret-token")),
        ..add_registry_shared()
    }
}

pub(super) fn add_registry_file() -> AddRegistry {
    AddRegistry {
        scopes: vec!["https://z.example/".to_owned()],
        source: Some("file:/run/secrets/corp".to_owned()),
        token: None,
        ..add_registry_least()
    }
}

pub(super) fn add_registry_images() -> AddRegistry {
    AddRegistry {
        scopes: vec!["https://registry.example/v2/".to_owned()],
        kind: Some("oci".to_owned()),
        username: Some("me".to_owned()),
        token_service: Some("https://auth.example/token".to_owned()),
        ..add_registry_least()
    }
}
