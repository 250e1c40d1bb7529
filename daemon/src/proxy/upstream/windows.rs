//! Flow-control windows of HTTP/2 connections to registries (RFC 9113, section 5.2).
//!
//! The window of a stream follows the round trip, on every connection: a file that fits takes one round trip. The window
//! of a connection limits the bytes that its clients leave unread, all streams together. All connections of the process
//! take theirs from one budget, while it lasts, and then a minimum. So memory is bounded as a whole, and no stream pays for
//! it while clients read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::proxy::upstream::connector::MAX_STREAMS;

/// Windows of one connection. Their bytes return to the budget on drop.
#[derive(Debug)]
pub(super) struct Windows {
    /// Most unread bytes of one response.
    pub(super) stream: u32,
    /// Most unread bytes of all responses on the connection.
    pub(super) connection: u32,
    budget: &'static Budget,
}

impl Windows {
    /// Windows of a connection with this round-trip time. The first of a pool serves most requests alone.
    pub(super) fn take(round_trip: Duration, is_first: bool) -> Self {
        PROCESS_BUDGET.take(stream_window(round_trip), is_first)
    }
}

impl Drop for Windows {
    fn drop(&mut self) {
        self.budget
            .taken
            .fetch_sub(u64::from(self.connection), Ordering::Relaxed);
    }
}

/// Bytes that responses may leave unread.
#[derive(Debug)]
struct Budget {
    taken: AtomicU64,
}

impl Budget {
    const fn new() -> Self {
        Self {
            taken: AtomicU64::new(0),
        }
    }

    fn take(&'static self, stream: u32, is_first: bool) -> Windows {
        let left = BUDGET_BYTES.saturating_sub(self.taken.load(Ordering::Relaxed));
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let most = if is_first {
            stream * MAX_STREAMS
        } else {
            LATER_CONNECTION_WINDOW
        };
        let connection = left.max(MIN_CONNECTION_WINDOW).min(most);
        self.taken.fetch_add(u64::from(connection), Ordering::Relaxed);
        Windows {
            stream,
            connection,
            budget: self,
        }
    }
}

/// The bytes that a fast line carries in one round trip.
fn stream_window(round_trip: Duration) -> u32 {
    let bytes = round_trip.as_micros() * BYTES_PER_MICROSECOND;
    u32::try_from(bytes)
        .unwrap_or(u32::MAX)
        .clamp(MIN_STREAM_WINDOW, MAX_STREAM_WINDOW)
}

static PROCESS_BUDGET: Budget = Budget::new();
/// Enough for all streams of the first connections to two registries nearby, or for two thirds of those to one far away.
const BUDGET_BYTES: u64 = 512 * 1024 * 1024;
/// Later connections exist only when about a hundred requests are open, of which most wait.
const LATER_CONNECTION_WINDOW: u32 = 48 * 1024 * 1024;
/// Three unread responses with the largest window do not stop the others.
const MIN_CONNECTION_WINDOW: u32 = 24 * 1024 * 1024;
/// 1 Gbit/s.
const BYTES_PER_MICROSECOND: u128 = 125;
const MIN_STREAM_WINDOW: u32 = 2 * 1024 * 1024;
const MAX_STREAM_WINDOW: u32 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests;
