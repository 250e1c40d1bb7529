//! Numbers of a breaker that is not closed: trials at a time, rejections in a row, and the cool-down.

use std::time::Duration;

use tokio::time::Instant;

use super::{HALF_OPEN, Inner, MAX_REJECTIONS, OPEN};

impl Inner {
    /// Number of concurrent trials. It doubles while the registry does not answer, so that a slow or silent registry
    /// does not make requests wait for long.
    pub(super) fn max_trials(&self, now: Instant) -> u32 {
        let silence = self
            .waiting_since
            .map_or(Duration::ZERO, |since| now.duration_since(since));
        let doublings = silence.as_secs() / DOUBLING_INTERVAL.as_secs();
        TRIALS << doublings.min(MAX_DOUBLINGS)
    }

    /// Counts a rejection and returns the next position.
    pub(super) fn reject(&mut self, position: u8) -> u8 {
        self.rejections = self.rejections.saturating_add(1);
        if self.rejections < MAX_REJECTIONS {
            return HALF_OPEN;
        }
        // Answers to requests that were sent before the breaker opened do not prolong the cool-down.
        if position == OPEN && self.is_retrying {
            self.cool_down = (self.cool_down * 2).min(MAX_COOL_DOWN);
        }
        if position != OPEN || self.is_retrying {
            self.retry_at = Instant::now() + self.cool_down;
        }
        self.is_retrying = false;
        OPEN
    }
}

/// Concurrent trials of a generation that the registry has not answered yet.
pub(super) const TRIALS: u32 = 3;
const MAX_COOL_DOWN: Duration = Duration::from_secs(600);
const DOUBLING_INTERVAL: Duration = Duration::from_secs(2);
const MAX_DOUBLINGS: u64 = 16;
