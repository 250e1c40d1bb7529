//! A credential's end of the channel to its refresher.

use std::sync::Arc;
use std::time::Duration;

use regauth_shared::RegistryName;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::backoff::RejectionBackoff;
use super::{Fetched, RefreshReason, RefreshStatus, Refresher, Request};
use crate::credential::Credential;
use crate::credential::fingerprint::KnownGeneration;
use crate::credential::lifetime::ClockReading;
use crate::credential::source::{FetchError, FetchedToken, TokenSource};
use crate::events::Events;

/// A credential's end of the channel to its refresher.
#[derive(Debug)]
pub(in crate::credential) struct RefresherHandle {
    requests: mpsc::UnboundedSender<Request>,
    end: CancellationToken,
    /// Ends the task, and a program that it runs, when the credential is dropped.
    _end: DropGuard,
}

impl RefresherHandle {
    /// Ends the task, and a program that it runs.
    pub(in crate::credential) fn end(&self) {
        self.end.cancel();
    }

    pub(in crate::credential) fn reschedule(&self) {
        let _ = self.requests.send(Request::Reschedule);
    }
}

impl Credential {
    /// The credential of the registry `owner`, fetched from `source` when it is due, and at once if there is no `first`
    /// token. Generation numbers continue from the one that is `known`.
    pub(crate) fn refreshing(
        owner: RegistryName,
        source: TokenSource,
        first: Option<FetchedToken>,
        known: Option<KnownGeneration>,
        tasks: &TaskTracker,
        events: &Arc<Events>,
    ) -> Arc<Self> {
        let (sender, requests) = mpsc::unbounded_channel();
        let end = CancellationToken::new();
        let handle = RefresherHandle {
            requests: sender,
            end: end.clone(),
            _end: end.clone().drop_guard(),
        };
        let credential = Arc::new(Self::new(Some(handle), known));
        if let Some(first) = first {
            credential.replace_with_fetched(first, ClockReading::now());
        }
        let refresher = Refresher {
            owner,
            source,
            credential: Arc::downgrade(&credential),
            requests,
            failures: 0,
            retry_at: None,
            rejections: RejectionBackoff::new(),
            tasks: tasks.clone(),
            events: Arc::clone(events),
        };
        tasks.spawn(end.run_until_cancelled_owned(refresher.run()));
        credential
    }

    /// True if the token can be fetched again.
    pub(crate) fn can_refresh(&self) -> bool {
        self.refresher.is_some()
    }

    /// Next and last fetches from the source.
    pub(crate) fn refresh_status(&self) -> RefreshStatus {
        self.lock().refresh_status.clone()
    }

    /// Waits for a newer value than number `than`, at most [`REFRESH_TIMEOUT`]. `false` if the source gives none, or
    /// must not be asked yet.
    pub(crate) async fn refresh(&self, than: u64, reason: RefreshReason) -> bool {
        let Some(refresher) = &self.refresher else {
            return false;
        };
        let (done, refreshed) = oneshot::channel();
        let sent = refresher.requests.send(Request::Refresh { than, reason, done });
        sent.is_ok() && matches!(tokio::time::timeout(REFRESH_TIMEOUT, refreshed).await, Ok(Ok(true)))
    }

    /// Fetches a token from the source without putting it in place.
    ///
    /// # Errors
    /// [`FetchError`] if the source gives none.
    pub(crate) async fn fetch(&self) -> Result<Fetched, FetchError> {
        let gone = || FetchError::new("the token has no source that can be asked");
        let refresher = self.refresher.as_ref().ok_or_else(gone)?;
        let (done, fetched) = oneshot::channel();
        refresher.requests.send(Request::Fetch { done }).map_err(|_| gone())?;
        fetched.await.unwrap_or_else(|_| Err(gone()))
    }
}

/// Time that a request waits for a refresh. cargo gives up after 30 s.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(25);
