//! Places of the connections to the metrics endpoint.
//!
//! A new connection always gets a place. If all are taken, the machine with the most connections loses the one that has
//! sent no request for the longest time. So no client can hold the places that the probes of Kubernetes and load balancers
//! need, and no other machine can push a probe out.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::proxy::downstream::limits::network;

/// Limit of the connections that are open at a time.
#[derive(Debug)]
pub(super) struct Places {
    limit: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    last_id: u64,
    /// The connection with the most recent request is the last.
    connections: VecDeque<Connection>,
}

#[derive(Debug)]
struct Connection {
    id: u64,
    /// Machine at the other end: its address, or the first one of its IPv6 network.
    machine: IpAddr,
    cut: CancellationToken,
}

impl Places {
    pub(super) fn new(limit: usize) -> Arc<Self> {
        Arc::new(Self {
            limit,
            taken: Mutex::default(),
        })
    }

    /// Takes a place for a new connection, from another one if there is none left.
    pub(super) fn take(self: &Arc<Self>, peer: IpAddr) -> Place {
        let cut = CancellationToken::new();
        let mut taken = self.lock();
        while taken.connections.len() >= self.limit && taken.cut_one() {}
        taken.last_id += 1;
        let id = taken.last_id;
        taken.connections.push_back(Connection {
            id,
            machine: network(peer),
            cut: cut.clone(),
        });
        drop(taken);
        Place {
            places: Arc::clone(self),
            id,
            cut,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Cuts the quietest connection of the machine with the most. False if there is none.
    fn cut_one(&mut self) -> bool {
        let count = |machine: IpAddr| self.connections.iter().filter(|one| one.machine == machine).count();
        let positions = self.connections.iter().enumerate();
        let dispensable = positions.max_by_key(|(position, one)| (count(one.machine), Reverse(*position)));
        let position = dispensable.map(|(position, _)| position);
        let removed = position.and_then(|position| self.connections.remove(position));
        removed.as_ref().inspect(|one| one.cut.cancel()).is_some()
    }
}

/// Place of one connection, returned on drop.
#[derive(Debug)]
pub(super) struct Place {
    places: Arc<Places>,
    id: u64,
    cut: CancellationToken,
}

impl Place {
    /// Records that the connection has sent a request.
    pub(super) fn note_request(&self) {
        let mut taken = self.places.lock();
        let position = taken.connections.iter().position(|one| one.id == self.id);
        if let Some(own) = position.and_then(|position| taken.connections.remove(position)) {
            taken.connections.push_back(own);
        }
    }

    /// Waits until a newer connection has taken the place.
    pub(super) async fn lost(&self) {
        self.cut.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.places.lock().connections.retain(|one| one.id != self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [192, 0, 2, last].into()
    }

    fn is_cut(place: &Place) -> bool {
        place.cut.is_cancelled()
    }

    #[test]
    fn a_new_connection_takes_the_place_of_the_one_that_was_silent_longest() {
        let places = Places::new(3);
        let [scraper, silent, slow] = [(); 3].map(|()| places.take(address(1)));
        scraper.note_request();
        let probe = places.take(address(1));
        assert_eq!(
            [&scraper, &silent, &slow, &probe].map(is_cut),
            [false, true, false, false]
        );
        let another = places.take(address(1));
        assert!(is_cut(&slow) && !is_cut(&scraper) && !is_cut(&probe) && !is_cut(&another));
        // A connection without a place takes none by a request.
        slow.note_request();
        assert_eq!(places.lock().connections.len(), 3);
    }

    #[test]
    fn a_machine_with_many_connections_pushes_out_its_own_only() {
        let places = Places::new(4);
        let probe = places.take(address(1));
        let crowd: Vec<Place> = (0..40)
            .map(|number| {
                let place = places.take(address(2));
                if number % 2 == 0 {
                    place.note_request();
                }
                place
            })
            .collect();
        assert!(!is_cut(&probe));
        assert_eq!(crowd.iter().filter(|place| !is_cut(place)).count(), 3);
        // One IPv6 network is one machine.
        let addresses = (1..40_u16).map(|last| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]));
        let network: Vec<Place> = addresses.map(|address| places.take(address)).collect();
        assert!(!is_cut(&probe) && !is_cut(network.last().unwrap()));
    }

    #[test]
    fn a_connection_that_ends_returns_its_place() {
        let places = Places::new(2);
        let first = places.take(address(1));
        drop(places.take(address(1)));
        let third = places.take(address(1));
        assert!(!is_cut(&first) && !is_cut(&third));
        drop((first, third));
        assert!(places.lock().connections.is_empty());
    }
}
