//! Copy of a body for a task that reads it too. The body itself is not delayed.
//!
//! The task holds what was copied, not the body: a client that stops reading has no hold on it.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::proxy::read_ahead::{Budget, Charge};

/// The body's end of a copy.
#[derive(Debug)]
pub(super) struct BodyCopy {
    parts: mpsc::UnboundedSender<Part>,
    size: usize,
    max_size: usize,
    budget: Arc<Budget>,
}

/// The task's end of a copy.
#[derive(Debug)]
pub(in crate::proxy) struct CopiedBody(mpsc::UnboundedReceiver<Part>, Charge);

#[derive(Debug)]
enum Part {
    Data(Bytes, Charge),
    End,
}

impl BodyCopy {
    /// Copy of at most `max_size` bytes, within the budget.
    pub(super) fn new(max_size: usize, budget: Arc<Budget>) -> (Self, CopiedBody) {
        let (parts, copied) = mpsc::unbounded_channel();
        let charge = budget.charge();
        let copy = Self {
            parts,
            size: 0,
            max_size,
            budget,
        };
        (copy, CopiedBody(copied, charge))
    }

    /// Adds a buffer. False if the copy has ended.
    pub(super) fn add(&mut self, data: &Bytes) -> bool {
        self.size += data.len();
        let mut charge = self.budget.charge();
        self.size <= self.max_size
            && charge.add(data.len() + PART_SIZE)
            && self.parts.send(Part::Data(data.clone(), charge)).is_ok()
    }

    /// Tells the task that the body is whole.
    pub(super) fn end(self) {
        // The task may be gone.
        drop(self.parts.send(Part::End));
    }
}

impl CopiedBody {
    /// The body with its charge, at its end. `None` if it was cut, is too long or has no room in the budget.
    pub(in crate::proxy) async fn whole(self) -> Option<(Vec<u8>, Charge)> {
        let Self(mut parts, mut charge) = self;
        let mut whole = Vec::new();
        loop {
            match parts.recv().await? {
                // A copy of its own, because a small buffer may be part of a large one.
                Part::Data(data, more) => {
                    whole.extend_from_slice(&data);
                    charge.merge(more);
                }
                Part::End => return Some((whole, charge)),
            }
        }
    }
}

/// Bytes of a buffer besides its content.
const PART_SIZE: usize = 128;
