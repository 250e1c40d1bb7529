//! How many connections and requests each client has open, and how many it may.
//!
//! The caps are far above what builds do: they are there so that one client that runs away leaves room for the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::proxy::downstream::peer::Peer;

/// Who is counted as one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// All processes of the daemon's user.
    Owner,
    /// Another user's, as long as they have not shown a grant.
    User(u32),
    /// Another machine's, likewise.
    Address(IpAddr),
    /// The bearers of one grant.
    Grant(String),
}

impl From<Peer> for Principal {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Owner => Self::Owner,
            Peer::User(user) => Self::User(user),
            Peer::Address(address) => Self::Address(address),
        }
    }
}

impl Principal {
    fn most_connections(&self) -> u32 {
        match self {
            Self::Owner => OWNER_CONNECTIONS,
            Self::User(_) | Self::Address(_) => STRANGER_CONNECTIONS,
            Self::Grant(_) => GRANT_CONNECTIONS,
        }
    }
}

/// Everyone who has a connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectionLimits(Arc<Mutex<HashMap<Principal, Arc<ClientCounters>>>>);

impl ConnectionLimits {
    /// Counts a connection; `None` when the party has as many as it may.
    pub fn enter(&self, party: Principal) -> Option<Permit> {
        let mut parties = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tally = Arc::clone(parties.entry(party.clone()).or_default());
        take(&tally.connections, party.most_connections())?;
        drop(parties);
        Some(Permit {
            limits: self.clone(),
            party,
            tally,
        })
    }

    fn leave(&self, party: &Principal, tally: &ClientCounters) {
        let mut parties = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if tally.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            parties.remove(party);
        }
    }
}

#[derive(Debug, Default)]
struct ClientCounters {
    connections: AtomicU32,
    requests: AtomicU32,
}

fn take(count: &AtomicU32, most: u32) -> Option<()> {
    let more = |present: u32| (present < most).then_some(present + 1);
    count
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
        .map(drop)
        .ok()
}

/// A connection, for as long as it is counted.
#[derive(Debug)]
pub struct Permit {
    limits: ConnectionLimits,
    party: Principal,
    tally: Arc<ClientCounters>,
}

impl Permit {
    /// Counts a request; `None` when the party has as many in flight as it may.
    pub fn begin_request(&self) -> Option<InFlight> {
        take(&self.tally.requests, REQUESTS)?;
        Some(InFlight(Arc::clone(&self.tally)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.leave(&self.party, &self.tally);
    }
}

/// A request, from its head to the last byte of its answer.
#[derive(Debug)]
pub struct InFlight(Arc<ClientCounters>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

const OWNER_CONNECTIONS: u32 = 8192;
const GRANT_CONNECTIONS: u32 = 1024;
/// Enough to be told that a grant is needed.
const STRANGER_CONNECTIONS: u32 = 64;
const REQUESTS: u32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_has_as_many_seats_as_it_may_and_no_bearing_on_others() {
        let limits = ConnectionLimits::default();
        let seats: Vec<_> = (0..STRANGER_CONNECTIONS)
            .map(|_| limits.enter(Principal::User(1)).unwrap())
            .collect();
        assert!(limits.enter(Principal::User(1)).is_none());
        assert!(limits.enter(Principal::User(2)).is_some());
        drop(seats);
        assert!(limits.enter(Principal::User(1)).is_some());
        assert!(limits.0.lock().unwrap().is_empty(), "nobody is remembered who left");
    }

    #[test]
    fn requests_are_counted_until_they_end() {
        let seat = ConnectionLimits::default().enter(Principal::Owner).unwrap();
        let requests: Vec<_> = (0..REQUESTS).map(|_| seat.begin_request().unwrap()).collect();
        assert!(seat.begin_request().is_none());
        drop(requests);
        assert!(seat.begin_request().is_some());
    }
}
