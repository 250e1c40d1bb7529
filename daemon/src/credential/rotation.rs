//! Second half of a rotation: the wait until nothing holds the old token, and its end for connection pools.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::credential::registry_credential::Generation;

/// Generations that requests no longer get, and may still hold. Holders are leases of requests, and the daemon's own requests
/// (`verify`, token checks), which end at once ([`retirement`](crate::credential::retirement)).
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    pub(super) generations: Vec<Arc<Generation>>,
    /// Present if the token is another one.
    pub(super) rotations: Option<watch::Sender<()>>,
}

impl Replaced {
    /// Waits until nothing holds them, at most [`HOLDER_TIMEOUT`]. Then tells connection pools that their connections
    /// carried an old token. Returns the number of holders that are left.
    ///
    /// After the return, no new request carries the old generation. Unless the wait timed out, every holder has gone. A
    /// request that is sent again takes the current generation (`proxy::exchange::carried`).
    ///
    /// This does not depend on the memory model of the CPU; `tests/rotation_model.rs` checks steps 1 to 3 with loom:
    ///
    /// 1. `ArcSwap` orders its loads and swaps sequentially consistently. A load that begins after the swap returns the
    ///    new generation.
    /// 2. When the swap returns, every load of the old generation has been counted. The reader has incremented the
    ///    reference count, or the swap has found the reader's debt and incremented the count for it. The swap reads the
    ///    debts after it has exchanged the pointer, so it misses no reader, and their increments happen before its
    ///    return. From then on the pointer is out of reach and a lease is not cloned, so the count only falls.
    /// 3. `Arc::get_mut` reads the count with Acquire, and every holder's drop decrements it with Release. All that a
    ///    holder did has happened before `get_mut` succeeds, and so before the pools are told.
    pub(crate) async fn wait(mut self) -> usize {
        let deadline = Instant::now() + HOLDER_TIMEOUT;
        for generation in &mut self.generations {
            while Arc::get_mut(generation).is_none() && Instant::now() < deadline {
                tokio::time::sleep(HOLDER_POLL).await;
            }
        }
        let holders = self.holders();
        self.announce();
        holders
    }

    /// Adds the generations of another credential, whose connection pools have been told.
    pub(crate) fn add(&mut self, other: Self) {
        self.generations.extend(other.generations);
    }

    /// Waits until the daemon's own requests with retired generations have been dropped. That takes no longer than the tasks
    /// before them.
    pub(crate) async fn own_requests_ended(&self) {
        for generation in &self.generations {
            generation.breaker.retirement.ended().await;
        }
    }

    /// Number of holders: leases, and the daemon's own requests.
    pub(crate) fn holders(&self) -> usize {
        let others = |generation: &Arc<Generation>| Arc::strong_count(generation).saturating_sub(1);
        self.generations.iter().map(others).sum()
    }

    /// Tells connection pools that the connections that are open now carried an old token.
    pub(super) fn announce(&mut self) {
        if let Some(rotations) = self.rotations.take() {
            rotations.send_replace(());
        }
    }
}

/// Counter of a credential's completed rotations, as a connection pool sees it.
///
/// The buffers of a connection hold the tokens that it carried. A pool closes its connections when the counter has
/// changed.
#[derive(Clone, Debug)]
pub(crate) struct Rotations(pub(super) watch::Receiver<()>);

/// A counter that never changes, for connections that carry no credential.
impl Default for Rotations {
    fn default() -> Self {
        Self(watch::channel(()).1)
    }
}

impl Rotations {
    /// True if there was a rotation since the last call. One atomic load if there was none.
    pub(crate) fn take_changed(&mut self) -> bool {
        let changed = self.0.has_changed().unwrap_or(false);
        if changed {
            self.0.mark_unchanged();
        }
        changed
    }

    /// Waits for the next rotation; forever if the credential is gone.
    pub(crate) async fn changed(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending().await
        }
    }
}

/// Time that a rotation waits for holders of the old generation.
pub(super) const HOLDER_TIMEOUT: Duration = Duration::from_secs(10);
const HOLDER_POLL: Duration = Duration::from_millis(2);
