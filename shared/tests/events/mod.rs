//! Sample of every event, with every field set. A sample named `…-least` has none of the optional fields.

use regauth_shared::RegistryName;
use regauth_shared::event::{
    Client, Confirmation, Confirmer, Event, EventKind, Exchange, GrantChange, GrantCreated, Lost, Operation,
    RegistryChange, Reload, Renewal, Rotation, Started, StoreChange, Verification, Workload, WritesOpened,
};
use regauth_shared::response::VerdictResult;

pub(crate) fn events() -> Vec<(&'static str, Event)> {
    let registry = || RegistryChange { registry: corp() };
    let store = || StoreChange {
        store: "keychain".to_owned(),
    };
    let grant = || "3f9a1c2e".to_owned();
    let kinds = vec![
        ("request", EventKind::Request(request())),
        ("request-least", EventKind::Request(Exchange::default())),
        ("refusal", EventKind::Refusal(refusal())),
        (
            "renewal",
            EventKind::Renewal(Renewal {
                registry: corp(),
                generation: Some(8),
                failure: None,
            }),
        ),
        (
            "renewal-failed",
            EventKind::Renewal(Renewal {
                registry: corp(),
                generation: None,
                failure: Some("the program exited with status 1".to_owned()),
            }),
        ),
        (
            "rotation",
            EventKind::Rotation(Rotation {
                registry: corp(),
                generation: 8,
                verified: true,
            }),
        ),
        ("logout", EventKind::Logout(registry())),
        (
            "verification",
            EventKind::Verification(Verification {
                registry: corp(),
                result: VerdictResult::Accepted,
            }),
        ),
        (
            "writes-opened",
            EventKind::WritesOpened(WritesOpened {
                registry: corp(),
                until: "2026-03-04T05:05:00Z".to_owned(),
            }),
        ),
        ("writes-closed", EventKind::WritesClosed(registry())),
        (
            "grant-created",
            EventKind::GrantCreated(GrantCreated {
                grant: grant(),
                registries: vec![corp()],
                write: true,
                expires: "2026-03-04T06:00:00Z".to_owned(),
            }),
        ),
        (
            "grant-created-least",
            EventKind::GrantCreated(GrantCreated {
                grant: grant(),
                registries: vec![],
                write: false,
                expires: "2026-03-04T06:00:00Z".to_owned(),
            }),
        ),
        ("grant-revoked", EventKind::GrantRevoked(GrantChange { grant: grant() })),
        ("grant-expired", EventKind::GrantExpired(GrantChange { grant: grant() })),
        ("registry-added", EventKind::RegistryAdded(registry())),
        ("registry-removed", EventKind::RegistryRemoved(registry())),
        ("registry-changed", EventKind::RegistryChanged(registry())),
        ("reload", EventKind::Reload(Reload { registries: 2 })),
        ("store-locked", EventKind::StoreLocked(store())),
        ("store-opened", EventKind::StoreOpened(store())),
        (
            "started",
            EventKind::Started(Started {
                version: "0.1.0".to_owned(),
            }),
        ),
        ("stopping", EventKind::Stopping),
        ("lost", EventKind::Lost(Lost { events: 12 })),
        ("request-of-workload", EventKind::Request(request_of_workload())),
        ("confirmation", EventKind::Confirmation(refused_confirmation())),
        ("confirmation-least", EventKind::Confirmation(confirmation_of_root())),
    ];
    let numbered = kinds.into_iter().zip(17..);
    numbered
        .map(|((name, kind), sequence)| {
            let event = Event {
                time: 1_772_600_000_000,
                sequence,
                kind,
            };
            (name, event)
        })
        .collect()
}

fn request() -> Exchange {
    Exchange {
        registry: Some(corp()),
        host: Some("corp.example".to_owned()),
        client: Client {
            uid: Some(1000),
            address: None,
            grant: None,
            workload: None,
            pid: Some(4242),
            program: Some("/usr/bin/cargo".to_owned()),
            parent: Some("/usr/bin/bash".to_owned()),
            folder: Some("/home/me/project".to_owned()),
        },
        operation: Some(Operation::Read),
        method: Some("GET".to_owned()),
        path: Some("/api/cargo/index/se/rd/serde".to_owned()),
        status: Some(200),
        code: None,
        generation: Some(7),
        bytes_up: 0,
        bytes_down: 23_456,
        total_us: 31_000,
        first_byte_us: Some(30_100),
        own_us: Some(140),
        reused: Some(true),
    }
}

fn request_of_workload() -> Exchange {
    Exchange {
        client: Client {
            address: Some("192.0.2.7".to_owned()),
            workload: Some(Workload {
                issuer: "https://token.actions.githubusercontent.com".to_owned(),
                subject: "repo:corp/plans:ref:refs/heads/main".to_owned(),
                repository: Some("corp/plans".to_owned()),
            }),
            ..Client::default()
        },
        ..request()
    }
}

fn refusal() -> Exchange {
    Exchange {
        client: Client {
            address: Some("192.0.2.7".to_owned()),
            grant: Some("3f9a1c2e".to_owned()),
            ..Client::default()
        },
        operation: Some(Operation::Write),
        method: Some("PUT".to_owned()),
        path: Some("/api/cargo/api/v1/crates/new".to_owned()),
        status: Some(403),
        code: Some("write-denied".to_owned()),
        generation: None,
        bytes_up: 512,
        bytes_down: 180,
        total_us: 210,
        first_byte_us: None,
        own_us: None,
        reused: None,
        ..request()
    }
}

fn refused_confirmation() -> Confirmation {
    Confirmation {
        registry: Some(corp()),
        uid: Some(1000),
        effect: "opens writes".to_owned(),
        by: Confirmer::Polkit,
        confirmed: false,
        reason: Some("polkit's question was answered with no".to_owned()),
    }
}

fn confirmation_of_root() -> Confirmation {
    Confirmation {
        registry: None,
        uid: None,
        effect: "takes in a changed configuration".to_owned(),
        by: Confirmer::Root,
        confirmed: true,
        reason: None,
    }
}

fn corp() -> RegistryName {
    "corp".parse().unwrap()
}
