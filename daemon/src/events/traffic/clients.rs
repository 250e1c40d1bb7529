//! Bounded table of clients. The client that was silent for longest leaves it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use regauth_shared::response::ClientTraffic;

use super::{Ended, as_far_as_they_fit, rfc3339, text_length};
use crate::bearer::Bearer;
use crate::events::caller::Caller;

/// Counters of the latest clients.
#[derive(Debug, Default)]
pub(super) struct Clients {
    /// By the hash of the client's identity, so that a request of a known client allocates nothing.
    clients: HashMap<u64, ClientCounters>,
    hasher: RandomState,
    last_id: u64,
}

#[derive(Debug)]
struct ClientCounters {
    id: u64,
    requests: u64,
    refusals: u64,
    bytes_up: u64,
    bytes_down: u64,
    /// Time and number of the last request.
    time: u64,
    sequence: u64,
    caller: Arc<Caller>,
    bearer: Option<Bearer>,
}

impl Clients {
    /// Counts a request.
    pub(super) fn count(&mut self, ended: &Ended) {
        let key = self.key(ended);
        if !self.clients.contains_key(&key) {
            self.make_room();
            self.last_id += 1;
        }
        let client = self.clients.entry(key).or_insert_with(|| ClientCounters {
            id: self.last_id,
            requests: 0,
            refusals: 0,
            bytes_up: 0,
            bytes_down: 0,
            time: 0,
            sequence: 0,
            caller: Arc::clone(&ended.record.caller),
            bearer: ended.record.bearer.clone(),
        });
        client.requests += 1;
        client.refusals += u64::from(ended.record.code.is_some());
        client.bytes_up += ended.record.bytes_up;
        client.bytes_down += ended.record.bytes_down;
        (client.time, client.sequence) = (ended.time, ended.sequence);
    }

    /// Number of a request's client, while it is in the table.
    pub(super) fn id_of(&self, ended: &Ended) -> Option<u64> {
        self.clients.get(&self.key(ended)).map(|client| client.id)
    }

    /// Clients as the protocol shows them, the latest first, as far as they fit into an answer.
    pub(super) fn view(&self) -> Vec<ClientTraffic> {
        let mut clients: Vec<_> = self.clients.values().collect();
        clients.sort_unstable_by_key(|client| std::cmp::Reverse(client.sequence));
        let views = clients.into_iter().map(ClientCounters::view);
        as_far_as_they_fit(views, |view| text_length(&view.client))
    }

    fn key(&self, ended: &Ended) -> u64 {
        let caller = &ended.record.caller;
        let program = caller
            .program
            .get()
            .and_then(Option::as_ref)
            .map(|program| (program.pid, &program.path));
        let bearer = ended.record.bearer.as_ref();
        let (grant, workload) = (bearer.and_then(Bearer::grant_id), bearer.and_then(Bearer::workload));
        self.hasher
            .hash_one((caller.uid, caller.address, program, grant, workload))
    }

    fn make_room(&mut self) {
        if self.clients.len() < MAX_CLIENTS {
            return;
        }
        let silent = self.clients.iter().min_by_key(|(_, client)| client.sequence);
        if let Some(key) = silent.map(|(key, _)| *key) {
            self.clients.remove(&key);
        }
    }
}

impl ClientCounters {
    fn view(&self) -> ClientTraffic {
        ClientTraffic {
            id: self.id,
            client: self.caller.view(self.bearer.as_ref()),
            requests: self.requests,
            refusals: self.refusals,
            bytes_up: self.bytes_up,
            bytes_down: self.bytes_down,
            last_seen: rfc3339(self.time),
        }
    }
}

/// Clients in the table.
pub(super) const MAX_CLIENTS: usize = 256;
