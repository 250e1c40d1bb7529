//! Metrics: counters and gauges of the daemon as text, for `regauthctl metrics` and for a Prometheus that scrapes
//! `metrics-listen`.
//!
//! The counters are those of `traffic`; gauges are read when somebody asks. Labels are few: a registry's name, and words
//! from fixed lists, and the names of workloads, of which a few hundred are counted each. No host or path is a label.

mod endpoint;
mod exposition;
mod places;

pub(crate) use self::endpoint::{MetricsEndpoint, serve};

use std::collections::BTreeMap;
use std::sync::Arc;

use regauth_shared::event::Operation;
use regauth_shared::frame::MAX_LINE;
use regauth_shared::request::{Metrics as MetricsRequest, MetricsFormat, TrafficOf};
use regauth_shared::response::{Histogram, Metrics, NamedCount, RegistryTraffic, Traffic, WorkloadTraffic};
use regauth_shared::{ErrorBody, ErrorKind, version};

use self::exposition::{Exposition, Type};
use crate::control::controller::Controller;
use crate::control::verbs::traffic;
use crate::credential::CredentialState;
use crate::credential::store::StoreError;
use crate::proxy::routes::RegistryRoute;

/// All metrics as text.
fn metrics(controller: &Controller, format: MetricsFormat) -> String {
    let traffic = traffic::traffic(controller, &TrafficOf::default());
    let mut text = Exposition::new(format);
    process(&mut text, controller);
    requests(&mut text, &traffic);
    workloads(&mut text, &traffic);
    durations(&mut text, &traffic);
    registries(&mut text, controller);
    record(&mut text, controller, &traffic);
    text.finish()
}

/// All metrics as an answer of the protocol.
///
/// # Errors
/// `failed` when they are longer than an answer may be.
pub(crate) fn answer(controller: &Controller, request: &MetricsRequest) -> Result<Metrics, ErrorBody> {
    let text = metrics(controller, request.format);
    // In JSON, each quotation mark of a label has a backslash, and the answer has a frame.
    if text.len() + text.len() / 4 > MAX_LINE {
        let error = ErrorBody::new(ErrorKind::Failed, "there are too many registries for one answer");
        return Err(error.hint("set `metrics-listen = \"127.0.0.1:9102\"` in config.toml and read them over HTTP"));
    }
    Ok(Metrics { text })
}

fn process(text: &mut Exposition, controller: &Controller) {
    text.family("regauth_build", Type::Info, "Release of the daemon.")
        .sample(&[("version", version::PROGRAM)], 1);
    text.family("regauth_start_time_seconds", Type::Gauge, "Time of the daemon's start.")
        .sample(&[], controller.started.unix_timestamp());
    text.family(
        "regauth_client_connections",
        Type::Gauge,
        "Open connections of clients.",
    )
    .sample(&[], controller.proxy.counters.connections());
}

fn requests(text: &mut Exposition, traffic: &Traffic) {
    text.family(
        "regauth_requests",
        Type::Counter,
        "Ended requests, by the class of the status that the client got.",
    );
    for registry in &traffic.registries {
        for count in &registry.requests {
            let labels = [
                ("registry", registry.name.as_str()),
                ("operation", operation(count.operation)),
                ("class", count.class.as_str()),
            ];
            text.sample(&labels, count.count);
        }
    }
    text.family(
        "regauth_refusals",
        Type::Counter,
        "Requests that the daemon answered itself, by the code of the refusal.",
    );
    for (code, count) in refusals(traffic) {
        text.sample(&[("code", code)], count);
    }
    let mut counter = |name, help, value: fn(&RegistryTraffic) -> u64| {
        text.family(name, Type::Counter, help);
        for registry in &traffic.registries {
            text.sample(&[("registry", registry.name.as_str())], value(registry));
        }
    };
    counter("regauth_injections", "Requests that carried the credential.", |each| {
        each.injections
    });
    counter("regauth_request_bytes", "Bytes of request bodies.", |each| {
        each.bytes_up
    });
    counter("regauth_response_bytes", "Bytes of response bodies.", |each| {
        each.bytes_down
    });
    let (opened, reused) = ("Requests that opened a connection.", "Requests on an open connection.");
    counter("regauth_upstream_connections_opened", opened, |each| {
        each.connections_opened
    });
    counter("regauth_upstream_connections_reused", reused, |each| {
        each.connections_reused
    });
}

/// Without a workload, the families are left out: only a gateway has any.
fn workloads(text: &mut Exposition, traffic: &Traffic) {
    if traffic.workloads.is_empty() {
        return;
    }
    let mut counter = |name, help, value: fn(&WorkloadTraffic) -> u64| {
        text.family(name, Type::Counter, help);
        for each in &traffic.workloads {
            let labels = [
                ("issuer", each.workload.issuer.as_str()),
                ("subject", each.workload.subject.as_str()),
                ("repository", each.workload.repository.as_deref().unwrap_or_default()),
            ];
            text.sample(&labels, value(each));
        }
    };
    counter("regauth_workload_requests", "Ended requests of a workload.", |each| {
        each.requests
    });
    counter(
        "regauth_workload_refusals",
        "Requests of a workload that were refused.",
        |each| each.refusals,
    );
}

fn operation(operation: Option<Operation>) -> &'static str {
    match operation {
        Some(Operation::Read) => "read",
        Some(Operation::Write) => "write",
        None => "unknown",
    }
}

/// Sums of all registries and of requests without one.
fn refusals(traffic: &Traffic) -> BTreeMap<&str, u64> {
    let mut sums = BTreeMap::new();
    let of_registries = traffic.registries.iter().flat_map(|each| &each.refusals);
    for NamedCount { name, count } in of_registries.chain(&traffic.refusals_elsewhere) {
        *sums.entry(name.as_str()).or_default() += count;
    }
    sums
}

fn durations(text: &mut Exposition, traffic: &Traffic) {
    let mut histogram = |name, help, value: fn(&RegistryTraffic) -> &Histogram| {
        text.family(name, Type::Histogram, help);
        for each in &traffic.registries {
            let labels = [("registry", each.name.as_str())];
            text.histogram(&labels, &traffic.bounds_us, value(each));
        }
    };
    let total = "Time from a request's head to the end of its answer.";
    histogram("regauth_request_seconds", total, |each| &each.total);
    let upstream = "Time until the head of the answer that the network and the registry took.";
    histogram("regauth_upstream_seconds", upstream, |each| &each.registry);
    let own = traffic.registries.iter().map(|each| &each.own);
    let own = own.fold(Histogram::default(), sum);
    let help = "Time that the daemon itself took before a request was on its way.";
    text.family("regauth_overhead_seconds", Type::Histogram, help);
    text.histogram(&[], &traffic.bounds_us, &own);
}

fn sum(mut sum: Histogram, each: &Histogram) -> Histogram {
    let length = sum.counts.len().max(each.counts.len());
    sum.counts.resize(length, 0);
    for (sum, count) in sum.counts.iter_mut().zip(&each.counts) {
        *sum += count;
    }
    sum.sum_us = sum.sum_us.saturating_add(each.sum_us);
    sum
}

fn registries(text: &mut Exposition, controller: &Controller) {
    let snapshot = controller.snapshot();
    let mut gauge = |name, help, value: fn(&RegistryRoute) -> Option<i64>| {
        text.family(name, Type::Gauge, help);
        for route in snapshot.registries.values() {
            if let Some(value) = value(route) {
                text.sample(&[("registry", route.name.as_str())], value);
            }
        }
    };
    let in_flight = "Requests that have begun and not ended.";
    gauge("regauth_requests_in_flight", in_flight, |route| {
        i64::try_from(route.usage.in_flight()).ok()
    });
    let writes = "1 while writes are open by `regauthctl allow`.";
    gauge("regauth_writes_open", writes, |route| {
        Some(i64::from(route.usage.writes_open_until().is_some()))
    });
    let generation = "Number of the token in use, 0 without one.";
    gauge("regauth_credential_generation", generation, generation_of);
    let expiry = "Time at which the token expires, if it is known.";
    gauge("regauth_credential_expiry_timestamp_seconds", expiry, expiry_of);
    let renewal = "Time at which the source is asked for the next token.";
    gauge("regauth_credential_renewal_timestamp_seconds", renewal, |route| {
        Some(route.credential.shared.refresh_status().next?.unix_timestamp())
    });
    let rejected = "1 while the registry rejects the token.";
    gauge("regauth_credential_rejected", rejected, |route| {
        let state = route.credential.state();
        Some(i64::from(
            state.value().is_some_and(|value| value.breaker.is_rejected()),
        ))
    });
    let is_locked = |route: &Arc<RegistryRoute>| matches!(route.credential.state(), CredentialState::Locked);
    let is_store_locked = snapshot.store_error.as_ref().is_some_and(StoreError::is_locked);
    let locked = is_store_locked || snapshot.registries.values().any(is_locked);
    text.family(
        "regauth_store_locked",
        Type::Gauge,
        "1 while the store of the tokens is locked.",
    )
    .sample(&[], u8::from(locked));
}

fn generation_of(route: &RegistryRoute) -> Option<i64> {
    let state = route.credential.state();
    let number = state.value().map_or(0, |generation| generation.value.number);
    i64::try_from(number).ok()
}

fn expiry_of(route: &RegistryRoute) -> Option<i64> {
    let state = route.credential.state();
    Some(state.value()?.value.ends()?.unix_timestamp())
}

fn record(text: &mut Exposition, controller: &Controller, traffic: &Traffic) {
    text.family(
        "regauth_renewals",
        Type::Counter,
        "Renewals of tokens by their sources.",
    );
    for each in &traffic.registries {
        for result in &each.renewals {
            text.sample(
                &[("registry", each.name.as_str()), ("result", result.name.as_str())],
                result.count,
            );
        }
    }
    text.family(
        "regauth_events_lost",
        Type::Counter,
        "Events that these counters miss because they came too fast.",
    )
    .sample(&[], traffic.lost);
    let is_failing = u8::from(controller.proxy.audit.problem().is_some());
    text.family(
        "regauth_audit_failing",
        Type::Gauge,
        "1 while the audit record cannot be written.",
    )
    .sample(&[], is_failing);
}
