//! Opening of a connection that several requests wait for, with a deadline for each of its attempts.
//!
//! An opening lives as long as somebody holds it: when the last client that waits for it has gone, it ends, and so do its
//! sockets. While an attempt is silent, another begins beside it, so a handshake that is never answered delays the next
//! request by [`HEDGE_DELAY`] at most. The first connection that is open ends the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioExecutor;
use tokio::sync::watch;
use tokio::task::futures::TaskLocalFuture;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::proxy::exchange::error::ProxyError;
use crate::proxy::upstream::failure::UpstreamFailure;

/// Opening in progress. It ends with its last holder.
#[derive(Debug)]
pub(crate) struct Opening {
    outcome: watch::Receiver<Option<Outcome>>,
    progress: DialProgress,
    end: CancellationToken,
    _end_with_last_holder: DropGuard,
}

/// Outcome of an opening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The pool has a connection.
    Opened,
    /// The host cannot be reached or verified.
    Failed(ProxyError),
    /// The pool no longer wants the connection: it was reset, or the credential was rotated.
    Abandoned,
}

impl Opening {
    /// Starts `open` as a task of its own: the request that starts it may be cancelled while others wait.
    pub(super) fn start(open: impl Future<Output = Outcome> + Send + 'static) -> Arc<Self> {
        let (report, outcome) = watch::channel(None);
        let end = CancellationToken::new();
        let ended = end.clone();
        let progress = DialProgress::default();
        let open = progress.observe(open);
        TokioExecutor::new().execute(async move {
            let outcome = ended.run_until_cancelled(open).await.unwrap_or(Outcome::Abandoned);
            let _ = report.send(Some(outcome));
        });
        Arc::new(Self {
            outcome,
            progress,
            end: end.clone(),
            _end_with_last_holder: end.drop_guard(),
        })
    }

    /// Ends the opening. Requests that wait for it start another.
    pub(super) fn abandon(&self) {
        self.end.cancel();
    }

    /// Returns true if the outcome is not known yet.
    pub(super) fn is_pending(&self) -> bool {
        !self.end.is_cancelled() && self.outcome.borrow().is_none()
    }

    /// Waits for the outcome, at most [`CONNECT_TIMEOUT`].
    pub(super) async fn outcome(&self) -> Outcome {
        let mut outcome = self.outcome.clone();
        let known = async {
            let known = outcome.wait_for(Option::is_some).await;
            // The sender is dropped without an outcome only when the runtime ends.
            known.map_or(Outcome::Abandoned, |known| known.clone().unwrap_or(Outcome::Abandoned))
        };
        let known = tokio::time::timeout(CONNECT_TIMEOUT, known).await;
        known.unwrap_or_else(|_| Outcome::Failed(self.progress.timeout()))
    }
}

/// Progress of an opening: tells a host that accepts no connection from one that does not shake hands.
#[derive(Clone, Debug, Default)]
pub(super) struct DialProgress(Arc<AtomicBool>);

tokio::task_local! {
    /// Progress of the opening that the task performs.
    static PROGRESS: DialProgress;
}

impl DialProgress {
    /// Runs an opening whose dials report to this progress.
    pub(super) fn observe<F: Future>(&self, open: F) -> TaskLocalFuture<Self, F> {
        PROGRESS.scope(self.clone(), open)
    }

    /// Notes that a host has accepted a connection. Outside an opening, nobody wants to know.
    pub(super) fn note_connected() {
        let _ = PROGRESS.try_with(|progress| progress.0.store(true, Ordering::Relaxed));
    }

    /// Error of an opening that has reached its deadline.
    pub(super) fn timeout(&self) -> ProxyError {
        ProxyError::Upstream(match self.0.load(Ordering::Relaxed) {
            true => UpstreamFailure::HandshakeTimeout,
            false => UpstreamFailure::ConnectTimeout,
        })
    }
}

/// Runs `attempt`, and again beside it while there is no result: the first result counts. Each attempt ends after
/// [`CONNECT_TIMEOUT`]. Without a result it goes on until it is dropped.
pub(super) async fn first_result<T, F>(attempt: impl Fn() -> F) -> Result<T, ProxyError>
where
    F: Future<Output = Result<T, ProxyError>>,
{
    let mut attempts = FuturesUnordered::new();
    loop {
        attempts.push(tokio::time::timeout(CONNECT_TIMEOUT, attempt()));
        let mut pause = std::pin::pin!(tokio::time::sleep(HEDGE_DELAY));
        loop {
            tokio::select! {
                Some(ended) = attempts.next() => if let Ok(result) = ended {
                    return result;
                },
                () = pause.as_mut() => break,
            }
        }
    }
}

/// Time for name, TCP, proxy, TLS and HTTP handshake together. A probe waits longer, so that it sees this timeout.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);
/// Silence of an attempt after which another begins. Handshakes over a satellite take less.
pub(super) const HEDGE_DELAY: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_silent_attempt_delays_the_result_by_one_pause() {
        let (begun, begin) = (AtomicUsize::new(0), Instant::now());
        let result = first_result(|| async {
            if begun.fetch_add(1, Ordering::Relaxed) == 0 {
                pending::<()>().await;
            }
            Ok("open")
        });
        assert_eq!(result.await, Ok("open"));
        assert_eq!((begun.into_inner(), begin.elapsed()), (2, HEDGE_DELAY));
    }

    #[tokio::test(start_paused = true)]
    async fn silent_attempts_end_at_their_deadline() {
        let (open, most) = (Arc::new(AtomicUsize::new(0)), AtomicUsize::new(0));
        let attempts = first_result(|| {
            let open = Arc::clone(&open);
            most.fetch_max(open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
            let _closes = scopeguard(open);
            async move {
                let _closes = _closes;
                pending::<Result<(), ProxyError>>().await
            }
        });
        assert!(tokio::time::timeout(CONNECT_TIMEOUT * 20, attempts).await.is_err());
        assert!(most.into_inner() <= 6);
    }

    /// Counts down on drop.
    fn scopeguard(open: Arc<AtomicUsize>) -> impl Drop {
        struct Closes(Arc<AtomicUsize>);
        impl Drop for Closes {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        Closes(open)
    }

    #[tokio::test(start_paused = true)]
    async fn an_opening_ends_with_its_last_holder() {
        let (alive, ended) = watch::channel(());
        let opening = Opening::start(async move {
            let _alive = alive;
            pending().await
        });
        let other = Arc::clone(&opening);
        drop(opening);
        tokio::task::yield_now().await;
        assert!(ended.has_changed().is_ok(), "another client waits");
        drop(other);
        let mut ended = ended;
        assert!(ended.changed().await.is_err(), "nobody waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_that_accepts_and_stays_silent_is_told_from_one_that_does_not_accept() {
        let opening = Opening::start(async {
            DialProgress::note_connected();
            pending().await
        });
        let silent = ProxyError::Upstream(UpstreamFailure::HandshakeTimeout);
        assert_eq!(opening.outcome().await, Outcome::Failed(silent));
    }

    #[tokio::test(start_paused = true)]
    async fn waits_with_a_deadline_and_until_abandoned() {
        let opening = Opening::start(pending());
        let begin = Instant::now();
        assert_eq!(
            opening.outcome().await,
            Outcome::Failed(ProxyError::Upstream(UpstreamFailure::ConnectTimeout))
        );
        assert_eq!(begin.elapsed(), CONNECT_TIMEOUT);
        assert!(opening.is_pending());
        opening.abandon();
        assert!(!opening.is_pending());
        assert_eq!(opening.outcome().await, Outcome::Abandoned);
    }
}
