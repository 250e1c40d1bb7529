//! Limits on the connections and requests that one client may have open.
//!
//! The limits are far above the needs of a build. They keep one runaway client from starving the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::guarded::ServedUsers;
use crate::proxy::downstream::peer::Peer;

/// Client whose connections are counted together: authenticated, or known only by its user or address.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Principal {
    /// All processes of the daemon's user.
    Owner,
    /// All processes of a user that a guarded daemon serves.
    Served(u32),
    /// Another user of this machine, before showing a grant.
    User(u32),
    /// Another machine, before showing a grant. Over IPv6, the first address of its /64 network.
    Address(IpAddr),
    /// All bearers of one grant.
    Grant(String),
    /// All bearers of tokens of one workload, by issuer and subject.
    Workload(Arc<str>),
}

impl Principal {
    /// The peer of a connection, before it shows a grant.
    pub(crate) fn of(peer: Peer, served: &ServedUsers) -> Self {
        match peer {
            Peer::Owner => Self::Owner,
            Peer::User(user) if served.contains(user) => Self::Served(user),
            Peer::User(user) => Self::User(user),
            Peer::Address(address) => Self::Address(network(address)),
        }
    }

    fn max_connections(&self) -> u32 {
        match self {
            Self::Owner | Self::Served(_) => MAX_OWNER_CONNECTIONS,
            Self::User(_) | Self::Address(_) => MAX_UNAUTHENTICATED_CONNECTIONS,
            Self::Grant(_) | Self::Workload(_) => MAX_GRANT_CONNECTIONS,
        }
    }
}

/// First address of an IPv6 address's network: one machine has all of them (RFC 4291, section 2.5.4). An IPv4 address is
/// itself.
pub(crate) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((address.to_bits() & !u128::from(u64::MAX)).into()),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Counters of every client that has a connection.
#[derive(Clone, Debug, Default)]
pub struct ConnectionLimits(Arc<Mutex<HashMap<Principal, Arc<ClientCounters>>>>);

impl ConnectionLimits {
    /// Counts a connection; `None` when the client has reached its limit.
    pub fn acquire(&self, principal: Principal) -> Option<Permit> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = Arc::clone(clients.entry(principal.clone()).or_insert_with(|| {
            Arc::new(ClientCounters {
                is_grant: matches!(principal, Principal::Grant(_) | Principal::Workload(_)),
                ..ClientCounters::default()
            })
        }));
        increment_below(&counters.connections, principal.max_connections())?;
        drop(clients);
        Some(Permit {
            limits: self.clone(),
            principal,
            counters,
        })
    }

    fn release(&self, principal: &Principal, counters: &ClientCounters) {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            clients.remove(principal);
        }
    }
}

#[derive(Debug, Default)]
struct ClientCounters {
    is_grant: bool,
    connections: AtomicU32,
    requests: AtomicU32,
}

/// Identity of a client with an open connection, for sharing among clients. Cheap to copy and compare.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientKey {
    /// Address of the client's counters, which no other client has; zero for the daemon itself.
    pub(crate) id: usize,
    /// True for the bearers of a grant or of a workload's token.
    pub(crate) is_grant: bool,
}

fn increment_below(counter: &AtomicU32, limit: u32) -> Option<()> {
    let incremented = |current: u32| (current < limit).then_some(current + 1);
    counter
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, incremented)
        .map(drop)
        .ok()
}

/// Permit for one connection, returned on drop.
#[derive(Debug)]
pub struct Permit {
    limits: ConnectionLimits,
    principal: Principal,
    counters: Arc<ClientCounters>,
}

impl Permit {
    /// The client.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Counts a request; `None` when the client has reached its limit.
    pub fn begin_request(&self) -> Option<RequestPermit> {
        increment_below(&self.counters.requests, MAX_REQUESTS)?;
        Some(RequestPermit(Arc::clone(&self.counters)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.release(&self.principal, &self.counters);
    }
}

/// Permit for one request, held from its head to the last byte of its response.
#[derive(Debug)]
pub struct RequestPermit(Arc<ClientCounters>);

impl RequestPermit {
    /// The client that sent the request.
    pub(crate) fn client(&self) -> ClientKey {
        ClientKey {
            id: Arc::as_ptr(&self.0).addr(),
            is_grant: self.0.is_grant,
        }
    }
}

impl Drop for RequestPermit {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

const MAX_OWNER_CONNECTIONS: u32 = 8192;
const MAX_GRANT_CONNECTIONS: u32 = 1024;
/// Enough for a client to learn that it needs a grant.
const MAX_UNAUTHENTICATED_CONNECTIONS: u32 = 64;
const MAX_REQUESTS: u32 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_at_its_connection_limit_does_not_affect_others() {
        let limits = ConnectionLimits::default();
        let permits: Vec<_> = (0..MAX_UNAUTHENTICATED_CONNECTIONS)
            .map(|_| limits.acquire(Principal::User(1)).unwrap())
            .collect();
        assert!(limits.acquire(Principal::User(1)).is_none());
        assert!(limits.acquire(Principal::User(2)).is_some());
        drop(permits);
        assert!(limits.acquire(Principal::User(1)).is_some());
        assert!(
            limits.0.lock().unwrap().is_empty(),
            "a client without connections is forgotten"
        );
    }

    #[test]
    fn the_ipv6_addresses_of_a_network_are_one_client() {
        let client = |text: &str| Principal::of(Peer::Address(text.parse().unwrap()), &ServedUsers::default());
        assert_eq!(client("2001:db8::1"), client("2001:db8::ffff:0:0:2"));
        assert_ne!(client("2001:db8::1"), client("2001:db8:0:1::1"));
        assert_ne!(client("192.0.2.7"), client("192.0.2.8"));
        assert_ne!(client("::ffff:192.0.2.7"), client("::ffff:192.0.2.8"));
    }

    #[test]
    fn requests_count_until_they_end() {
        let permit = ConnectionLimits::default().acquire(Principal::Owner).unwrap();
        let requests: Vec<_> = (0..MAX_REQUESTS).map(|_| permit.begin_request().unwrap()).collect();
        assert!(permit.begin_request().is_none());
        drop(requests);
        assert!(permit.begin_request().is_some());
    }
}
