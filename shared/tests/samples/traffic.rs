//! Samples of the messages about the counters of requests.

use regauth_shared::Request;
use regauth_shared::event::{Client, Event, EventKind, Exchange, Operation, Workload};
use regauth_shared::request::TrafficOf;
use regauth_shared::response::{
    ClientTraffic, Histogram, LastRefusal, NamedCount, RegistryTraffic, RequestCount, Traffic, WorkloadTraffic,
};

use super::{EachAnswer, name};

pub(super) fn requests() -> Vec<(&'static str, Request)> {
    vec![
        ("traffic", Request::Traffic(traffic_of())),
        ("traffic-least", Request::Traffic(TrafficOf::default())),
    ]
}

pub(super) fn answers(each: &mut impl EachAnswer) {
    each.check("traffic", traffic());
    each.check("traffic-least", traffic_least());
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
        workloads: vec![workload_traffic()],
        latest: vec![latest_request()],
        lost: 5,
    }
}

fn workload_traffic() -> WorkloadTraffic {
    WorkloadTraffic {
        workload: Workload {
            issuer: "https://token.actions.githubusercontent.com".to_owned(),
            subject: "repo:corp/plans:ref:refs/heads/main".to_owned(),
            repository: Some("corp/plans".to_owned()),
        },
        requests: 120,
        refusals: 3,
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
