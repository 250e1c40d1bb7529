//! Several connections' worth of pooled clients, so that requests which do not move hold up nobody else's.
//!
//! HTTP/2 puts all requests to a host on one connection, whose streams (servers allow 100 or more) and whose window are
//! common property: enough uploads that stop in the middle, or downloads that nobody reads, and the next request waits for
//! them. A lane takes as many requests as such a connection carries, and its window is as large as theirs together; the
//! next request takes the next lane. Usually there is only the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The lanes of one worker's pool.
#[derive(Debug)]
pub(crate) struct Lanes<C>(Vec<Lane<C>>);

#[derive(Debug)]
struct Lane<C> {
    client: C,
    busy: Arc<AtomicU32>,
}

/// A request's place in a lane, until its answer has ended.
#[derive(Debug)]
pub struct Place(Arc<AtomicU32>);

impl<C: Clone> Lanes<C> {
    /// Lanes whose clients are made by their number.
    pub(crate) fn new(client: impl Fn(usize) -> C) -> Self {
        let lane = |number| Lane {
            client: client(number),
            busy: Arc::default(),
        };
        Self((0..LANES).map(lane).collect())
    }

    /// The first lane with room, or the one with the fewest.
    pub(crate) fn enter(&self) -> Option<(C, Place)> {
        let busy = |lane: &&Lane<C>| lane.busy.load(Ordering::Relaxed);
        let lane = (self.0.iter().find(|lane| busy(lane) < MOST)).or_else(|| self.0.iter().min_by_key(busy))?;
        lane.busy.fetch_add(1, Ordering::Relaxed);
        Some((lane.client.clone(), Place(Arc::clone(&lane.busy))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many requests share a lane: fewer than the 100 streams that servers should allow (RFC 9113, section 6.5.2).
pub(crate) const MOST: u32 = 96;
const LANES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_lane_leads_to_the_next() {
        let lanes = Lanes::new(|number| number);
        let first: Vec<_> = (0..MOST).map(|_| lanes.enter().unwrap()).collect();
        assert!(first.iter().all(|(lane, _)| *lane == 0));
        let (second, _place) = lanes.enter().unwrap();
        assert_eq!(second, 1);
        drop(first);
        assert_eq!(lanes.enter().unwrap().0, 0);
        let all: Vec<_> = (0..LANES * MOST as usize * 2).map(|_| lanes.enter().unwrap()).collect();
        assert_eq!(all.iter().filter(|(lane, _)| *lane == 3).count(), 2 * MOST as usize);
    }
}
