//! Polling with a deadline, in place of sleeps of a fixed length.

use std::time::{Duration, Instant};

/// Time limit for anything local. It is generous, since CI machines stall.
pub const TIMEOUT: Duration = Duration::from_secs(20);

/// Calls `ready` until it returns a value, for at most [`TIMEOUT`].
///
/// # Panics
/// After the timeout, with `what` in the message.
pub fn wait_for<T>(what: &str, ready: impl FnMut() -> Option<T>) -> T {
    within(TIMEOUT, ready).unwrap_or_else(|| panic!("timed out after {TIMEOUT:?} waiting for {what}"))
}

/// Calls `ready` until it returns a value; `None` after `limit`.
pub fn within<T>(limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = ready() {
            return Some(value);
        }
        if Instant::now() > deadline {
            return None;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

const POLL_INTERVAL: Duration = Duration::from_millis(4);
