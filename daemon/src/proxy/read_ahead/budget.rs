//! Share of one client in the read-ahead of an index: questions in flight, and bytes that are held for it.
//!
//! The readings of a client have one budget. Bytes count as they arrive, and until the last holder drops them: a client that
//! does not take its answers gets no further ones ahead.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

/// Counters of one client.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    questions: AtomicUsize,
    bytes: AtomicUsize,
}

impl Budget {
    /// Questions in flight.
    pub(super) fn questions(&self) -> usize {
        self.questions.load(Ordering::Relaxed)
    }

    /// False if no further answer may be asked for.
    pub(super) fn has_room(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) < MAX_SIZE
    }

    /// Counts a question until the permit is dropped.
    pub(super) fn begin_question(self: &Arc<Self>) -> QuestionPermit {
        self.questions.fetch_add(1, Ordering::Relaxed);
        QuestionPermit(Arc::clone(self))
    }

    /// Charge without bytes so far.
    pub(crate) fn charge(self: &Arc<Self>) -> Charge {
        Charge {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }
}

/// Question in flight.
#[derive(Debug)]
pub(super) struct QuestionPermit(Arc<Budget>);

impl QuestionPermit {
    /// Charge for the question's answer.
    pub(super) fn charge(&self) -> Charge {
        self.0.charge()
    }
}

impl Drop for QuestionPermit {
    fn drop(&mut self) {
        self.0.questions.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Bytes that count until the charge is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// Adds bytes. False, and nothing added, if the client has no room for them.
    #[must_use]
    pub(crate) fn add(&mut self, bytes: usize) -> bool {
        let before = self.budget.bytes.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before + bytes <= MAX_SIZE;
        if has_room {
            self.bytes += bytes;
        } else {
            self.budget.bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        has_room
    }

    /// Adds the bytes of another charge to the same budget.
    pub(crate) fn merge(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Buffer that counts until its last copy is dropped.
    pub(super) fn hold(self, buffer: Vec<u8>) -> Bytes {
        Bytes::from_owner(Held {
            buffer: buffer.into_boxed_slice(),
            _charge: self,
        })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

struct Held {
    buffer: Box<[u8]>,
    _charge: Charge,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.buffer
    }
}

/// Bodies of answers that arrive, wait for the client or are on their way to it, and of entries that are copied.
pub(super) const MAX_SIZE: usize = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_count_until_the_last_copy_is_dropped() {
        let budget = Arc::new(Budget::default());
        let mut charge = budget.charge();
        assert!(charge.add(MAX_SIZE - 1) && budget.has_room());
        assert!(!charge.add(2) && budget.has_room(), "nothing was added");
        let mut other = budget.charge();
        assert!(other.add(1) && !budget.has_room());
        charge.merge(other);
        let held = charge.hold(b"entry".to_vec());
        let copy = held.slice(1..);
        drop(held);
        assert!(!budget.has_room());
        assert_eq!(copy, &b"ntry"[..]);
        drop(copy);
        assert_eq!(budget.bytes.load(Ordering::Relaxed), 0);
    }
}
