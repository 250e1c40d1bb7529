//! Source of an issuer's keys: a URL or a file, read at the start and whenever the keys may have changed.
//!
//! A token with an unknown key asks for the keys again, at most every [`MIN_INTERVAL`] for all tokens together, and waits for
//! the answer. Keys that were read once stay in service while the issuer is away or answers with something else.

use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::credential::source::token_client::TokenClient;
use crate::file_stamp::FileStamp;
use crate::workload::keys::{Keys, MAX_KEY_SET_BYTES};
use crate::workload::rule::KeyLocation;
use crate::workload::token::UnverifiedToken;

/// Keys of one issuer, kept up to date until it is dropped.
#[derive(Debug)]
pub(crate) struct KeySource {
    state: Arc<State>,
    _end: DropGuard,
}

#[derive(Debug)]
struct State {
    location: KeyLocation,
    keys: ArcSwapOption<Keys>,
    /// Asks for an attempt before it is due.
    wanted: Notify,
    /// Number of attempts so far.
    attempts: watch::Sender<u64>,
    /// Error of the last attempt.
    problem: ArcSwap<Option<String>>,
}

impl KeySource {
    /// Reads the keys from now on, as a task of `tasks`. `client` asks the host of a URL.
    pub(crate) fn start(location: KeyLocation, client: TokenClient, tasks: &TaskTracker) -> Self {
        let state = Arc::new(State {
            location,
            keys: ArcSwapOption::empty(),
            wanted: Notify::new(),
            attempts: watch::Sender::new(0),
            problem: ArcSwap::default(),
        });
        let (end, follower) = (CancellationToken::new(), Arc::clone(&state));
        let guard = end.clone().drop_guard();
        tasks.spawn(async move {
            tokio::select! {
                () = end.cancelled() => {}
                () = follower.follow(&client) => {}
            }
        });
        Self { state, _end: guard }
    }

    /// Reason why the last attempt to read the keys has failed.
    pub(crate) fn problem(&self) -> Option<String> {
        let error = self.state.problem.load().as_ref().clone()?;
        let kept = match self.state.keys.load().as_ref() {
            Some(_) => "the keys that were read before stay in service",
            None => "no token of the issuer is accepted",
        };
        Some(format!("cannot read {}: {error}; {kept}", self.state.location))
    }

    /// True if a key of the issuer has signed the token. Waits for an attempt to read the keys if the token's key is unknown.
    pub(super) async fn verify(&self, token: &UnverifiedToken<'_>) -> bool {
        let mut attempts = self.state.attempts.subscribe();
        attempts.mark_unchanged();
        let known = self.state.keys.load_full();
        if let Some(keys) = known.filter(|keys| keys.has_key_of(token)) {
            return keys.verify(token);
        }
        self.state.wanted.notify_one();
        // An attempt that takes longer serves the next token.
        let _ = tokio::time::timeout(MAX_WAIT, attempts.changed()).await;
        (self.state.keys.load().as_ref()).is_some_and(|keys| keys.verify(token))
    }
}

impl State {
    async fn follow(&self, client: &TokenClient) {
        let mut failures = 0;
        loop {
            let stamp = self.stamp().await;
            let read = match &self.location {
                KeyLocation::Url(url) => {
                    let document = client.document(url, MAX_KEY_SET_BYTES).await;
                    document.map_err(|error| error.message)
                }
                KeyLocation::File(path) => read_file(path.clone()).await,
            };
            failures = if self.take(read) { 0 } else { failures + 1 };
            self.attempts.send_modify(|attempts| *attempts += 1);
            match self.location {
                KeyLocation::Url(_) => self.until_due(failures).await,
                KeyLocation::File(_) => self.until_changed(stamp).await,
            }
        }
    }

    /// Puts the keys in service. False if there are none in this answer: then the earlier ones stay.
    fn take(&self, read: Result<Bytes, String>) -> bool {
        let keys = read.and_then(|text| Keys::parse(&text).map_err(|error| error.to_string()));
        let before = self.problem.load_full();
        match keys {
            Ok(keys) => {
                if before.is_some() || self.keys.load().is_none() {
                    tracing::info!(jwks = %self.location, keys = keys.len(), "read an issuer's keys");
                }
                self.keys.store(Some(Arc::new(keys)));
                self.problem.store(Arc::new(None));
                true
            }
            Err(error) => {
                // Once for each reason: a provider may be away for hours.
                if before.as_ref() != &Some(error.clone()) {
                    tracing::warn!(jwks = %self.location, error, "could not read an issuer's keys");
                }
                self.problem.store(Arc::new(Some(error)));
                false
            }
        }
    }

    /// Waits until the keys are to be asked for again.
    async fn until_due(&self, failures: u32) {
        tokio::time::sleep(MIN_INTERVAL).await;
        let pause = match failures {
            0 => MAX_AGE,
            failures => (MIN_INTERVAL * 2_u32.saturating_pow(failures)).min(MAX_RETRY_INTERVAL),
        };
        tokio::select! {
            () = self.wanted.notified() => {}
            () = tokio::time::sleep(pause - MIN_INTERVAL) => {}
        }
    }

    /// Waits until the file differs from this stamp.
    async fn until_changed(&self, last_read: Option<FileStamp>) {
        loop {
            tokio::select! {
                // A token with an unknown key gets its answer at once: the file is looked at all the time.
                () = self.wanted.notified() => self.attempts.send_modify(|attempts| *attempts += 1),
                () = tokio::time::sleep(FILE_CHECK_INTERVAL) => {}
            }
            if self.stamp().await != last_read {
                return;
            }
        }
    }

    async fn stamp(&self) -> Option<FileStamp> {
        let KeyLocation::File(path) = self.location.clone() else {
            return None;
        };
        let stamp = tokio::task::spawn_blocking(move || FileStamp::of(&path).ok());
        stamp.await.ok().flatten()
    }
}

async fn read_file(path: PathBuf) -> Result<Bytes, String> {
    let read = move || {
        FileStamp::of(&path)?;
        let mut text = Vec::new();
        let limit = MAX_KEY_SET_BYTES as u64 + 1;
        std::fs::File::open(&path)?.take(limit).read_to_end(&mut text)?;
        if text.len() > MAX_KEY_SET_BYTES {
            return Err(io::Error::other("it is longer than 1 MiB"));
        }
        Ok(Bytes::from(text))
    };
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(io::Error::from)
        .flatten()
        .map_err(|error| error.to_string())
}

/// Time between two attempts at a URL, however many tokens ask for unknown keys.
const MIN_INTERVAL: Duration = Duration::from_secs(5);
/// Age at which keys are read again: an issuer may withdraw a key.
const MAX_AGE: Duration = Duration::from_secs(15 * 60);
/// Longest time between two attempts at an issuer that is away.
const MAX_RETRY_INTERVAL: Duration = Duration::from_secs(60);
const FILE_CHECK_INTERVAL: Duration = Duration::from_millis(500);
/// Longest wait of a token with an unknown key. Clients wait longer for their proxy.
const MAX_WAIT: Duration = Duration::from_secs(8);
