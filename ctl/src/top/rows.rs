//! Rows of the two tables, from the samples of a [`Window`] and the registries' state.

use regauth_shared::RegistryName;
use regauth_shared::event::Client;
use regauth_shared::response::{
    ClientTraffic, CredentialState, CredentialView, Histogram, NamedCount, RegistryTraffic, RegistryView, Traffic,
};
use serde::Serialize;

use super::distribution::Percentiles;
use super::window::{self, Window};

/// Row of one registry.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct RegistryRow {
    pub(super) name: RegistryName,
    pub(super) kind: String,
    /// Requests that have ended since the daemon's start.
    pub(super) requests: u64,
    /// `None` before the second sample.
    pub(super) requests_per_second: Option<f64>,
    pub(super) in_flight: u64,
    /// Time until the registry's first byte.
    pub(super) registry_time: Option<Percentiles>,
    /// Time that the daemon itself took.
    pub(super) own_time: Option<Percentiles>,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) bytes_up_per_second: Option<f64>,
    pub(super) bytes_down_per_second: Option<f64>,
    pub(super) refused: u64,
    /// Refused requests by code.
    pub(super) refusals: Vec<NamedCount>,
    pub(super) connections_opened: u64,
    pub(super) connections_reused: u64,
    pub(super) credential: CredentialState,
    pub(super) generation: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expires: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) renews: Option<String>,
    pub(super) writes: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) writes_open_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trouble: Option<Trouble>,
    /// Requests a second at the last samples, the newest last.
    pub(super) history: Vec<f64>,
}

/// Last trouble of a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Trouble {
    pub(super) message: String,
    /// Time, unless it lasts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) at: Option<String>,
    /// True if requests fail because of it now.
    pub(super) is_present: bool,
}

/// Row of one client.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct ClientRow {
    pub(super) id: u64,
    #[serde(flatten)]
    pub(super) client: Client,
    pub(super) requests: u64,
    /// `None` before the second sample.
    pub(super) requests_per_second: Option<f64>,
    pub(super) refused: u64,
    pub(super) bytes_up: u64,
    pub(super) bytes_down: u64,
    pub(super) last_seen: String,
}

/// Durations that percentiles cover.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Span {
    /// Requests of the last minute, as far as `top` has seen it.
    #[default]
    LastMinute,
    /// All requests since the daemon's start.
    SinceStart,
}

/// Rows of all registries, in the order of their names.
pub(super) fn registries(window: &Window, views: &[RegistryView], span: Span) -> Vec<RegistryRow> {
    views.iter().map(|view| registry(window, view, span)).collect()
}

/// Rows of all clients, the latest first.
pub(super) fn clients(window: &Window) -> Vec<ClientRow> {
    let clients = window.now().into_iter().flat_map(|now| &now.clients);
    clients.map(|traffic| client(window, traffic)).collect()
}

fn registry(window: &Window, view: &RegistryView, span: Span) -> RegistryRow {
    let traffic = window.now().and_then(|now| window::registry(now, &view.name));
    let count = |counter: fn(&RegistryTraffic) -> u64| traffic.map_or(0, counter);
    let rate = |counter: fn(&RegistryTraffic) -> u64| {
        window.rate(|traffic| window::registry(traffic, &view.name).map_or(0, counter))
    };
    let times = |histogram| percentiles(window, &view.name, span, histogram);
    let refused = |traffic: &RegistryTraffic| traffic.refusals.iter().map(|refusal| refusal.count).sum();
    RegistryRow {
        name: view.name.clone(),
        kind: view.kind.clone(),
        requests: count(window::requests),
        requests_per_second: rate(window::requests),
        in_flight: count(|traffic| traffic.in_flight),
        registry_time: times(|traffic| &traffic.registry),
        own_time: times(|traffic| &traffic.own),
        bytes_up: count(|traffic| traffic.bytes_up),
        bytes_down: count(|traffic| traffic.bytes_down),
        bytes_up_per_second: rate(|traffic| traffic.bytes_up),
        bytes_down_per_second: rate(|traffic| traffic.bytes_down),
        refused: count(refused),
        refusals: traffic.map(|traffic| traffic.refusals.clone()).unwrap_or_default(),
        connections_opened: count(|traffic| traffic.connections_opened),
        connections_reused: count(|traffic| traffic.connections_reused),
        credential: view.credential.state,
        generation: view.credential.generation,
        expires: view.credential.expires.clone(),
        renews: view.credential.renews.clone(),
        writes: view.writes.clone(),
        writes_open_until: view.writes_open_until.clone(),
        trouble: trouble(view, traffic),
        history: window.history(&view.name).collect(),
    }
}

fn client(window: &Window, traffic: &ClientTraffic) -> ClientRow {
    let requests = |of: &Traffic| {
        let same = of.clients.iter().find(|client| client.id == traffic.id);
        same.map_or(0, |client| client.requests)
    };
    ClientRow {
        id: traffic.id,
        client: traffic.client.clone(),
        requests: traffic.requests,
        requests_per_second: window.rate(requests),
        refused: traffic.refusals,
        bytes_up: traffic.bytes_up,
        bytes_down: traffic.bytes_down,
        last_seen: traffic.last_seen.clone(),
    }
}

fn percentiles(
    window: &Window,
    name: &RegistryName,
    span: Span,
    histogram: fn(&RegistryTraffic) -> &Histogram,
) -> Option<Percentiles> {
    let of = |traffic| window::registry(traffic, name).map(histogram);
    let now = window.now()?;
    let before = match span {
        Span::LastMinute => Some(window.minute_ago()?),
        Span::SinceStart => None,
    };
    Percentiles::between(before.and_then(of), of(now)?, &now.bounds_us)
}

/// The worst first: what stops requests now, then what went wrong last.
fn trouble(view: &RegistryView, traffic: Option<&RegistryTraffic>) -> Option<Trouble> {
    let lasting = |message: String| Trouble {
        message,
        at: None,
        is_present: true,
    };
    let credential = &view.credential;
    if let Some(message) = credential_trouble(credential) {
        return Some(lasting(message));
    }
    if let Some(message) = &view.trouble {
        return Some(lasting(message.clone()));
    }
    if let Some(failure) = &view.last_failure {
        return Some(Trouble {
            message: failure.message.clone(),
            at: Some(failure.at.clone()),
            is_present: true,
        });
    }
    if let Some(failure) = &credential.failure {
        return Some(Trouble {
            message: format!("no new token: {}", failure.message),
            at: Some(failure.at.clone()),
            is_present: true,
        });
    }
    let refusal = traffic?.last_refusal.as_ref()?;
    Some(Trouble {
        message: refusal.code.clone(),
        at: Some(refusal.at.clone()),
        is_present: false,
    })
}

fn credential_trouble(credential: &CredentialView) -> Option<String> {
    let because = |what: &str, why: Option<&str>| why.map_or_else(|| what.to_owned(), |why| format!("{what}: {why}"));
    let reason = credential.reason.as_deref();
    let failure = credential.failure.as_ref().map(|failure| failure.message.as_str());
    match credential.state {
        CredentialState::Rejected => Some("the registry rejects the token".to_owned()),
        CredentialState::Expired => Some(because("the token has expired", failure)),
        CredentialState::Locked => Some("the store is locked".to_owned()),
        CredentialState::Unreadable => Some(because("the store cannot be read", reason)),
        CredentialState::Missing => Some(because("no token", reason)),
        _ => None,
    }
}
