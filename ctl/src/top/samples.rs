//! Samples of a daemon for the tests of the model and of the view: two registries, two clients.

use regauth_shared::event::Event;
use regauth_shared::response::{RegistryView, Status, Traffic};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::model::{Model, PollResult};
use super::sample::Sample;

/// Time at which the frames are drawn.
pub(super) fn now() -> OffsetDateTime {
    OffsetDateTime::parse("2026-03-04T05:06:07Z", &Rfc3339).unwrap()
}

/// Sample after some seconds, in which `corp` has answered `requests` requests in all.
pub(super) fn sample(seconds: u64, requests: u64) -> Sample {
    Sample {
        status: status(),
        registries: registries(),
        traffic: traffic(seconds, requests),
    }
}

/// Model that has taken two samples, one second and 50 requests apart.
pub(super) fn model() -> Model {
    let mut model = Model::default();
    take(&mut model, sample(10, 100));
    take(&mut model, sample(11, 150));
    model
}

/// Gives a sample to a model.
pub(super) fn take(model: &mut Model, sample: Sample) {
    model.take(PollResult {
        result: Ok(sample),
        is_regular: true,
    });
}

/// State of the daemon.
pub(super) fn status() -> Status {
    parse(json!({
        "version": "0.1.0", "pid": 4242, "started": "2026-03-04T04:00:00Z", "listen": "127.0.0.1:9001",
        "proxy": "http://127.0.0.1:9001", "bundle": "/b.pem", "config": "/c.toml",
        "store": {"kind": "vault", "protection": "a file", "state": "open"},
        "registries": 2, "connections": 3, "requests": 1234,
    }))
}

/// The registries `corp`, which works and whose writes are open, and `wheels`, whose token was rejected.
pub(super) fn registries() -> Vec<RegistryView> {
    let registry = |name: &str, kind: &str, state: &str| {
        json!({
            "name": name, "kind": kind, "scopes": [format!("https://{name}.example/")], "scheme": "bearer",
            "source": "store", "writes": "deny", "requests": 0,
            "credential": {"state": state, "generation": 3, "expires": "2026-03-04T10:06:07Z"},
        })
    };
    let mut corp = registry("corp", "cargo", "ready");
    corp["writes-open-until"] = json!("2026-03-04T05:10:14Z");
    parse(json!([corp, registry("wheels", "pypi", "rejected")]))
}

/// Counters.
pub(super) fn traffic(seconds: u64, requests: u64) -> Traffic {
    parse(json!({
        "started": "2026-03-04T04:00:00Z", "elapsed-us": seconds * 1_000_000, "bounds-us": [100, 1_000, 10_000],
        "registries": [{
            "name": "corp", "requests": [{"operation": "read", "class": "2xx", "count": requests}],
            "refusals": [{"name": "write-denied", "count": 2}], "injections": requests, "in-flight": 4,
            "bytes-up": requests * 10, "bytes-down": requests * 2_000,
            "total": {"counts": [0, 0, requests], "sum-us": requests * 5_000},
            "registry": {"counts": [0, 0, requests], "sum-us": requests * 5_000},
            "own": {"counts": [requests], "sum-us": requests * 50},
            "connections-opened": 1, "connections-reused": 99,
            "last-refusal": {"code": "write-denied", "at": "2026-03-04T05:03:07Z"},
        }],
        "clients": [
            {"id": 7, "uid": 1000, "pid": 4711, "program": "/usr/bin/cargo", "parent": "/usr/bin/bash",
             "folder": "/home/me/project", "requests": requests, "refusals": 0, "bytes-up": 10, "bytes-down": 20,
             "last-seen": "2026-03-04T05:06:00Z"},
            {"id": 8, "grant": "3f9a1c2e", "address": "192.0.2.7", "requests": 3, "refusals": 2, "bytes-up": 0,
             "bytes-down": 0, "last-seen": "2026-03-04T05:00:07Z"},
        ],
    }))
}

/// Latest requests of `corp`: one that it answered, one that was refused.
pub(super) fn latest() -> Vec<Event> {
    let client = json!({"uid": 1000, "pid": 4711, "program": "/usr/bin/cargo"});
    parse(json!([
        {"time": 1_772_600_767_000_u64, "sequence": 9, "event": "request", "registry": "corp", "client": client,
         "operation": "read", "method": "GET", "path": "/index/se/rd/serde", "status": 200, "generation": 3,
         "bytes-down": 2_000, "total-us": 5_000, "first-byte-us": 4_000, "own-us": 85, "reused": true},
        {"time": 1_772_600_766_000_u64, "sequence": 8, "event": "refusal", "registry": "corp", "client": client,
         "operation": "write", "method": "PUT", "path": "/api/v1/crates/new", "status": 403, "code": "write-denied",
         "total-us": 90},
    ]))
}

fn parse<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}
