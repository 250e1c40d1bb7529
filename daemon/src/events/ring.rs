//! Bounded ring of records, preallocated. A push never waits: without room the record is dropped and counted.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_queue::ArrayQueue;

/// Ring from one worker to the collector.
pub(super) struct Ring<T> {
    records: ArrayQueue<T>,
    lost: AtomicU64,
}

impl<T> Ring<T> {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            records: ArrayQueue::new(capacity),
            lost: AtomicU64::new(0),
        }
    }

    /// Appends a record; returns the number of records in the ring.
    pub(super) fn push(&self, record: T) -> usize {
        if self.records.push(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        self.records.len()
    }

    /// Oldest record.
    pub(super) fn pop(&self) -> Option<T> {
        self.records.pop()
    }

    /// Number of records lost since the last call.
    pub(super) fn take_lost(&self) -> u64 {
        self.lost.swap(0, Ordering::Relaxed)
    }
}

impl<T> fmt::Debug for Ring<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ring({} of {})", self.records.len(), self.records.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_ring_counts_what_it_loses() {
        let ring = Ring::new(2);
        assert_eq!([ring.push(1), ring.push(2), ring.push(3), ring.push(4)], [1, 2, 2, 2]);
        assert_eq!((ring.take_lost(), ring.take_lost()), (2, 0));
        assert_eq!((ring.pop(), ring.pop(), ring.pop()), (Some(1), Some(2), None));
    }
}
