//! Samples of [`RegistryView`], for each state of a credential and each kind of source.

use regauth_shared::response::{CredentialState, CredentialView, RegistryView, RequestFailure, SourceFailure};

use super::name;

pub(super) fn registry() -> RegistryView {
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

pub(super) fn registry_least() -> RegistryView {
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

pub(super) fn registry_minted() -> RegistryView {
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

pub(super) fn registry_images() -> RegistryView {
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

pub(super) fn registry_shared() -> RegistryView {
    RegistryView {
        name: name("other"),
        source: "credential-of:minted".to_owned(),
        credential_of: Some(name("minted")),
        ..registry_least()
    }
}
