//! The task that fetches one credential's token from its source: before the current one expires, when a request needs
//! another (after a rejection or an expiry), when a file has changed, and for `rotate`.
//!
//! Only this task fetches, so a program runs once however many requests wait for its token. It fetches again from a
//! source that failed after pauses that grow; requests use the current token until that expires.

mod backoff;
mod handle;

use std::sync::{Arc, Weak};
use std::time::Duration;

use regauth_shared::RegistryName;
use regauth_shared::event::{EventKind, Renewal};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use self::backoff::{RejectionBackoff, backoff};
pub(super) use self::handle::RefresherHandle;
use crate::credential::lifetime::ClockReading;
use crate::credential::source::{FetchError, FetchedToken, TokenSource};
use crate::credential::{Credential, CredentialState};
use crate::events::Events;

/// Reason that a request needs another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefreshReason {
    /// There is none, or it has expired.
    Missing,
    /// The registry has rejected it.
    Rejected,
}

/// Next and last fetches from a source, for `show`.
#[derive(Clone, Debug, Default)]
pub(crate) struct RefreshStatus {
    /// Time of the next fetch.
    pub next: Option<OffsetDateTime>,
    /// Last error and its time, if no fetch has succeeded since.
    pub failure: Option<(FetchError, OffsetDateTime)>,
}

/// A token that was fetched for a caller, who verifies it before it is put in place.
#[derive(Debug)]
pub(crate) struct Fetched {
    /// The token.
    pub(crate) token: FetchedToken,
    /// The credential's count of values when the fetch began.
    pub(super) changes_before: u64,
}

#[derive(Debug)]
enum Request {
    /// Get a value with a higher number than `than`; `done` says whether there is one.
    Refresh {
        than: u64,
        reason: RefreshReason,
        done: oneshot::Sender<bool>,
    },
    /// Fetch a token for the caller to put in place.
    Fetch {
        done: oneshot::Sender<Result<Fetched, FetchError>>,
    },
    /// Compute the time of the next fetch from the value that the caller has put in place.
    Reschedule,
}

/// The task's state.
#[derive(Debug)]
struct Refresher {
    /// Registry whose token it is, for the log.
    owner: RegistryName,
    source: TokenSource,
    /// Weak: the task must not keep a removed registry's token in memory.
    credential: Weak<Credential>,
    requests: mpsc::UnboundedReceiver<Request>,
    /// Failed fetches in a row.
    failures: u32,
    /// Earliest time of the next fetch after a failure.
    retry_at: Option<Instant>,
    rejections: RejectionBackoff,
    /// Tasks that wait for requests with an old token.
    tasks: TaskTracker,
    events: Arc<Events>,
}

impl Refresher {
    /// Runs until the credential is dropped.
    async fn run(mut self) {
        if !self.has_value() {
            self.refresh().await;
        }
        self.publish_next();
        loop {
            let pause = self.next_check();
            let until_check = Self::until_check(&self.source, pause);
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.serve(request).await,
                    None => return,
                },
                () = until_check => self.check().await,
            }
        }
    }

    async fn until_check(source: &TokenSource, pause: Duration) {
        match source {
            TokenSource::File(file) => file.until_look().await,
            _ => tokio::time::sleep(pause).await,
        }
    }

    async fn serve(&mut self, request: Request) {
        match request {
            // The caller has gone, and the next one sends a request of its own.
            Request::Refresh { done, .. } if done.is_closed() => {}
            Request::Refresh { than, reason, done } => {
                let refreshed = self.has_newer(than, reason)
                    || (self.may_fetch(reason) && self.refresh_because(than, reason).await);
                let _ = done.send(refreshed);
            }
            Request::Fetch { done } => self.fetch_for_caller(done).await,
            Request::Reschedule => self.publish_next(),
        }
    }

    fn has_value(&self) -> bool {
        let credential = self.credential.upgrade();
        credential.is_some_and(|credential| credential.state().value().is_some())
    }

    /// True if the current value will do. After expiry, the same token with a longer lifetime will; after a rejection,
    /// only another token.
    fn has_newer(&self, than: u64, reason: RefreshReason) -> bool {
        let state = self.credential.upgrade().map(|credential| credential.state());
        let value = state.as_ref().and_then(CredentialState::value);
        value.is_some_and(|value| {
            let is_newer = value.number > than || (value.number == than && reason == RefreshReason::Missing);
            is_newer && !value.has_expired()
        })
    }

    fn may_fetch(&self, reason: RefreshReason) -> bool {
        let now = Instant::now();
        let has_paused = self.retry_at.is_none_or(|retry_at| now >= retry_at);
        let may_follow_rejection = || now >= self.rejections.not_before || self.was_accepted();
        self.source.is_cheap() || (has_paused && (reason == RefreshReason::Missing || may_follow_rejection()))
    }

    fn was_accepted(&self) -> bool {
        let credential = self.credential.upgrade();
        credential.is_some_and(|credential| credential.was_accepted())
    }

    async fn refresh_because(&mut self, than: u64, reason: RefreshReason) -> bool {
        if reason == RefreshReason::Rejected {
            self.rejections.record(self.was_accepted());
        }
        self.refresh().await;
        self.has_newer(than, reason)
    }

    /// Fetches a token and puts it in place. Fetches again if a logout or a rotation has changed the value meanwhile: the
    /// answer may be from before it.
    async fn refresh(&mut self) {
        while let Some(changes_before) = self.changes() {
            let fetched = self.source.fetch().await;
            if self.changes() == Some(changes_before) {
                match fetched {
                    Ok(token) => self.install(Fetched { token, changes_before }),
                    Err(error) => self.fail(error),
                }
                break;
            }
        }
        self.publish_next();
    }

    /// The credential's count of values; `None` if no registry uses it any more.
    fn changes(&self) -> Option<u64> {
        let credential = self.credential.upgrade()?;
        let inner = credential.lock();
        (!inner.is_closed).then_some(inner.changes)
    }

    fn install(&mut self, fetched: Fetched) {
        let Some(credential) = self.credential.upgrade() else {
            return;
        };
        let Some((installed, replaced)) = credential.replace_unless_changed(fetched) else {
            return;
        };
        self.failures = 0;
        self.retry_at = None;
        // Requests for the new token do not wait for those that hold the old one.
        self.tasks.spawn(replaced.wait());
        if installed.is_new {
            tracing::info!(registry = %self.owner, generation = installed.number, "fetched a new token");
            self.announce(Some(installed.number), None);
        } else {
            // A source may give the same token until that expires.
            self.retry_at = Some(Instant::now() + SAME_TOKEN_PAUSE);
        }
    }

    fn fail(&mut self, error: FetchError) {
        let Some(credential) = self.credential.upgrade() else {
            return;
        };
        self.failures = self.failures.saturating_add(1);
        let pause = backoff(self.failures, fastrand::f64()).max(error.retry_after.unwrap_or_default());
        self.retry_at = Some(Instant::now() + pause);
        let mut inner = credential.lock();
        let failure = (error.clone(), ClockReading::now().wall);
        let before = inner.refresh_status.failure.replace(failure);
        if before.is_none_or(|(before, _)| before.message != error.message) {
            tracing::warn!(registry = %self.owner, error = error.message, "token fetch failed");
            self.announce(None, Some(error.message.clone()));
        }
        if inner.state.value().is_none() {
            credential.replace_locked(&mut inner, CredentialState::Missing(error.message));
        }
    }

    fn announce(&self, generation: Option<u64>, failure: Option<String>) {
        self.events.announce(EventKind::Renewal(Renewal {
            registry: self.owner.clone(),
            generation,
            failure,
        }));
    }

    /// For a caller that verifies the token before it puts it in place.
    async fn fetch_for_caller(&mut self, done: oneshot::Sender<Result<Fetched, FetchError>>) {
        let changes_before = self.changes().unwrap_or_default();
        let fetched = self.source.fetch().await.map(|token| Fetched { token, changes_before });
        if let Err(error) = &fetched
            && self.changes() == Some(changes_before)
        {
            self.fail(error.clone());
        }
        let _ = done.send(fetched);
        self.publish_next();
    }

    /// Time until the next check: short enough to notice a clock that was set, or a machine that slept.
    fn next_check(&self) -> Duration {
        match self.due_in() {
            Some(due) => due.min(MAX_CHECK_INTERVAL),
            None => IDLE_INTERVAL,
        }
    }

    async fn check(&mut self) {
        let is_due = self.due_in().is_some_and(|due| due.is_zero());
        let should_fetch = match &mut self.source {
            TokenSource::File(file) => file.has_changed().await,
            _ => is_due,
        };
        if should_fetch {
            self.refresh().await;
        }
    }

    /// Time until the next fetch; `None` if only a request can cause one.
    fn due_in(&self) -> Option<Duration> {
        if let TokenSource::File(_) = self.source {
            return None;
        }
        let now = ClockReading::now();
        let due = match self.credential.upgrade()?.state().value() {
            None => Duration::ZERO,
            // After a failure, a token that does not expire is not fetched again.
            Some(value) => value.lifetime?.refresh_in(now),
        };
        let pause = self
            .retry_at
            .map(|retry_at| retry_at.saturating_duration_since(now.monotonic));
        Some(due.max(pause.unwrap_or_default()))
    }

    fn publish_next(&self) {
        let due = self.due_in();
        let Some(credential) = self.credential.upgrade() else {
            return;
        };
        let wall = ClockReading::now().wall;
        credential.lock().refresh_status.next = due.and_then(|due| wall.checked_add(due.try_into().ok()?));
    }
}

const MAX_CHECK_INTERVAL: Duration = Duration::from_secs(5);
const IDLE_INTERVAL: Duration = Duration::from_secs(60 * 60);
const SAME_TOKEN_PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
