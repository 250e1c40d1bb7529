//! Random numbers from a printed seed; the environment variable `REGAUTH_SEED` repeats a run.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Xorshift generator, good enough to choose points in time.
#[derive(Debug)]
pub struct SeededRandom(u64);

impl SeededRandom {
    /// Seeds from `REGAUTH_SEED`, or from the clock, and prints the seed.
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

    /// Number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    /// Duration shorter than `time`.
    pub fn within(&mut self, time: Duration) -> Duration {
        Duration::from_nanos(self.below(u64::try_from(time.as_nanos()).unwrap()))
    }
}
