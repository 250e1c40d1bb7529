//! Warns when the process is out of file descriptors: requests then fail for a reason that no registry has.

use std::error::Error as StdError;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};
use time::OffsetDateTime;

/// Logs a warning if `error` says that the descriptors ran out, or if none is left: a resolver that cannot open its files
/// reports another error. At most one warning in [`WARNING_INTERVAL`]. Returns true if the descriptors ran out.
pub(crate) fn warn_if_exhausted(error: &(dyn StdError + 'static)) -> bool {
    let is_exhausted = is_exhaustion(error) || none_is_left();
    if is_exhausted && is_due() {
        tracing::warn!(
            limit = getrlimit(Resource::Nofile).current,
            "could not open a connection: regauthd has no file descriptor left; raise its limit, with LimitNOFILE= in \
             the systemd unit or `ulimit -n` before the start, and restart it"
        );
    }
    is_exhausted
}

fn is_exhaustion(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(cause) = next {
        let io = cause.downcast_ref::<io::Error>();
        let number = io.and_then(io::Error::raw_os_error);
        if number.is_some_and(|number| [Errno::MFILE, Errno::NFILE].contains(&Errno::from_raw_os_error(number))) {
            return true;
        }
        // `source()` of an io::Error skips the error that it wraps.
        let wrapped = io
            .and_then(io::Error::get_ref)
            .map(|inner| inner as &(dyn StdError + 'static));
        next = wrapped.or_else(|| cause.source());
    }
    false
}

fn none_is_left() -> bool {
    matches!(rustix::io::dup(io::stderr()), Err(Errno::MFILE | Errno::NFILE))
}

fn is_due() -> bool {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let now = OffsetDateTime::now_utc().unix_timestamp().unsigned_abs();
    let last = LAST.load(Ordering::Relaxed);
    let is_due = now.abs_diff(last) >= WARNING_INTERVAL.as_secs();
    is_due
        && LAST
            .compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
}

const WARNING_INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_cause_below_other_errors() {
        let raw = |number: Errno| io::Error::from_raw_os_error(number.raw_os_error());
        let wrapped = io::Error::other(raw(Errno::MFILE));
        assert!(is_exhaustion(&wrapped));
        assert!(!is_exhaustion(&raw(Errno::CONNREFUSED)));
        assert!(!none_is_left());
    }
}
