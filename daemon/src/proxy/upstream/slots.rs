//! Slots for requests: all over HTTP/1.1, where each request in flight takes a connection of its own, and those of grants'
//! bearers over HTTP/2, where each takes a stream.
//!
//! Requests beyond the [limits](Limits) wait, and each free slot goes to the client that has the fewest, so that a crowd of
//! requests of one client does not keep another waiting. Bearers of grants never take all slots: a bearer who does not
//! read its responses must not block the daemon's own user or other bearers.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::proxy::downstream::limits::ClientKey;
use crate::proxy::upstream::connector::MAX_STREAMS;
use crate::proxy::upstream::pool::MAX_H2_CONNECTIONS;

/// Slots of one pool that clients may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    of_all: usize,
    of_a_grant: usize,
    of_all_grants: usize,
}

impl Limits {
    /// Requests over HTTP/1.1.
    pub(super) const H1: Self = Self {
        of_all: MAX_H1_REQUESTS,
        of_a_grant: 8,
        of_all_grants: 12,
    };
    /// Requests of bearers over HTTP/2: of one bearer an eighth of the streams of all connections, of all bearers a half.
    pub(super) const H2_OF_GRANTS: Self = Self {
        of_all: MAX_H2_REQUESTS / 2,
        of_a_grant: MAX_H2_REQUESTS / 8,
        of_all_grants: MAX_H2_REQUESTS / 2,
    };
}

/// Slots of one kind. `S` is the guard that a waiting request gets.
#[derive(Debug)]
pub(super) struct Slots<S> {
    limits: Limits,
    /// Taken slots of each client that has some.
    taken: Vec<(ClientKey, usize)>,
    waiting: VecDeque<(ClientKey, oneshot::Sender<S>)>,
}

impl<S> Slots<S> {
    /// Slots of which none is taken.
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            taken: Vec::new(),
            waiting: VecDeque::new(),
        }
    }

    /// Takes a slot if the client may have one now.
    pub(super) fn try_take(&mut self, client: ClientKey) -> bool {
        let may = self.may_take(client);
        if may {
            match self.taken.iter_mut().find(|(other, _)| *other == client) {
                Some((_, count)) => *count += 1,
                None => self.taken.push((client, 1)),
            }
        }
        may
    }

    /// Queues a request for a slot.
    pub(super) fn wait(&mut self, client: ClientKey) -> oneshot::Receiver<S> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.push_back((client, sender));
        receiver
    }

    /// Returns a slot. If a request waits that may have one now, takes it for that request and returns the request.
    pub(super) fn put_back(&mut self, client: ClientKey) -> Option<(ClientKey, oneshot::Sender<S>)> {
        if let Some(index) = self.taken.iter().position(|(other, _)| *other == client)
            && let Some((_, count)) = self.taken.get_mut(index)
        {
            *count -= 1;
            if *count == 0 {
                self.taken.swap_remove(index);
            }
        }
        if self.waiting.is_empty() {
            return None;
        }
        self.waiting.retain(|(_, request)| !request.is_closed());
        let next = self.next()?;
        let next = self.waiting.remove(next)?;
        self.try_take(next.0);
        Some(next)
    }

    /// Number of taken slots.
    pub(super) fn taken(&self) -> usize {
        self.taken.iter().map(|(_, count)| count).sum()
    }

    /// Index of the request whose client has the fewest slots; the first of equals.
    fn next(&self) -> Option<usize> {
        let requests = self.waiting.iter().enumerate();
        let eligible = requests.filter(|(_, (client, _))| self.may_take(*client));
        eligible
            .min_by_key(|(_, (client, _))| self.taken_by(*client))
            .map(|(index, _)| index)
    }

    fn may_take(&self, client: ClientKey) -> bool {
        if self.taken() >= self.limits.of_all {
            return false;
        }
        let of_grants = || {
            let grants = self.taken.iter().filter(|(client, _)| client.is_grant);
            grants.map(|(_, count)| count).sum::<usize>()
        };
        !client.is_grant || (self.taken_by(client) < self.limits.of_a_grant && of_grants() < self.limits.of_all_grants)
    }

    /// Number of slots that a client has taken.
    pub(super) fn taken_by(&self, client: ClientKey) -> usize {
        let found = self.taken.iter().find(|(other, _)| *other == client);
        found.map_or(0, |(_, count)| *count)
    }
}

/// Requests in flight at one origin and worker, and so connections. Browsers open six; a build reads many small files.
pub(super) const MAX_H1_REQUESTS: usize = 16;
/// Requests on all HTTP/2 connections of a pool.
const MAX_H2_REQUESTS: usize = MAX_H2_CONNECTIONS * MAX_STREAMS as usize;

#[cfg(test)]
mod tests {
    use super::*;

    const OWNER: ClientKey = ClientKey { id: 1, is_grant: false };

    fn grant(id: usize) -> ClientKey {
        ClientKey { id, is_grant: true }
    }

    fn take_all(slots: &mut Slots<()>, client: ClientKey) -> usize {
        (0..2000).filter(|_| slots.try_take(client)).count()
    }

    #[test]
    fn the_owner_takes_all_slots_and_grants_leave_some() {
        let mut slots = Slots::new(Limits::H1);
        assert_eq!(take_all(&mut slots, grant(2)), 8);
        assert_eq!(take_all(&mut slots, grant(3)), 4);
        assert_eq!(take_all(&mut slots, OWNER), MAX_H1_REQUESTS - 12);
        assert_eq!(take_all(&mut Slots::new(Limits::H1), OWNER), MAX_H1_REQUESTS);
    }

    #[test]
    fn bearers_leave_half_of_the_streams() {
        let mut slots = Slots::new(Limits::H2_OF_GRANTS);
        assert_eq!(take_all(&mut slots, grant(2)), 192);
        assert_eq!(take_all(&mut slots, grant(3)), 192);
        let others: usize = (4..100).map(|id| take_all(&mut slots, grant(id))).sum();
        assert_eq!(others, 768 - 2 * 192);
    }

    #[test]
    fn a_free_slot_goes_to_the_client_with_the_fewest() {
        let mut slots = Slots::new(Limits::H1);
        take_all(&mut slots, OWNER);
        let owners: Vec<_> = (0..10).map(|_| slots.wait(OWNER)).collect();
        let (first, gone, second) = (slots.wait(grant(2)), slots.wait(grant(2)), slots.wait(grant(3)));
        drop(gone);
        let next: Vec<_> = (0..4).map(|_| slots.put_back(OWNER).unwrap().0).collect();
        assert_eq!(next, [grant(2), grant(3), OWNER, OWNER]);
        assert_eq!(slots.taken(), MAX_H1_REQUESTS);
        drop((owners, first, second));
        assert!(slots.put_back(OWNER).is_none(), "all requests have gone");
        assert_eq!(slots.taken(), MAX_H1_REQUESTS - 1);
    }

    #[test]
    fn a_request_waits_until_its_own_client_has_room() {
        let mut slots = Slots::<()>::new(Limits::H1);
        take_all(&mut slots, grant(2));
        slots.try_take(OWNER);
        let _waiting = slots.wait(grant(2));
        assert!(slots.put_back(OWNER).is_none());
        assert_eq!(slots.put_back(grant(2)).unwrap().0, grant(2));
    }
}
