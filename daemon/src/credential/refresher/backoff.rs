//! Pauses of the refresher: after failed fetches, and after rejections of fetched tokens. Pure but for the clock.

use std::time::Duration;

use tokio::time::Instant;

/// Pauses between fetches after rejections. A registry may reject every token, for another reason than the token's age.
#[derive(Debug)]
pub(super) struct RejectionBackoff {
    /// Earliest time of a fetch after a rejection.
    pub(super) not_before: Instant,
    pause: Duration,
}

impl RejectionBackoff {
    pub(super) fn new() -> Self {
        Self {
            not_before: Instant::now(),
            pause: FIRST_REJECTION_PAUSE,
        }
    }

    /// `was_accepted`: whether the registry has accepted the token that it rejects now.
    pub(super) fn record(&mut self, was_accepted: bool) {
        let now = Instant::now();
        if was_accepted {
            self.pause = FIRST_REJECTION_PAUSE;
        }
        self.not_before = now + self.pause;
        self.pause = (self.pause * 2).min(MAX_REJECTION_PAUSE);
    }
}

/// Pause after failed fetches: 1 s, doubled with every failure, at most 1 min. Half of it is random (`jitter`, 0 to 1),
/// so that many daemons do not fetch at the same moment.
pub(super) fn backoff(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST_BACKOFF * 2_u32.pow(failures.saturating_sub(1).min(16));
    doubled.min(MAX_BACKOFF).mul_f64(0.5 + jitter / 2.0)
}

const FIRST_BACKOFF: Duration = Duration::from_secs(1);
const MAX_BACKOFF: Duration = Duration::from_secs(60);
const FIRST_REJECTION_PAUSE: Duration = Duration::from_secs(30);
const MAX_REJECTION_PAUSE: Duration = Duration::from_secs(600);
