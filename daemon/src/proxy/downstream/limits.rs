//! Limits on the connections and requests that one client may have open.
//!
//! The limits are far above the needs of a build. They keep one runaway client from starving the others.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

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

    fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::User(_) | Self::Address(_))
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
pub struct ConnectionLimits(Arc<Mutex<HashMap<Principal, ConnectedClient>>>);

impl ConnectionLimits {
    /// Counts a connection; `None` when the client has reached its limit.
    ///
    /// A client that has not authenticated never reaches it: each further connection displaces one of its others. So nobody
    /// can hold the places of an address by connections that say nothing.
    pub fn acquire(&self, principal: Principal) -> Option<Permit> {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let client = clients
            .entry(principal.clone())
            .or_insert_with(|| ConnectedClient::new(&principal));
        if increment_below(&client.counters.connections, principal.max_connections()).is_none() {
            client.displace_one()?;
        }
        let displaced = principal.is_unauthenticated().then(CancellationToken::new);
        let number = client.next_number;
        if let Some(displaced) = &displaced {
            client.next_number += 1;
            client.unauthenticated.push((number, displaced.clone()));
        }
        let counters = Arc::clone(&client.counters);
        drop(clients);
        Some(Permit {
            limits: self.clone(),
            principal,
            counters,
            number,
            displaced,
        })
    }

    fn release(&self, permit: &Permit) {
        let mut clients = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(displaced) = &permit.displaced {
            if displaced.is_cancelled() {
                // Another connection has the place now.
                return;
            }
            if let Some(client) = clients.get_mut(&permit.principal) {
                client.unauthenticated.retain(|(number, _)| *number != permit.number);
            }
        }
        if permit.counters.connections.fetch_sub(1, Ordering::Relaxed) == 1 {
            clients.remove(&permit.principal);
        }
    }
}

/// Client with open connections.
#[derive(Debug)]
struct ConnectedClient {
    counters: Arc<ClientCounters>,
    /// Connections that another one may displace, by number.
    unauthenticated: Vec<(u64, CancellationToken)>,
    next_number: u64,
}

impl ConnectedClient {
    fn new(principal: &Principal) -> Self {
        let is_grant = matches!(principal, Principal::Grant(_) | Principal::Workload(_));
        Self {
            counters: Arc::new(ClientCounters {
                is_grant,
                ..ClientCounters::default()
            }),
            unauthenticated: Vec::new(),
            next_number: 0,
        }
    }

    /// Ends a connection and leaves its place to another one; `None` if there is none. A random one: while a crowd of honest
    /// clients arrives faster than it can be served, always to end the oldest would let nobody finish.
    fn displace_one(&mut self) -> Option<()> {
        if self.unauthenticated.is_empty() {
            return None;
        }
        let (_, displaced) = self
            .unauthenticated
            .swap_remove(fastrand::usize(..self.unauthenticated.len()));
        displaced.cancel();
        Some(())
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
    number: u64,
    /// Cancelled when another connection has taken the place. `None` for an authenticated client, which keeps its own.
    displaced: Option<CancellationToken>,
}

impl Permit {
    /// The client.
    pub(crate) fn principal(&self) -> &Principal {
        &self.principal
    }

    /// Cancelled when another connection has taken the place of this one, which has to end.
    pub(crate) fn displaced(&self) -> Option<&CancellationToken> {
        self.displaced.as_ref()
    }

    /// Counts a request; `None` when the client has reached its limit.
    pub fn begin_request(&self) -> Option<RequestPermit> {
        increment_below(&self.counters.requests, MAX_REQUESTS)?;
        Some(RequestPermit(Arc::clone(&self.counters)))
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limits.release(self);
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

    fn grant(id: &str) -> Principal {
        Principal::Grant(id.to_owned())
    }

    #[test]
    fn a_client_at_its_connection_limit_does_not_affect_others() {
        let limits = ConnectionLimits::default();
        let permits: Vec<_> = (0..MAX_GRANT_CONNECTIONS)
            .map(|_| limits.acquire(grant("one")).unwrap())
            .collect();
        assert!(limits.acquire(grant("one")).is_none());
        assert!(limits.acquire(grant("two")).is_some());
        drop(permits);
        assert!(limits.acquire(grant("one")).is_some());
        assert!(
            limits.0.lock().unwrap().is_empty(),
            "a client without connections is forgotten"
        );
    }

    #[test]
    fn a_further_unauthenticated_connection_displaces_one_of_the_same_client() {
        let limits = ConnectionLimits::default();
        let other = limits.acquire(Principal::User(2)).unwrap();
        let is_displaced = |permit: &Permit| permit.displaced().is_some_and(CancellationToken::is_cancelled);
        let mut permits: Vec<_> = (0..MAX_UNAUTHENTICATED_CONNECTIONS)
            .map(|_| limits.acquire(Principal::User(1)).unwrap())
            .collect();
        assert!(!permits.iter().any(is_displaced));
        for further in 1..=100 {
            permits.push(limits.acquire(Principal::User(1)).unwrap());
            assert!(permits.last().is_some_and(|permit| !is_displaced(permit)));
            assert_eq!(permits.iter().filter(|permit| is_displaced(permit)).count(), further);
        }
        assert!(!is_displaced(&other));
        let open = |limits: &ConnectionLimits| {
            let clients = limits.0.lock().unwrap();
            let client = clients.get(&Principal::User(1)).unwrap();
            (
                client.counters.connections.load(Ordering::Relaxed),
                client.unauthenticated.len(),
            )
        };
        // A connection that was displaced gives no place back, and one that was not gives its own.
        permits.retain(|permit| !is_displaced(permit));
        assert_eq!((permits.len(), open(&limits)), (64, (64, 64)));
        permits.pop();
        assert_eq!(open(&limits), (63, 63));
        drop((permits, other));
        assert!(limits.0.lock().unwrap().is_empty());
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
