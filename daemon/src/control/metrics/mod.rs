//! Metrics: counters and gauges of the daemon as text, for `regauthctl metrics` and for a Prometheus that scrapes
//! `metrics-listen`.
//!
//! The counters are those of `traffic`; gauges are read when somebody asks. Labels are few: a registry's name, and words
//! from fixed lists. No host, path or client is a label.

mod endpoint;
mod exposition;

pub(crate) use self::endpoint::{MetricsEndpoint, serve};

use std::collections::BTreeMap;
use std::sync::Arc;

use regauth_shared::event::Operation;
use regauth_shared::frame::MAX_LINE;
use regauth_shared::request::{Metrics as MetricsRequest, MetricsFormat, TrafficOf};
use regauth_shared::response::{Histogram, Metrics, NamedCount, RegistryTraffic, Traffic};
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
    durations(&mut text, &traffic);
    credentials(&mut text, controller);
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
    text.family("regauth_client_connections", Type::Gauge, "Open connections of clients.")
        .sample(&[], controller.proxy.counters.connections());
}

fn requests(text: &mut Exposition, traffic: &Traffic) {
    text.family("regauth_requests", Type::Counter, "Ended requests, by the class of the status that the client got.");
    for (registry, count) in traffic.registries.iter().flat_map(|each| each.requests.iter().map(move |count| (each, count))) {
        let operation = match count.operation {
            Some(Operation::Read) => "read",
            Some(Operation::Write) => "write",
            None => "unknown",
        };
        let labels = [("registry", registry.name.as_str()), ("operation", operation), ("class", count.class.as_str())];
        text.sample(&labels, count.count);
    }
    text.family("regauth_refusals", Type::Counter, "Requests that the daemon answered itself, by the code of the refusal.");
    for (code, count) in refusals(traffic) {
        text.sample(&[("code", code)], count);
    }
    let counters: [(&str, &str, fn(&RegistryTraffic) -> u64); 5] = [
        ("regauth_injections", "Requests that carried the credential.", |each| each.injections),
        ("regauth_request_bytes", "Bytes of request bodies.", |each| each.bytes_up),
        ("regauth_response_bytes", "Bytes of response bodies.", |each| each.bytes_down),
        ("regauth_upstream_connections_opened", "Requests that opened a connection.", |each| each.connections_opened),
        ("regauth_upstream_connections_reused", "Requests on an open connection.", |each| each.connections_reused),
    ];
    for (name, help, value) in counters {
        text.family(name, Type::Counter, help);
        traffic.registries.iter().for_each(|each| drop(text.sample(&[("registry", each.name.as_str())], value(each))));
    }
    text.family("regauth_requests_in_flight", Type::Gauge, "Requests that have begun and not ended.");
    for each in &traffic.registries {
        text.sample(&[("registry", each.name.as_str())], each.in_flight);
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
    let histograms: [(&str, &str, fn(&RegistryTraffic) -> &Histogram); 2] = [
        ("regauth_request_seconds", "Time from a request's head to the end of its answer.", |each| &each.total),
        ("regauth_upstream_seconds", "Time until the head of the answer that the network and the registry took.", |each| {
            &each.registry
        }),
    ];
    for (name, help, histogram) in histograms {
        text.family(name, Type::Histogram, help);
        for each in &traffic.registries {
            text.histogram(&[("registry", each.name.as_str())], &traffic.bounds_us, histogram(each));
        }
    }
    let own = traffic.registries.iter().map(|each| &each.own).fold(Histogram::default(), sum);
    text.family("regauth_overhead_seconds", Type::Histogram, "Time that the daemon itself took before a request was on its way.");
    text.histogram(&[], &traffic.bounds_us, &own);
}

fn sum(mut sum: Histogram, each: &Histogram) -> Histogram {
    sum.counts.resize(sum.counts.len().max(each.counts.len()), 0);
    sum.counts.iter_mut().zip(&each.counts).for_each(|(sum, count)| *sum += count);
    sum.sum_us = sum.sum_us.saturating_add(each.sum_us);
    sum
}

fn credentials(text: &mut Exposition, controller: &Controller) {
    let snapshot = controller.snapshot();
    let routes: Vec<&Arc<RegistryRoute>> = snapshot.registries.values().collect();
    let mut gauge = |name: &str, help: &str, value: &dyn Fn(&RegistryRoute) -> Option<i128>| {
        text.family(name, Type::Gauge, help);
        for route in &routes {
            let value = value(route);
            value.into_iter().for_each(|value| drop(text.sample(&[("registry", route.name.as_str())], value)));
        }
    };
    gauge("regauth_credential_generation", "Number of the token in use, 0 without one.", &|route| {
        Some(route.credential.state().value().map_or(0, |generation| i128::from(generation.value.number)))
    });
    gauge("regauth_credential_expiry_timestamp_seconds", "Time at which the token expires, if it is known.", &|route| {
        let state = route.credential.state();
        Some(state.value()?.value.ends()?.unix_timestamp().into())
    });
    gauge("regauth_credential_renewal_timestamp_seconds", "Time at which the source is asked for the next token.", &|route| {
        Some(route.credential.shared.refresh_status().next?.unix_timestamp().into())
    });
    gauge("regauth_credential_rejected", "1 while the registry rejects the token.", &|route| {
        let state = route.credential.state();
        Some(i128::from(state.value().is_some_and(|generation| generation.breaker.is_rejected())))
    });
    gauge("regauth_writes_open", "1 while writes are open by `regauthctl allow`.", &|route| {
        Some(i128::from(route.usage.writes_open_until().is_some()))
    });
    let is_locked = |route: &&Arc<RegistryRoute>| matches!(route.credential.state(), CredentialState::Locked);
    let is_store_locked = matches!(snapshot.store_error, Some(StoreError::Locked | StoreError::WrongPassphrase));
    let locked = u8::from(is_store_locked || routes.iter().any(is_locked));
    text.family("regauth_store_locked", Type::Gauge, "1 while the store of the tokens is locked.")
        .sample(&[], locked);
}

fn record(text: &mut Exposition, controller: &Controller, traffic: &Traffic) {
    text.family("regauth_renewals", Type::Counter, "Renewals of tokens by their sources.");
    for each in &traffic.registries {
        for result in &each.renewals {
            text.sample(&[("registry", each.name.as_str()), ("result", result.name.as_str())], result.count);
        }
    }
    text.family("regauth_events_lost", Type::Counter, "Events that these counters miss because they came too fast.")
        .sample(&[], traffic.lost);
    let is_failing = u8::from(controller.proxy.audit.problem().is_some());
    text.family("regauth_audit_failing", Type::Gauge, "1 while the audit record cannot be written.")
        .sample(&[], is_failing);
}
