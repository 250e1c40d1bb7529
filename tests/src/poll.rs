//! Waiting for something to become true: a short poll with a deadline, never a blind sleep.

use std::time::{Duration, Instant};

/// How long anything local may take before the test is called broken. Generous, since CI machines stall.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Asks `ready` until it gives a value, for at most [`TIMEOUT`].
///
/// # Panics
/// With `what` when the time is over.
pub fn wait_for<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    within(TIMEOUT, ready).unwrap_or_else(|| panic!("waited {TIMEOUT:?} in vain: {what}"))
}

/// Asks `ready` until it gives a value or `limit` is over.
pub fn within<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(STEP);
    }
}

const STEP: Duration = Duration::from_millis(4);
