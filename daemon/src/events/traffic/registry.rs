//! Counters of one registry.

use std::collections::{BTreeMap, VecDeque};

use regauth_shared::RegistryName;
use regauth_shared::event;
use regauth_shared::response::{LastRefusal, RegistryTraffic, RequestCount};

use super::histogram::DurationCounts;
use super::{Ended, LATEST, named, rfc3339};
use crate::policy::Operation;

/// Counters of one registry since the daemon's start, and its latest requests.
#[derive(Debug, Default)]
pub(super) struct RegistryCounters {
    /// By operation (unknown, read, write) and by class of the status (none, 1xx to 5xx).
    requests: [[u64; CLASSES.len()]; 3],
    /// By refusal code.
    refusals: BTreeMap<&'static str, u64>,
    injections: u64,
    bytes_up: u64,
    bytes_down: u64,
    total: DurationCounts,
    registry: DurationCounts,
    own: DurationCounts,
    opened: u64,
    reused: u64,
    renewals: BTreeMap<&'static str, u64>,
    /// Time of the registry's last answer.
    last_answer: Option<u64>,
    /// Code and time of the last refusal.
    last_refusal: Option<(&'static str, u64)>,
    /// Oldest first.
    latest: VecDeque<Ended>,
}

impl RegistryCounters {
    /// Counts a request.
    pub(super) fn count(&mut self, ended: Ended) {
        let record = &ended.record;
        if let Some(count) = self.cell(record.operation, record.status) {
            *count += 1;
        }
        self.bytes_up += record.bytes_up;
        self.bytes_down += record.bytes_down;
        self.total.count(record.total);
        self.injections += u64::from(record.generation.is_some());
        if let (Some(first_byte), Some(own)) = (record.first_byte, record.own) {
            self.registry.count(first_byte.saturating_sub(own));
            self.own.count(own);
            self.last_answer = Some(ended.time);
        }
        match record.reused {
            Some(true) => self.reused += 1,
            Some(false) => self.opened += 1,
            None => {}
        }
        if let Some(code) = record.code {
            *self.refusals.entry(code).or_default() += 1;
            self.last_refusal = Some((code, ended.time));
        }
        if self.latest.len() == LATEST {
            self.latest.pop_front();
        }
        self.latest.push_back(ended);
    }

    /// Counts a renewal of the token.
    pub(super) fn count_renewal(&mut self, is_renewed: bool) {
        let result = if is_renewed { "renewed" } else { "failed" };
        *self.renewals.entry(result).or_default() += 1;
    }

    /// Latest requests, oldest first.
    pub(super) fn latest(&self) -> impl Iterator<Item = &Ended> {
        self.latest.iter()
    }

    /// The counters as the protocol shows them.
    pub(super) fn view(&self, name: &RegistryName, in_flight: u64) -> RegistryTraffic {
        RegistryTraffic {
            name: name.clone(),
            requests: self.request_counts(),
            refusals: named(&self.refusals),
            injections: self.injections,
            in_flight,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            total: self.total.view(),
            registry: self.registry.view(),
            own: self.own.view(),
            connections_opened: self.opened,
            connections_reused: self.reused,
            renewals: named(&self.renewals),
            last_answer: self.last_answer.map(rfc3339),
            last_refusal: self.last_refusal.map(|(code, at)| LastRefusal {
                code: code.to_owned(),
                at: rfc3339(at),
            }),
        }
    }

    fn cell(&mut self, operation: Option<Operation>, status: Option<u16>) -> Option<&mut u64> {
        let operation = match operation {
            None => 0,
            Some(Operation::Read) => 1,
            Some(Operation::Write) => 2,
        };
        let class = status.map_or(0, |status| usize::from(status / 100).min(CLASSES.len() - 1));
        self.requests.get_mut(operation)?.get_mut(class)
    }

    fn request_counts(&self) -> Vec<RequestCount> {
        let operations = [None, Some(event::Operation::Read), Some(event::Operation::Write)];
        let rows = operations.into_iter().zip(&self.requests);
        let cells = rows.flat_map(|(operation, row)| row.iter().zip(CLASSES).map(move |cell| (operation, cell)));
        let used = cells.filter(|(_, (count, _))| **count > 0);
        used.map(|(operation, (count, class))| RequestCount {
            operation,
            class: class.to_owned(),
            count: *count,
        })
        .collect()
    }
}

/// Classes of a status by its first digit; `none` if the client left before.
const CLASSES: [&str; 6] = ["none", "1xx", "2xx", "3xx", "4xx", "5xx"];
