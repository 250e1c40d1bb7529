//! Samples of the messages about the daemon itself.

use regauth_shared::Request;
use regauth_shared::audit::{LineHash, Link};
use regauth_shared::event::Operation;
use regauth_shared::request::{Log, LogLevel, Metrics, Nothing, Reload, SetUpstream, Watch};
use regauth_shared::response::{
    AuditFiles, AuditView, ConfigurationChange, LogLevels, Problem, Reloaded, SocketOrigin, Sockets, Status, Stopping,
    UpstreamProxy, UpstreamSet, Watching,
};

use super::store::store;
use super::{EachAnswer, name, secret};

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    vec![
        ("status", Request::Status(Nothing {})),
        (
            "set-upstream",
            Request::SetUpstream(SetUpstream {
                proxy: Some(secret("http://me:s3cret@proxy.corp.example:3128")),
                no_proxy: vec![".corp.example".to_owned()],
                ca_file: Some("/etc/corp-root.pem".to_owned()),
                replace: true,
                remove: false,
            }),
        ),
        (
            "set-upstream-remove",
            Request::SetUpstream(SetUpstream {
                remove: true,
                ..SetUpstream::default()
            }),
        ),
        ("set-upstream-least", Request::SetUpstream(SetUpstream::default())),
        ("metrics", Request::Metrics(Metrics::default())),
        ("audit-files", Request::AuditFiles(Nothing {})),
        ("reload", Request::Reload(Reload::default())),
        (
            "reload-check",
            Request::Reload(Reload {
                check: true,
                reviewed: None,
            }),
        ),
        (
            "reload-reviewed",
            Request::Reload(Reload {
                check: false,
                reviewed: Some("1".repeat(64)),
            }),
        ),
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
    ]
}

pub(super) fn answers(each: &mut impl EachAnswer) {
    let problem = Problem {
        message: "corp: the registry rejected the token".to_owned(),
        hint: "regauthctl login corp".to_owned(),
    };
    each.check("status", status("open", vec![]));
    each.check("status-locked", status("locked", vec![problem]));
    each.check("status-behind-proxy", status_behind_proxy());
    each.check("status-guarded", status_guarded());
    each.check("status-of-gateway", status_of_gateway());
    each.check(
        "metrics",
        regauth_shared::response::Metrics {
            text: "# TYPE regauth_injections counter\nregauth_injections_total{registry=\"corp\"} 3\n# EOF\n"
                .to_owned(),
        },
    );
    each.check(
        "set-upstream",
        UpstreamSet {
            notes: vec!["regauthd uses the proxy from its next start".to_owned()],
            proxy_written: true,
        },
    );
    each.check(
        "reload",
        Reloaded {
            registries: 2,
            changes: vec![],
            settings: vec![],
            review: None,
            notes: vec!["`listen` changes at the next start".to_owned()],
        },
    );
    each.check(
        "reload-changes",
        Reloaded {
            registries: 2,
            changes: vec![ConfigurationChange {
                registry: name("corp"),
                key: Some("writes".to_owned()),
                before: None,
                after: Some("\"allow\"".to_owned()),
                widens: Some("writes such as publish are open".to_owned()),
            }],
            settings: vec!["notify".to_owned()],
            review: Some("1".repeat(64)),
            notes: vec![],
        },
    );
    each.check("watch", Watching { pid: 4242 });
    let files = ["audit-000000000001.jsonl", "audit.jsonl"].map(str::to_owned).to_vec();
    each.check("audit-files", AuditFiles { files });
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

fn status(store_is: &str, problems: Vec<Problem>) -> Status {
    Status {
        version: "0.1.0".to_owned(),
        pid: 4242,
        started: "2026-03-04T05:00:00Z".to_owned(),
        listen: "127.0.0.1:9001".to_owned(),
        listen_tls: None,
        sockets: Sockets {
            proxy: SocketOrigin::Passed,
            control: SocketOrigin::Own,
        },
        proxy: "http://127.0.0.1:9001".to_owned(),
        bundle: "/home/me/.local/state/regauth/ca-bundle.pem".to_owned(),
        bundle_folder: Some("/home/me/.local/state/regauth/bundle".to_owned()),
        config: "/home/me/.config/regauth/config.toml".to_owned(),
        store: store(store_is),
        registries: 2,
        problems,
        mode: "user".to_owned(),
        users: Vec::new(),
        presence: String::new(),
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

fn status_guarded() -> Status {
    Status {
        mode: "guarded".to_owned(),
        users: vec![1000, 1001],
        presence: "always".to_owned(),
        bundle: "/var/cache/regauth/ca-bundle.pem".to_owned(),
        bundle_folder: Some("/var/cache/regauth".to_owned()),
        config: "/var/lib/regauth/config.toml".to_owned(),
        ..status("open", vec![])
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

fn status_of_gateway() -> Status {
    Status {
        listen_tls: Some("0.0.0.0:9443".to_owned()),
        clients: "gateway".to_owned(),
        ..status("open", vec![])
    }
}
