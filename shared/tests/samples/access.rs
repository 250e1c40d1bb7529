//! Samples of the messages about access: writes and grants.

use regauth_shared::Request;
use regauth_shared::request::{Allow, Grant, Nothing, Revoke};
use regauth_shared::response::{GrantList, GrantUrl, GrantView, Granted, Revoked, WritesChanged};

use super::{EachAnswer, by_name, name};

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    vec![
        (
            "allow",
            Request::Allow(Allow {
                name: name("corp"),
                seconds: 300,
            }),
        ),
        ("deny", Request::Deny(by_name())),
        (
            "grant",
            Request::Grant(Grant {
                registries: vec![name("corp")],
                write: true,
                seconds: 3600,
                signed: false,
            }),
        ),
        (
            "grant-signed",
            Request::Grant(Grant {
                registries: vec![name("corp")],
                write: false,
                seconds: 3600,
                signed: true,
            }),
        ),
        (
            "grant-least",
            Request::Grant(Grant {
                registries: vec![],
                write: false,
                seconds: 60,
                signed: false,
            }),
        ),
        ("grants", Request::Grants(Nothing {})),
        (
            "revoke",
            Request::Revoke(Revoke {
                id: "3f9a1c2e".to_owned(),
            }),
        ),
    ]
}

pub(super) fn answers(each: &mut impl EachAnswer) {
    for (form, open_until) in [("allow", Some("2026-03-04T05:11:07Z".to_owned())), ("deny", None)] {
        let name = name("corp");
        each.check(form, WritesChanged { name, open_until });
    }
    each.check(
        "grant",
        Granted {
            grant: grant(),
            proxy: GrantUrl("http://regauth:Zm9vYmFyYmF6@127.0.0.1:9001".to_owned()),
        },
    );
    each.check(
        "grants",
        GrantList {
            grants: vec![grant(), grant_least()],
        },
    );
    each.check("revoke", Revoked { grant: grant_least() });
}

fn grant() -> GrantView {
    GrantView {
        id: "3f9a1c2e".to_owned(),
        registries: vec![name("corp")],
        write: true,
        created: "2026-03-04T05:00:00Z".to_owned(),
        expires: "2026-03-04T06:00:00Z".to_owned(),
        last_used: Some("2026-03-04T05:06:07Z".to_owned()),
    }
}

fn grant_least() -> GrantView {
    GrantView {
        id: "77aa00bb".to_owned(),
        registries: vec![],
        write: false,
        created: "2026-03-04T05:00:00Z".to_owned(),
        expires: "2026-03-04T05:01:00Z".to_owned(),
        last_used: None,
    }
}
