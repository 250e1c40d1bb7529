//! Log lines about requests that failed: the registry, the host and the reason, at most one line a minute for each reason.
//!
//! Failures that the client caused are not logged here: a client must not be able to fill the log.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::host::Origin;
use crate::proxy::exchange::error::ProxyError;
use crate::proxy::routes::RegistryRoute;
use crate::proxy::trouble::Trouble;

/// Times of the last line about each reason, for one registry or for all hosts without one.
#[derive(Debug, Default)]
pub struct FailureLog(Mutex<Vec<(&'static str, Instant)>>);

impl FailureLog {
    /// Logs a failed request to a host without a registry, or outside a registry's scopes.
    pub(crate) fn host_failed(&self, host: &Origin, error: &ProxyError) {
        if let Some(reason) = error.log_reason()
            && self.is_due(reason, Instant::now())
        {
            tracing::info!(%host, addresses = error.address_list(), code = error.code(), reason, "could not serve a request");
        }
    }

    /// Returns true if the last line about `reason` was [`INTERVAL`] ago. Reasons are constants, so there are few.
    fn is_due(&self, reason: &'static str, now: Instant) -> bool {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, last)) if now.duration_since(*last) < INTERVAL => false,
            Some((_, last)) => {
                *last = now;
                true
            }
            None => {
                lines.push((reason, now));
                true
            }
        }
    }
}

/// Logs a failed request to a registry, and keeps its reason for `show`.
pub(crate) fn registry_failed(registry: &RegistryRoute, host: &Origin, error: &ProxyError) {
    if let Some(trouble) = Trouble::of(&registry.name, host, error) {
        registry.usage.trouble.begin(trouble);
    }
    if let Some(reason) = error.log_reason()
        && registry.usage.failures.is_due(reason, Instant::now())
    {
        tracing::info!(registry = %registry.name, %host, addresses = error.address_list(), code = error.code(), reason, "could not serve a request");
    }
}

/// Logs that a registry answers after a trouble.
pub(crate) fn registry_recovered(registry: &RegistryRoute, trouble: Option<Trouble>) {
    if let Some(trouble) = trouble {
        tracing::info!(registry = %registry.name, after = trouble.cause, "registry answers again");
    }
}

const INTERVAL: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_one_line_a_minute() {
        let (log, begin) = (FailureLog::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        for (reason, seconds, due) in [
            ("expired", 0, true),
            ("expired", 1, false),
            ("refused", 1, true),
            ("expired", 59, false),
            ("expired", 60, true),
            ("refused", 60, false),
            ("refused", 61, true),
        ] {
            assert_eq!(log.is_due(reason, at(seconds)), due, "{reason} at {seconds} s");
        }
    }
}
