//! Sample of every message, with every field set. A sample named `…-least` has none of the optional fields.

use std::fmt::Debug;

use regauth_shared::audit::{LineHash, Link};
use regauth_shared::event::{Client, Event, EventKind, Exchange, Operation};
use regauth_shared::request::{
    AddRegistry, AddScope, Allow, ByName, CompareToken, Grant, Log, LogLevel, Metrics, Nothing, Revoke, Rotate,
    SetUpstream, SourceCommand, StoreMove, TrafficOf, Unlock, Verify, Watch,
};
use regauth_shared::response::{
    AuditView, ClientTraffic, CredentialState, CredentialView, DeviceLogin, DeviceLoginState, GrantList, GrantUrl,
    GrantView, Granted, Histogram, LastRefusal, LogLevels, LoggedOut, NamedCount, Problem, RegistryAdded, RegistryList,
    RegistryRemoved, RegistryTraffic, RegistryView, Reloaded, RequestCount, RequestFailure, Revoked, Rotated,
    SocketOrigin, Sockets, SourceFailure, Status, Stopping, StoreMoved, StoreMoving, StoreShown, StoreView,
    TokenComparison, Traffic, Unlocked, UpstreamProxy, UpstreamSet, Verdict, VerdictResult, Verified, Watching,
    WritesChanged,
};
use regauth_shared::version::{Greeting, Hello};
use regauth_shared::{ErrorBody, ErrorKind, RegistryName, Request, Secret};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Check that a test makes on each answer. A trait, since every answer has a type of its own.
pub(crate) trait EachAnswer {
    fn check<T: Serialize + DeserializeOwned + PartialEq + Debug>(&mut self, name: &str, answer: T);
}

pub(crate) fn greeting() -> Greeting {
    Greeting {
        hello: Hello {
            versions: vec![1],
            daemon: "0.1.0".to_owned(),
        },
    }
}

pub(crate) fn requests() -> Vec<(&'static str, Request)> {
    let add = |registry| Request::AddRegistry(Box::new(registry));
    let mut requests = vec![
        ("add-registry", add(add_registry())),
        ("add-registry-least", add(add_registry_least())),
        ("add-registry-minted", add(add_registry_minted())),
        ("add-registry-shared", add(add_registry_shared())),
        ("add-registry-file", add(add_registry_file())),
        (
            "add-scope",
            Request::AddScope(AddScope {
                name: name("corp"),
                scopes: vec!["https://cdn.example/crates/".to_owned()],
            }),
        ),
        ("rotate", rotate("corp", Some("s3cret-token"))),
        ("rotate-least", rotate("minted", None)),
        ("logout", Request::Logout(by_name())),
        ("device-login", Request::DeviceLogin(by_name())),
        ("device-login-poll", Request::DeviceLoginPoll(by_name())),
        ("remove-registry", Request::RemoveRegistry(by_name())),
        ("list", Request::List(Nothing {})),
        ("show", Request::Show(by_name())),
        ("deny", Request::Deny(by_name())),
        ("status", Request::Status(Nothing {})),
        ("traffic", Request::Traffic(traffic_of())),
        ("traffic-least", Request::Traffic(TrafficOf::default())),
        (
            "set-upstream",
            Request::SetUpstream(SetUpstream {
                proxy: Some(secret("http://me:s3cret@proxy.corp.example:3128")),
                no_proxy: vec![".corp.example".to_owned()],
                ca_file: Some("/etc/corp-root.pem".to_owned()),
            }),
        ),
        ("set-upstream-least", Request::SetUpstream(SetUpstream::default())),
        ("metrics", Request::Metrics(Metrics::default())),
        ("reload", Request::Reload(Nothing {})),
        (
            "log",
            Request::Log(Log {
                level: Some(LogLevel::Debug),
            }),
        ),
        ("log-least", Request::Log(Log { level: None })),
        (
            "watch",
            Request::Watch(Watch {
                registries: vec![name("corp")],
                programs: vec!["cargo".to_owned()],
                grant: Some("3f9a1c2e".to_owned()),
                refused: true,
                operation: Some(Operation::Write),
            }),
        ),
        ("watch-least", Request::Watch(Watch::default())),
        ("stop", Request::Stop(Nothing {})),
    ];
    requests.extend(requests_with_options());
    requests.extend(requests_about_the_store());
    requests
}

fn requests_with_options() -> Vec<(&'static str, Request)> {
    let unlock = |passphrase, set_passphrase| {
        Request::Unlock(Unlock {
            passphrase,
            set_passphrase,
        })
    };
    let passphrase = || Some(secret("correct horse battery staple"));
    vec![
        (
            "verify",
            Request::Verify(Verify {
                name: Some(name("corp")),
            }),
        ),
        ("verify-least", Request::Verify(Verify { name: None })),
        (
            "allow",
            Request::Allow(Allow {
                name: name("corp"),
                seconds: 300,
            }),
        ),
        ("unlock", unlock(passphrase(), None)),
        ("unlock-least", unlock(None, None)),
        ("unlock-set-passphrase", unlock(None, passphrase())),
        (
            "grant",
            Request::Grant(Grant {
                registries: vec![name("corp")],
                write: true,
                seconds: 3600,
            }),
        ),
        (
            "grant-least",
            Request::Grant(Grant {
                registries: vec![],
                write: false,
                seconds: 60,
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

fn requests_about_the_store() -> Vec<(&'static str, Request)> {
    let store_move = |to: &str, passphrase| {
        Request::StoreMove(StoreMove {
            to: to.to_owned(),
            passphrase,
        })
    };
    vec![
        ("store", Request::Store(Nothing {})),
        (
            "store-move",
            store_move("vault", Some(secret("correct horse battery staple"))),
        ),
        ("store-move-least", store_move("keychain", None)),
        (
            "holds",
            Request::CompareToken(CompareToken {
                name: name("corp"),
                token: secret("s3cret-token"),
            }),
        ),
    ]
}

fn rotate(registry: &str, token: Option<&str>) -> Request {
    Request::Rotate(Rotate {
        name: name(registry),
        token: token.map(secret),
        verify: true,
    })
}

pub(crate) fn answers(each: &mut impl EachAnswer) {
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
    each.check("rotate", rotated("corp", 4, vec![]));
    let note = "the token comes from command:mint-token, which was asked again";
    each.check("rotate-minted", rotated("minted", 8, vec![note.to_owned()]));
    each.check(
        "device-login",
        device_login(Some("https://login.example/device?user_code=WDJB-MJHT".to_owned())),
    );
    each.check("device-login-least", device_login(None));
    for (form, interval, rotated) in [
        ("device-login-poll", None, Some(rotated("corp", 4, vec![]))),
        ("device-login-poll-pending", Some(5), None),
    ] {
        let name = name("corp");
        each.check(
            form,
            DeviceLoginState {
                name,
                interval,
                rotated,
            },
        );
    }
    for (form, notes) in [
        ("logout", vec!["api used the same token, and has none now".to_owned()]),
        ("logout-least", vec![]),
    ] {
        let name = name("corp");
        each.check(form, LoggedOut { name, notes });
    }
    each.check("verify", Verified { registries: verdicts() });
    for (form, open_until) in [("allow", Some("2026-03-04T05:11:07Z".to_owned())), ("deny", None)] {
        let name = name("corp");
        each.check(form, WritesChanged { name, open_until });
    }
    answers_about_grants(each);
    answers_of_the_daemon(each);
    answers_about_the_store(each);
}

fn answers_about_the_store(each: &mut impl EachAnswer) {
    let note = || vec!["the keychain still has copies from a move".to_owned()];
    let moving = StoreMoving {
        to: "vault".to_owned(),
        done: 4,
        of: 9,
    };
    for (form, moving, notes) in [("store", Some(moving), note()), ("store-least", None, vec![])] {
        let store = store("open");
        each.check(form, StoreShown { store, moving, notes });
    }
    let exposed = StoreShown {
        store: StoreView {
            exposure: Some("every program of the daemon's user can read the tokens".to_owned()),
            ..store("open")
        },
        moving: None,
        notes: vec![],
    };
    each.check("store-exposed", exposed);
    for (form, notes) in [("store-move", note()), ("store-move-least", vec![])] {
        let moved = StoreMoved {
            from: "keychain".to_owned(),
            store: store("open"),
            moved: 3,
            notes,
        };
        each.check(form, moved);
    }
    for (form, same) in [("holds", Some(true)), ("holds-least", None)] {
        let name = name("corp");
        each.check(form, TokenComparison { name, same });
    }
}

fn answers_about_grants(each: &mut impl EachAnswer) {
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

fn answers_of_the_daemon(each: &mut impl EachAnswer) {
    let problem = Problem {
        message: "corp: the registry rejected the token".to_owned(),
        hint: "regauthctl rotate corp".to_owned(),
    };
    each.check("status", status("open", vec![]));
    each.check("status-locked", status("locked", vec![problem]));
    each.check("status-behind-proxy", status_behind_proxy());
    each.check(
        "metrics",
        regauth_shared::response::Metrics {
            text: "# TYPE regauth_injections counter\nregauth_injections_total{registry=\"corp\"} 3\n# EOF\n"
                .to_owned(),
        },
    );
    each.check("traffic", traffic());
    each.check("traffic-least", traffic_least());
    each.check(
        "set-upstream",
        UpstreamSet {
            notes: vec!["regauthd uses the proxy from its next start".to_owned()],
        },
    );
    each.check(
        "reload",
        Reloaded {
            registries: 2,
            notes: vec!["`listen` changes at the next start".to_owned()],
        },
    );
    each.check(
        "unlock",
        Unlocked {
            store: store("open"),
            ready: 2,
        },
    );
    each.check("watch", Watching { pid: 4242 });
    each.check(
        "stop",
        Stopping {
            connections: 3,
            pid: 4242,
            at_most: Some(30),
        },
    );
    each.check(
        "log",
        LogLevels {
            level: "debug".to_owned(),
        },
    );
}

pub(crate) fn errors() -> Vec<(&'static str, ErrorBody)> {
    let plain = |name, kind, message: &str| (name, ErrorBody::new(kind, message));
    let hinted = |name, kind, message: &str, hint: &str| (name, ErrorBody::new(kind, message).hint(hint));
    use ErrorKind::*;
    vec![
        hinted("invalid", Invalid, "`basic` needs a user name", "add --username"),
        hinted("not-found", NotFound, "there is no registry `corp`", "regauthctl list"),
        plain("exists", Exists, "there is a registry `corp` already"),
        hinted(
            "token-rejected",
            TokenRejected,
            "corp.example answered 401",
            "check the token",
        ),
        plain("not-verified", NotVerified, "corp.example did not answer"),
        hinted(
            "store-locked",
            StoreLocked,
            "the keychain is locked",
            "regauthctl unlock",
        ),
        plain("store-unavailable", StoreUnavailable, "no keychain answers"),
        plain("refused", Refused, "a token never travels over plain http"),
        plain(
            "unsupported-version",
            UnsupportedVersion,
            "this daemon speaks version 1",
        ),
        plain("unreachable", Unreachable, "no regauthd is running"),
        plain("failed", Failed, "the disk is full"),
    ]
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
        ca_file: Some("/etc/corp-root.pem".to_owned()),
        verify: false,
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
        ca_file: None,
        source: None,
        source_command: None,
        credential_of: None,
        token: Some(secret("s3cret-token")),
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

fn add_registry_file() -> AddRegistry {
    AddRegistry {
        scopes: vec!["https://z.example/".to_owned()],
        source: Some("file:/run/secrets/corp".to_owned()),
        token: None,
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
        writes: "deny".to_owned(),
        writes_open_until: Some("2026-03-04T05:11:07Z".to_owned()),
        programs: vec!["cargo".to_owned(), "/usr/bin/git".to_owned()],
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
        writes: "allow".to_owned(),
        writes_open_until: None,
        programs: vec![],
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
    }
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

fn device_login(complete_url: Option<String>) -> DeviceLogin {
    DeviceLogin {
        name: name("corp"),
        user_code: "WDJB-MJHT".to_owned(),
        verification_url: "https://login.example/device".to_owned(),
        complete_url,
        expires_in: 900,
        interval: 5,
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

fn rotated(registry: &str, generation: u64, notes: Vec<String>) -> Rotated {
    Rotated {
        name: name(registry),
        generation,
        verified: true,
        public: false,
        notes,
    }
}

fn verdicts() -> Vec<Verdict> {
    [
        ("corp", VerdictResult::Accepted, "corp.example answered 200"),
        ("old", VerdictResult::Rejected, "old.example answered 401"),
        ("slow", VerdictResult::Unclear, "slow.example did not answer in 10 s"),
        (
            "open",
            VerdictResult::Public,
            "open.example answers 200 without the token, too",
        ),
        (
            "forge",
            VerdictResult::Inconclusive,
            "forge.example answers 302 with the token and without",
        ),
        ("wheels", VerdictResult::NoToken, "the keychain is locked"),
    ]
    .map(|(registry, result, detail)| Verdict {
        name: name(registry),
        result,
        detail: detail.to_owned(),
        cause: None,
        hint: None,
    })
    .to_vec()
}

fn status(store_is: &str, problems: Vec<Problem>) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 4242,
        started: "2026-03-04T05:00:00Z".to_owned(),
        listen: "127.0.0.1:9001".to_owned(),
        sockets: Sockets {
            proxy: SocketOrigin::Passed,
            control: SocketOrigin::Own,
        },
        proxy: "http://127.0.0.1:9001".to_owned(),
        bundle: "/home/me/.local/state/regauth/ca-bundle.pem".to_owned(),
        config: "/home/me/.config/regauth/config.toml".to_owned(),
        store: store(store_is),
        registries: 2,
        problems,
        clients: "same-user".to_owned(),
        upstream_proxies: Vec::new(),
        ca_file: None,
        audit: Some(AuditView {
            mode: "changes".to_owned(),
            required: false,
            folder: "/home/me/.local/state/regauth/audit".to_owned(),
            last: Link {
                line: 1234,
                hash: LineHash::of(b"line 1234"),
            },
        }),
        metrics: Some("http://127.0.0.1:9102/metrics".to_owned()),
        connections: 3,
        requests: 1234,
    }
}

fn status_behind_proxy() -> Status {
    Status {
        upstream_proxies: vec![UpstreamProxy {
            url: "https://proxy.corp.example:3128".to_owned(),
            set_by: "https_proxy".to_owned(),
            used_for: vec!["https".to_owned()],
        }],
        ca_file: Some("/etc/corp-root.pem".to_owned()),
        audit: None,
        metrics: None,
        ..status("open", vec![])
    }
}

fn store(state: &str) -> StoreView {
    StoreView {
        kind: "vault".to_owned(),
        protection: "encrypted under a passphrase".to_owned(),
        exposure: None,
        state: state.to_owned(),
        problem: None,
    }
}

fn traffic_of() -> TrafficOf {
    TrafficOf {
        latest_of_registry: Some(name("corp")),
        latest_of_client: Some(7),
    }
}

fn traffic() -> Traffic {
    Traffic {
        started: "2026-03-04T05:00:00Z".to_owned(),
        elapsed_us: 367_000_000,
        bounds_us: vec![100, 1_000, 10_000],
        registries: vec![registry_traffic()],
        refusals_elsewhere: counts(&[("grant-required", 2)]),
        clients: vec![client_traffic()],
        latest: vec![latest_request()],
        lost: 5,
    }
}

fn traffic_least() -> Traffic {
    Traffic {
        registries: vec![registry_traffic_least()],
        ..Traffic::default()
    }
}

fn registry_traffic() -> RegistryTraffic {
    let request_count = |operation, class: &str, count| RequestCount {
        operation,
        class: class.to_owned(),
        count,
    };
    RegistryTraffic {
        requests: vec![
            request_count(None, "4xx", 1),
            request_count(Some(Operation::Read), "2xx", 120),
            request_count(Some(Operation::Write), "4xx", 3),
        ],
        refusals: counts(&[("write-denied", 3)]),
        injections: 120,
        in_flight: 2,
        bytes_up: 1_024,
        bytes_down: 1_048_576,
        total: histogram(&[0, 100, 20, 4], 250_000),
        registry: histogram(&[0, 100, 20], 240_000),
        own: histogram(&[120], 6_000),
        connections_opened: 2,
        connections_reused: 118,
        renewals: counts(&[("failed", 1), ("renewed", 4)]),
        last_answer: Some("2026-03-04T05:06:07Z".to_owned()),
        last_refusal: Some(LastRefusal {
            code: "write-denied".to_owned(),
            at: "2026-03-04T05:03:07Z".to_owned(),
        }),
        ..registry_traffic_least()
    }
}

fn registry_traffic_least() -> RegistryTraffic {
    RegistryTraffic {
        name: name("corp"),
        requests: vec![],
        refusals: vec![],
        injections: 0,
        in_flight: 0,
        bytes_up: 0,
        bytes_down: 0,
        total: Histogram::default(),
        registry: Histogram::default(),
        own: Histogram::default(),
        connections_opened: 0,
        connections_reused: 0,
        renewals: vec![],
        last_answer: None,
        last_refusal: None,
    }
}

fn client_traffic() -> ClientTraffic {
    ClientTraffic {
        id: 7,
        client: client(),
        requests: 124,
        refusals: 3,
        bytes_up: 1_024,
        bytes_down: 1_048_576,
        last_seen: "2026-03-04T05:06:07Z".to_owned(),
    }
}

fn latest_request() -> Event {
    Event {
        time: 1_772_600_767_000,
        sequence: 124,
        kind: EventKind::Request(Exchange {
            registry: Some(name("corp")),
            client: client(),
            method: Some("GET".to_owned()),
            path: Some("/api/cargo/index/config.json".to_owned()),
            status: Some(200),
            ..Exchange::default()
        }),
    }
}

fn client() -> Client {
    Client {
        uid: Some(1000),
        pid: Some(4711),
        program: Some("/usr/bin/cargo".to_owned()),
        parent: Some("/usr/bin/bash".to_owned()),
        folder: Some("/home/me/project".to_owned()),
        ..Client::default()
    }
}

fn counts(counts: &[(&str, u64)]) -> Vec<NamedCount> {
    let count = |(name, count): &(&str, u64)| NamedCount {
        name: (*name).to_owned(),
        count: *count,
    };
    counts.iter().map(count).collect()
}

fn histogram(counts: &[u64], sum_us: u64) -> Histogram {
    Histogram {
        counts: counts.to_vec(),
        sum_us,
    }
}

fn by_name() -> ByName {
    ByName { name: name("corp") }
}

fn name(text: &str) -> RegistryName {
    text.parse().unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::parse(text).unwrap()
}
