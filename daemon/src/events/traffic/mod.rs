//! Counters of the data path, for `traffic` and for metrics. The collector feeds them; no worker does.
//!
//! Memory is bounded: a registry has fixed counters and its [`LATEST`] requests, and the table of clients holds
//! [`MAX_CLIENTS`]. [`TrafficCounters::snapshot`] copies everything into the protocol's form. Clients compute rates.

mod clients;
mod histogram;
mod registry;
mod workloads;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use regauth_shared::RegistryName;
use regauth_shared::event::{Client, Event, EventKind, Workload};
use regauth_shared::request::TrafficOf;
use regauth_shared::response::{NamedCount, RegistryTraffic, Traffic};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::events::record::RequestRecord;
use clients::Clients;
use registry::RegistryCounters;
use workloads::Workloads;

/// Counters of all registries and clients since the daemon's start.
#[derive(Debug)]
pub(crate) struct TrafficCounters {
    started: Instant,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    registries: HashMap<RegistryName, RegistryCounters>,
    clients: Clients,
    workloads: Workloads,
    /// Requests that were refused before their registry was known.
    refusals_elsewhere: BTreeMap<&'static str, u64>,
    lost: u64,
}

/// Request that has ended, with what the collector adds to its record.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    /// Time of the end in milliseconds since 1970.
    pub(super) time: u64,
    /// Number of the event.
    pub(super) sequence: u64,
    /// Facts.
    pub(super) record: RequestRecord,
}

impl Ended {
    fn to_event(&self) -> Event {
        Event {
            time: self.time,
            sequence: self.sequence,
            kind: self.record.to_event(),
        }
    }
}

impl TrafficCounters {
    /// All zero.
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            table: Mutex::default(),
        }
    }

    /// Counts a request.
    pub(super) fn count_request(&self, ended: Ended) {
        let table = &mut *self.lock();
        table.clients.count(&ended);
        table.workloads.count(&ended);
        let Some(name) = &ended.record.registry else {
            if let Some(code) = ended.record.code {
                *table.refusals_elsewhere.entry(code).or_default() += 1;
            }
            return;
        };
        match table.registries.get_mut(name) {
            Some(registry) => registry.count(ended),
            None => table.registries.entry(name.clone()).or_default().count(ended),
        }
    }

    /// Counts an event of the control side, as far as it matters here.
    pub(super) fn count_event(&self, kind: &EventKind) {
        match kind {
            EventKind::Renewal(renewal) => {
                let table = &mut *self.lock();
                let registry = table.registries.entry(renewal.registry.clone()).or_default();
                registry.count_renewal(renewal.failure.is_none());
            }
            EventKind::RegistryRemoved(removed) => {
                self.lock().registries.remove(&removed.registry);
            }
            EventKind::Lost(lost) => self.lock().lost += lost.events,
            _ => {}
        }
    }

    /// All counters. `started` is the daemon's start, and `in_flight` are the requests in flight of each registry.
    pub(crate) fn snapshot(
        &self,
        of: &TrafficOf,
        started: String,
        in_flight: impl Iterator<Item = (RegistryName, u64)>,
    ) -> Traffic {
        let table = self.lock();
        let in_flight: HashMap<_, _> = in_flight.filter(|(_, requests)| *requests > 0).collect();
        let used = table.registries.keys().chain(in_flight.keys());
        let mut names: Vec<_> = used.collect();
        names.sort_unstable();
        names.dedup();
        let unused = RegistryCounters::default();
        let view = |name: &RegistryName| -> RegistryTraffic {
            let counters = table.registries.get(name).unwrap_or(&unused);
            counters.view(name, in_flight.get(name).copied().unwrap_or_default())
        };
        Traffic {
            started,
            elapsed_us: u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX),
            bounds_us: histogram::BOUNDS_US.to_vec(),
            registries: names.into_iter().map(view).collect(),
            refusals_elsewhere: named(&table.refusals_elsewhere),
            clients: table.clients.view(),
            workloads: as_far_as_they_fit(table.workloads.view().into_iter(), |each| {
                workload_length(&each.workload)
            }),
            latest: table.latest(of),
            lost: table.lost,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Latest requests of a registry or a client, newest first.
    fn latest(&self, of: &TrafficOf) -> Vec<Event> {
        let registry = of
            .latest_of_registry
            .as_ref()
            .and_then(|name| self.registries.get(name));
        let mut latest: Vec<_> = match (registry, of.latest_of_client) {
            (Some(registry), _) => registry.latest().collect(),
            (None, Some(client)) => {
                let all = self.registries.values().flat_map(RegistryCounters::latest);
                all.filter(|ended| self.clients.id_of(ended) == Some(client)).collect()
            }
            (None, None) => return Vec::new(),
        };
        latest.sort_unstable_by_key(|ended| std::cmp::Reverse(ended.sequence));
        latest.truncate(LATEST);
        let events = latest.into_iter().map(Ended::to_event);
        let client = |event: &Event| {
            event
                .kind
                .exchange()
                .map(|exchange| &exchange.client)
                .map_or(0, text_length)
        };
        as_far_as_they_fit(events, client)
    }
}

/// The first items whose texts are together at most [`MAX_TEXT`] bytes long.
fn as_far_as_they_fit<T>(items: impl Iterator<Item = T>, length: impl Fn(&T) -> usize) -> Vec<T> {
    let mut left = MAX_TEXT;
    let fits = |item: &T| {
        let rest = left.checked_sub(length(item));
        left = rest.unwrap_or_default();
        rest.is_some()
    };
    items.take_while(fits).collect()
}

/// Length of the paths and names of a client: each may be thousands of bytes long.
fn text_length(client: &Client) -> usize {
    let paths = [&client.program, &client.parent, &client.folder].into_iter().flatten();
    paths.map(String::len).sum::<usize>() + client.workload.as_ref().map_or(0, workload_length)
}

fn workload_length(workload: &Workload) -> usize {
    let names = [&workload.issuer, &workload.subject]
        .into_iter()
        .chain(&workload.repository);
    names.map(String::len).sum()
}

/// A time in milliseconds since 1970, in RFC 3339, to the second.
fn rfc3339(unix_ms: u64) -> String {
    let seconds = i64::try_from(unix_ms / 1_000).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    time.format(&Rfc3339).unwrap_or_default()
}

fn named(counts: &BTreeMap<&'static str, u64>) -> Vec<NamedCount> {
    let count = |(name, count): (&&str, &u64)| NamedCount {
        name: (*name).to_owned(),
        count: *count,
    };
    counts.iter().map(count).collect()
}

/// Requests that are kept of each registry.
const LATEST: usize = 64;
/// Bytes of clients' paths in one list of an answer, far below the protocol's longest line.
const MAX_TEXT: usize = 64 * 1024;

#[cfg(test)]
mod tests;
