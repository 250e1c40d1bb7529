//! Retirement of a generation: it ends the daemon's own requests that carry it, such as a probe of `verify`.
//!
//! Client requests are not ended: they hold leases, and take the next generation before they are sent again.

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// The daemon's own requests with one generation, and their end.
#[derive(Debug, Default)]
pub(crate) struct Retirement {
    begun: CancellationToken,
    requests: TaskTracker,
}

impl Retirement {
    /// Runs `requests` until they end, or until the generation is retired. Returns none then: the requests are dropped,
    /// and those that wait for a connection are never sent.
    pub(crate) async fn unless_retired<T>(&self, requests: impl Future<Output = T>) -> Option<T> {
        let begun = &self.begun;
        let result = async move {
            tokio::select! {
                biased;
                () = begun.cancelled() => None,
                result = requests => Some(result),
            }
        };
        self.requests.track_future(result).await
    }

    /// Ends the requests. Their tasks drop them when they run next.
    pub(super) fn begin(&self) {
        self.begun.cancel();
        self.requests.close();
    }

    /// Waits until all requests of a generation that is retired have been dropped; returns at once for any other.
    pub(super) async fn ended(&self) {
        if self.begun.is_cancelled() {
            self.requests.wait().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    #[tokio::test]
    async fn ends_the_requests_of_a_retired_generation() {
        let retirement = Retirement::default();
        assert_eq!(retirement.unless_retired(async { "answered" }).await, Some("answered"));
        retirement.ended().await;
        let silent = retirement.unless_retired(pending::<()>());
        let retire = async {
            retirement.begin();
            retirement.ended().await;
        };
        assert_eq!(tokio::join!(silent, retire).0, None);
        assert_eq!(retirement.unless_retired(async { "sent late" }).await, None);
    }
}
