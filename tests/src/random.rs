//! Random moments that can be had again: what is printed as the seed repeats them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Xorshift: moments need no better.
#[derive(Debug)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// From `REGAUTH_SEED`, or from the clock; prints which.
    ///
    /// # Panics
    /// When the variable is no number.
    pub fn from_environment() -> Self {
        let seed = match std::env::var("REGAUTH_SEED") {
            Ok(seed) => seed.parse().unwrap(),
            Err(_) => u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() >> 8).unwrap(),
        };
        eprintln!("REGAUTH_SEED={seed}");
        Self(seed | 1)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// A moment within this time.
    pub fn within(&mut self, time: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(time.as_nanos()).unwrap()))
    }
}
