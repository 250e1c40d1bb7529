//! Usage counters of a registry, its last failure, and its window for writes.
//!
//! Requests update them without a lock, except for refused requests outside of every scope. The control side reads them for
//! `list`, `show`, `status` and the metrics.

use std::sync::atomic::{AtomicI64, AtomicU16, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwapOption;
use time::OffsetDateTime;

use crate::deadline::Deadline;
use crate::proxy::exchange::failure_log::FailureLog;
use crate::proxy::trouble::{LastTrouble, Trouble};
use crate::registry::Scope;

/// Usage counters of a registry, and its window for writes. Both outlive a reload.
#[derive(Debug, Default)]
pub struct Usage {
    requests: AtomicU64,
    in_flight: AtomicU64,
    last_used: AtomicI64,
    last_status: AtomicU16,
    last_worked: AtomicI64,
    /// Last trouble.
    pub trouble: LastTrouble,
    /// Log lines about failed requests.
    pub(crate) failures: FailureLog,
    writes_open_until: ArcSwapOption<Deadline>,
    outside: Mutex<OutsideScopes>,
}

/// Guard that counts one request of a registry as in flight.
#[derive(Debug)]
pub(crate) struct RequestInFlight(Arc<Usage>);

impl Drop for RequestInFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Requests to a registry's hosts that were outside of every scope, and that the host refused.
#[derive(Clone, Debug, Default)]
pub struct OutsideScopes {
    /// Their number.
    pub requests: u64,
    /// The smallest scope that covers them and the registry's own.
    pub covering: Option<Scope>,
}

impl Usage {
    /// Counts a request as in flight until the guard is dropped.
    pub(crate) fn begin_request(self: &Arc<Self>) -> RequestInFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        RequestInFlight(Arc::clone(self))
    }

    /// Requests that have begun and not ended.
    pub fn in_flight(&self) -> u64 {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Records a request that carried the credential, and the registry's status code. Returns the trouble that its answer
    /// has ended.
    pub fn note(&self, status: u16) -> Option<Trouble> {
        let now = OffsetDateTime::now_utc().unix_timestamp();
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.last_used.store(now, Ordering::Relaxed);
        self.last_status.store(status, Ordering::Relaxed);
        let is_denial = matches!(status, 401 | 403);
        if !is_denial && status < 500 {
            self.last_worked.store(now, Ordering::Relaxed);
        }
        self.trouble.end(is_denial)
    }

    /// Time of the registry's last answer that was neither a denial nor an error of its own.
    pub fn last_worked(&self) -> Option<OffsetDateTime> {
        from_unix_timestamp(self.last_worked.load(Ordering::Relaxed))
    }

    /// Counts a refused request outside of every scope, which `covering` would cover.
    pub(super) fn note_outside(&self, covering: &Scope) {
        let mut outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        outside.requests += 1;
        let is_wider = |before: &Scope| before.covers(covering);
        if !outside.covering.as_ref().is_some_and(is_wider) {
            outside.covering = Some(covering.clone());
        }
    }

    /// Refused requests outside of every scope. Those that a scope covers by now do not count.
    pub fn outside(&self, scopes: &[Scope]) -> OutsideScopes {
        let outside = self.outside.lock().unwrap_or_else(PoisonError::into_inner);
        let is_covered = |covering: &Scope| scopes.iter().any(|scope| scope.covers(covering));
        if outside.covering.as_ref().is_some_and(is_covered) {
            return OutsideScopes::default();
        }
        outside.clone()
    }

    /// Requests that carried the credential.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }

    /// Time of the last request that carried the credential.
    pub fn last_used(&self) -> Option<OffsetDateTime> {
        from_unix_timestamp(self.last_used.load(Ordering::Relaxed))
    }

    /// Status code of the registry's last response.
    pub fn last_status(&self) -> Option<u16> {
        Some(self.last_status.load(Ordering::Relaxed)).filter(|status| *status != 0)
    }

    /// Opens writes until a deadline; `None` closes them at once.
    pub fn open_writes(&self, until: Option<Deadline>) {
        self.writes_open_until.store(until.map(Arc::new));
    }

    /// Ends a window for writes that is over. True if there was one.
    pub fn close_ended_window(&self) -> bool {
        let until = self.writes_open_until.load_full();
        let ended = until.filter(|until| until.has_passed());
        // `allow` may have opened another window meanwhile, which stays.
        ended.is_some_and(|ended| {
            let before = self.writes_open_until.compare_and_swap(&ended, None);
            before.as_ref().is_some_and(|before| Arc::ptr_eq(before, &ended))
        })
    }

    /// End of the window for writes, if one is open.
    pub fn writes_open_until(&self) -> Option<OffsetDateTime> {
        let until = self.writes_open_until.load();
        until
            .as_ref()
            .filter(|until| !until.has_passed())
            .map(|until| until.wall)
    }
}

/// Zero stands for no time.
fn from_unix_timestamp(seconds: i64) -> Option<OffsetDateTime> {
    Some(seconds)
        .filter(|seconds| *seconds != 0)
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
}
