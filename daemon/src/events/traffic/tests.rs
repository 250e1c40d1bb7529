//! Tests of the counters: records in, the protocol's form out.

use std::sync::Arc;
use std::time::Duration;

use regauth_shared::event::{Lost, Operation as Effect, RegistryChange, Renewal};
use regauth_shared::frame::MAX_LINE;
use regauth_shared::response::LastRefusal;

use super::*;
use crate::events::caller::{Caller, Program};
use crate::events::record::PathText;
use crate::policy::Operation;

/// Time of the first request: 2026-03-04T05:06:07Z.
const BEGIN: u64 = 1_772_600_767_000;

fn name(text: &str) -> RegistryName {
    text.parse().unwrap()
}

/// Process of this user.
fn caller(pid: u32) -> Arc<Caller> {
    let caller = Caller {
        uid: Some(1000),
        ..Caller::default()
    };
    caller
        .program
        .set(Some(Program {
            pid,
            path: "/usr/bin/cargo".to_owned(),
            parent: Some("/usr/bin/bash".to_owned()),
            folder: Some("/home/me/project".to_owned()),
        }))
        .unwrap();
    Arc::new(caller)
}

/// Read of the registry `corp` that took 5 ms, 50 µs of which were regauthd's.
fn read(sequence: u64, caller: Arc<Caller>) -> Ended {
    let mut record = RequestRecord::begin(caller, Instant::now());
    record.registry = Some(name("corp"));
    record.operation = Some(Operation::Read);
    record.path = PathText::new("/index/se/rd/serde");
    record.status = Some(200);
    record.generation = Some(3);
    record.total = Duration::from_millis(6);
    record.first_byte = Some(Duration::from_millis(5));
    record.own = Some(Duration::from_micros(50));
    record.bytes_down = 2_000;
    record.reused = Some(true);
    Ended {
        time: BEGIN + sequence,
        sequence,
        record,
    }
}

/// Write that was refused.
fn refused(sequence: u64, registry: Option<&str>) -> Ended {
    let mut ended = read(sequence, caller(1));
    ended.record.registry = registry.map(name);
    ended.record.operation = Some(Operation::Write);
    ended.record.status = Some(403);
    ended.record.code = Some("write-denied");
    (ended.record.generation, ended.record.reused) = (None, None);
    (ended.record.first_byte, ended.record.own) = (None, None);
    ended
}

fn snapshot(counters: &TrafficCounters, of: &TrafficOf) -> Traffic {
    counters.snapshot(of, String::new(), std::iter::empty())
}

#[test]
fn counts_requests_by_operation_and_class_and_times_by_bucket() {
    let counters = TrafficCounters::new();
    counters.count_request(read(1, caller(1)));
    let mut left = read(2, caller(1));
    (left.record.status, left.record.reused) = (None, Some(false));
    counters.count_request(left);
    counters.count_request(refused(3, Some("corp")));
    let corp = &snapshot(&counters, &TrafficOf::default()).registries[0];
    let counts: Vec<_> = corp
        .requests
        .iter()
        .map(|requests| (requests.operation, requests.class.as_str(), requests.count))
        .collect();
    assert_eq!(
        counts,
        [
            (Some(Effect::Read), "none", 1),
            (Some(Effect::Read), "2xx", 1),
            (Some(Effect::Write), "4xx", 1),
        ]
    );
    assert_eq!((corp.injections, corp.bytes_down), (2, 6_000));
    assert_eq!((corp.connections_opened, corp.connections_reused), (1, 1));
    assert_eq!(corp.total.counts.iter().sum::<u64>(), 3);
    assert_eq!((corp.registry.sum_us, corp.own.sum_us), (2 * 4_950, 2 * 50));
    assert_eq!(corp.own.counts, [0, 0, 2]);
    assert_eq!(corp.last_answer.as_deref(), Some("2026-03-04T05:06:07Z"));
    let last_refusal = LastRefusal {
        code: "write-denied".to_owned(),
        at: "2026-03-04T05:06:07Z".to_owned(),
    };
    assert_eq!(corp.last_refusal, Some(last_refusal));
}

#[test]
fn a_refusal_without_a_registry_is_counted_apart() {
    let counters = TrafficCounters::new();
    counters.count_request(refused(1, None));
    let traffic = snapshot(&counters, &TrafficOf::default());
    assert_eq!(traffic.registries, []);
    assert_eq!(traffic.refusals_elsewhere[0].count, 1);
    assert_eq!(traffic.clients[0].refusals, 1);
}

#[test]
fn counts_renewals_by_result_and_lost_events() {
    let counters = TrafficCounters::new();
    for failure in [None, None, Some("no session".to_owned())] {
        counters.count_event(&EventKind::Renewal(Renewal {
            registry: name("minted"),
            generation: None,
            failure,
        }));
    }
    counters.count_event(&EventKind::Lost(Lost { events: 7 }));
    let traffic = snapshot(&counters, &TrafficOf::default());
    let renewals: Vec<_> = traffic.registries[0]
        .renewals
        .iter()
        .map(|renewals| (renewals.name.as_str(), renewals.count))
        .collect();
    assert_eq!(renewals, [("failed", 1), ("renewed", 2)]);
    assert_eq!(traffic.lost, 7);
}

#[test]
fn a_removed_registry_has_no_counters() {
    let counters = TrafficCounters::new();
    counters.count_request(read(1, caller(1)));
    counters.count_event(&EventKind::RegistryRemoved(RegistryChange { registry: name("corp") }));
    assert_eq!(snapshot(&counters, &TrafficOf::default()).registries, []);
}

#[test]
fn a_registry_with_its_first_request_in_flight_is_listed() {
    let counters = TrafficCounters::new();
    let in_flight = [(name("corp"), 1), (name("idle"), 0)];
    let traffic = counters.snapshot(&TrafficOf::default(), String::new(), in_flight.into_iter());
    let listed: Vec<_> = traffic.registries.iter().map(|registry| registry.in_flight).collect();
    assert_eq!(listed, [1]);
}

#[test]
fn the_latest_requests_of_a_registry_and_of_a_client_are_newest_first() {
    let counters = TrafficCounters::new();
    for sequence in 1..=100 {
        counters.count_request(read(sequence, caller(u32::try_from(sequence % 2).unwrap())));
    }
    let sequences = |of: &TrafficOf| -> Vec<u64> {
        let latest = snapshot(&counters, of).latest;
        latest.iter().map(|event| event.sequence).collect()
    };
    let of_registry = sequences(&TrafficOf {
        latest_of_registry: Some(name("corp")),
        ..TrafficOf::default()
    });
    assert_eq!(of_registry.len(), LATEST);
    assert_eq!(of_registry[..3], [100, 99, 98]);
    let clients = snapshot(&counters, &TrafficOf::default()).clients;
    let odd = clients.iter().find(|client| client.client.pid == Some(1)).unwrap();
    let of_client = sequences(&TrafficOf {
        latest_of_client: Some(odd.id),
        ..TrafficOf::default()
    });
    assert_eq!(of_client[..3], [99, 97, 95]);
    assert_eq!(sequences(&TrafficOf::default()), [0; 0]);
}

#[test]
fn a_million_requests_of_many_clients_fit_into_the_same_memory() {
    let counters = TrafficCounters::new();
    let callers: Vec<_> = (0..10_000).map(caller).collect();
    for sequence in 1..=1_000_000_u64 {
        let caller = &callers[usize::try_from(sequence % 10_000).unwrap()];
        counters.count_request(read(sequence, Arc::clone(caller)));
    }
    let traffic = snapshot(&counters, &TrafficOf::default());
    assert_eq!(traffic.registries[0].requests[0].count, 1_000_000);
    assert_eq!(traffic.clients.len(), clients::MAX_CLIENTS);
    let newest = 1_000_000 % 10_000;
    assert_eq!(traffic.clients[0].client.pid, Some(newest));
    let oldest = traffic.clients.last().unwrap().client.pid.unwrap();
    assert_eq!((newest + 10_000 - oldest) % 10_000, 255, "the silent ones have left");
    // Records hold their callers; all but the latest have been dropped.
    let held = callers.iter().filter(|caller| Arc::strong_count(caller) > 1).count();
    assert!(held <= clients::MAX_CLIENTS + LATEST, "{held} callers are held");
}

#[test]
fn the_longest_names_fit_into_one_line_of_the_protocol() {
    let counters = TrafficCounters::new();
    for sequence in 1..=300 {
        let long = Caller::default();
        let path = format!("/{}", "x".repeat(4_095));
        let program = Program {
            pid: sequence,
            path: path.clone(),
            parent: Some(path.clone()),
            folder: Some(path),
        };
        long.program.set(Some(program)).unwrap();
        counters.count_request(read(sequence.into(), Arc::new(long)));
    }
    let traffic = snapshot(
        &counters,
        &TrafficOf {
            latest_of_registry: Some(name("corp")),
            ..TrafficOf::default()
        },
    );
    assert!(!traffic.clients.is_empty() && !traffic.latest.is_empty());
    assert!(serde_json::to_string(&traffic).unwrap().len() < MAX_LINE);
}
