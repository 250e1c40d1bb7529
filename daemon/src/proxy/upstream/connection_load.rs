//! Request counters of one upstream connection, and notes about it.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crate::proxy::exchange::body::BodyProgress;
use crate::proxy::upstream::opening::HEDGE_DELAY;

/// Request counters of one connection, and notes about it.
#[derive(Debug)]
pub(crate) struct ConnectionLoad {
    /// Requests in flight.
    active: AtomicU32,
    /// Requests since the connection was opened.
    total: AtomicU32,
    /// The pool's count of retirements when the connection was opened.
    pub(super) retirements: u64,
    /// End of the TLS handshake.
    opened: OnceLock<Instant>,
    /// Flow-control window of an HTTP/2 connection.
    window: AtomicU32,
    /// Decrypted bytes that have arrived since the connection was last without a request.
    received: AtomicU64,
    /// Bytes of response bodies that clients have taken since then.
    delivered: BodyProgress,
    /// True if the server has sent its first bytes, or cannot be expected to before a request.
    has_spoken: AtomicBool,
    has_no_close_notify: AtomicBool,
}

impl ConnectionLoad {
    /// Counters of a connection that is opened after so many retirements of its pool.
    pub(super) fn after(retirements: u64) -> Arc<Self> {
        Arc::new(Self {
            active: AtomicU32::new(0),
            total: AtomicU32::new(0),
            retirements,
            opened: OnceLock::new(),
            window: AtomicU32::new(u32::MAX),
            received: AtomicU64::new(0),
            delivered: BodyProgress::default(),
            has_spoken: AtomicBool::new(false),
            has_no_close_notify: AtomicBool::new(false),
        })
    }

    pub(super) fn note_open(&self, window: u32) {
        let _ = self.opened.set(Instant::now());
        self.window.store(window, Ordering::Relaxed);
    }

    pub(super) fn note_received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counter of the bytes of response bodies that clients take.
    pub(super) fn delivered(&self) -> BodyProgress {
        self.delivered.clone()
    }

    /// Returns true if unread responses take half of the connection's window, so that they might stop another one.
    ///
    /// Heads and aborted responses count as unread until the connection is without a request. A connection that looks
    /// full for that reason gets no new request, so that time comes, and then it is not full.
    pub(super) fn is_full(&self) -> bool {
        if self.active() == 0 {
            return false;
        }
        let unread = self
            .received
            .load(Ordering::Relaxed)
            .saturating_sub(self.delivered.bytes());
        unread > u64::from(self.window.load(Ordering::Relaxed) / 2)
    }

    pub(super) fn note_first_bytes(&self) {
        // A load first: a store by every read would keep the cache line busy.
        if !self.has_spoken.load(Ordering::Relaxed) {
            self.has_spoken.store(true, Ordering::Relaxed);
        }
    }

    /// Returns true if the server has been silent since the TLS handshake, for longer than a handshake takes.
    pub(super) fn is_suspiciously_silent(&self) -> bool {
        let is_old = |opened: &Instant| opened.elapsed() > HEDGE_DELAY;
        !self.has_spoken.load(Ordering::Relaxed) && self.opened.get().is_some_and(is_old)
    }

    pub(super) fn note_missing_close_notify(&self) {
        self.has_no_close_notify.store(true, Ordering::Relaxed);
    }

    /// Returns true if the server closed TLS without `close_notify`.
    pub(crate) fn has_no_close_notify(&self) -> bool {
        self.has_no_close_notify.load(Ordering::Relaxed)
    }

    pub(super) fn active(&self) -> u32 {
        self.active.load(Ordering::Relaxed)
    }

    /// Counts a request; returns true if the connection has carried an earlier one.
    pub(super) fn begin_request(&self) -> bool {
        if self.active.fetch_add(1, Ordering::Relaxed) == 0 {
            self.received.store(0, Ordering::Relaxed);
            self.delivered.reset();
        }
        self.total.fetch_add(1, Ordering::Relaxed) > 0
    }

    pub(super) fn end_request(&self) {
        self.active.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn has_carried_requests(&self) -> bool {
        self.total.load(Ordering::Relaxed) > 0
    }

    /// Waits until the connection has had no request for [`IDLE_TIMEOUT`].
    pub(super) async fn until_idle(&self) {
        let mut before = self.total.load(Ordering::Relaxed);
        loop {
            tokio::time::sleep(IDLE_TIMEOUT).await;
            let now = self.total.load(Ordering::Relaxed);
            if now == before && self.active() == 0 {
                return;
            }
            before = now;
        }
    }
}

/// An idle connection is closed after this time, at most twice that. Registries and load balancers usually close theirs
/// sooner.
const IDLE_TIMEOUT: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_full_while_unread_responses_take_half_of_its_window() {
        let load = ConnectionLoad::after(0);
        load.note_open(1000);
        load.begin_request();
        load.note_received(501);
        assert!(load.is_full());
        load.delivered().add(1);
        assert!(!load.is_full());
        load.note_received(1);
        assert!(load.is_full());
        load.end_request();
        assert!(
            !load.is_full(),
            "aborted responses count until the connection is without a request"
        );
    }
}
